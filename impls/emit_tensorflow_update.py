"""Emits a step of stochastic gradient descent in TensorFlow, in the form that a spec states."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from impls.emission import number, signature
from impls.emission_training import Parameter
from impls.frameworks import Lowering
from spec.recipe import Sgd

ARGUMENTS = ("velocities: Mapping[str, tf.Variable]", "slopes: Mapping[str, tf.Tensor]", "rates: tf.Tensor")


def update(model: str, parameters: Sequence[Parameter], optimizer: Sgd, lowering: Lowering) -> str:
    """The function that moves every parameter of a `model`; in the fast lowering XLA makes one pass over each."""
    biases = _endings(parameter for parameter in parameters if parameter.is_bias)
    rate = f"rates[1] if name.endswith({biases}) else rates[0]" if biases else "rates[0]"
    decaying = _endings(parameter for parameter in parameters if parameter.decays)
    everywhere = all(parameter.decays for parameter in parameters)
    decay = number(optimizer.weight_decay)
    decay = decay if everywhere else f"{decay} if name.endswith({decaying}) else 0.0"
    return "\n".join(
        [
            *(["@tf.function(jit_compile=True)"] if lowering == "fast" else []),
            signature("update", [f"model: {model}", *ARGUMENTS], "None"),
            '    """Move every velocity and parameter, in place; `rates` (2) are those of weights and of biases."""',
            "    for name, w in parameters(model).items():",
            "        v, g = velocities[name], slopes[name]",
            f"        rate = {rate}",
            *([f"        decay = {decay}"] if decaying else []),
            f"        v.assign({_velocity(optimizer, bool(decaying))})",
            f"        {_move(optimizer, bool(decaying))}",
            "",
        ]
    )


def _velocity(optimizer: Sgd, decays: bool) -> str:
    """What becomes of a velocity v: the updates of `conformance.updates`, as code."""
    kept = f"{number(optimizer.momentum)} * v"
    in_velocity = decays and optimizer.decay != "decoupled"
    match optimizer.rate:
        case "inside_velocity" if in_velocity and optimizer.decay == "inside_momentum":
            return f"{kept} - decay * rate * w - rate * g"
        case "inside_velocity":
            return f"{kept} - rate * {'(g + decay * w)' if in_velocity else 'g'}"
        case "outside_velocity":
            return f"{kept} + {'(g + decay * w)' if in_velocity else 'g'}"
        case _:
            assert_never(optimizer.rate)


def _move(optimizer: Sgd, decays: bool) -> str:
    """The statement that moves a parameter w by its velocity v."""
    beside = decays and optimizer.decay == "decoupled"
    match optimizer.rate:
        case "inside_velocity":
            return "w.assign(w - decay * rate * w + v)" if beside else "w.assign_add(v)"
        case "outside_velocity":
            return "w.assign(w - decay * rate * w - rate * v)" if beside else "w.assign_sub(rate * v)"
        case _:
            assert_never(optimizer.rate)


def _endings(parameters: Iterable[Parameter]) -> str:
    """What the names of some parameters end in, as code; empty where there are none."""
    kinds = list(dict.fromkeys(f".{parameter.name.rpartition('.')[2]}" for parameter in parameters))
    return f'"{kinds[0]}"' if len(kinds) == 1 else str(tuple(kinds)).replace("'", '"') if kinds else ""
