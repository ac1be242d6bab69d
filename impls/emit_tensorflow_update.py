"""Emits a step of stochastic gradient descent in TensorFlow, in the form that a spec states.

The form of Keras is done by Keras in the native lowering. All others are written out: Keras' SGD could be given λw with
the gradient, but has one rate for all of its variables, and no velocities where the momentum is 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import assert_never

from impls.emission import number, signature
from impls.emission_training import Parameter
from impls.frameworks import Lowering
from spec.recipe import Sgd


@dataclass(frozen=True)
class Update:
    """How a source does a step: the argument that brings what moves, and the functions around it."""

    state: str
    """Name and type of the argument."""
    functions: tuple[str, ...]


def update(model: str, parameters: Sequence[Parameter], optimizer: Sgd, lowering: Lowering) -> Update:
    """The form of `optimizer` for a `model` with these parameters."""
    decaying = any(parameter.decays for parameter in parameters)
    of_keras = optimizer.rate == "inside_velocity" and (optimizer.decay == "decoupled" or not decaying)
    if of_keras and lowering == "native" and optimizer.momentum > 0:
        return _keras(model, parameters, optimizer)
    return _written_out(model, parameters, optimizer, lowering)


# --- Written out -----------------------------------------------------------------------------------------------------

START = '''\
def start(model: {model}, velocities: Mapping[str, np.ndarray] | None = None) -> dict[str, tf.Variable]:
    """The velocity of each parameter: as given, by canonical names and layouts, or nothing moves yet."""
    if velocities is not None:
        return parameters(load(velocities))
    return {{name: tf.Variable(tf.zeros_like(w)) for name, w in parameters(model).items()}}
'''


def _written_out(model: str, parameters: Sequence[Parameter], optimizer: Sgd, lowering: Lowering) -> Update:
    """In the fast lowering XLA makes one pass over each parameter."""
    state = "velocities: Mapping[str, tf.Variable]"
    decay = _decay(parameters, optimizer, "0.0")
    lines = [
        *(["@tf.function(jit_compile=True)"] if lowering == "fast" else []),
        signature("update", _arguments(model, state), "None"),
        '    """Move every velocity and parameter, in place; `rates` (2) are those of weights and of biases."""',
        "    for name, w in parameters(model).items():",
        "        v, g = velocities[name], slopes[name]",
        f"        rate = {_rate(parameters)}",
        *([f"        decay = {decay}"] if decay else []),
        f"        v.assign({_velocity(optimizer, bool(decay))})",
        f"        {_move(optimizer, bool(decay))}",
        "",
    ]
    return Update(state, (START.format(model=model), "\n".join(lines)))


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


# --- Keras -----------------------------------------------------------------------------------------------------------

VELOCITIES = '''\
def velocities(optimizers: Mapping[str, tf.keras.optimizers.SGD]) -> dict[str, tf.Variable]:
    """The velocity of each parameter."""
    return {name: optimizer.momentums[0].value for name, optimizer in optimizers.items()}
'''


def _keras(model: str, parameters: Sequence[Parameter], optimizer: Sgd) -> Update:
    """An optimiser each, for rates and decays differ."""
    state = "optimizers: Mapping[str, tf.keras.optimizers.SGD]"
    decay = _decay(parameters, optimizer, "None")
    stated = [f"momentum={number(optimizer.momentum)}", *(["weight_decay=decay"] if decay else [])]
    arguments = [f"model: {model}", "velocities: Mapping[str, np.ndarray] | None = None"]
    start = [
        signature("start", arguments, "dict[str, tf.keras.optimizers.SGD]"),
        '    """Keras\' SGD of each parameter: velocities as given, canonical, or nothing moves yet."""',
        "    given = parameters(load(velocities)) if velocities is not None else {}",
        "    optimizers = {}",
        "    for name, w in parameters(model).items():",
        *([f"        decay = {decay}  # beside the velocity, which never sees it"] if decay else []),
        f"        sgd = tf.keras.optimizers.SGD({', '.join(stated)})",
        "        sgd.build([w])",
        "        if name in given:",
        "            sgd.momentums[0].assign(given[name])",
        "        optimizers[name] = sgd",
        "    return optimizers",
        "",
    ]
    move = [
        signature("update", _arguments(model, state), "None"),
        '    """Move every velocity and parameter, in place; `rates` (2) are those of weights and of biases."""',
        "    for name, w in parameters(model).items():",
        f"        optimizers[name].learning_rate = {_rate(parameters)}",
        "        optimizers[name].apply([slopes[name]], [w])",
        "",
    ]
    return Update(state, ("\n".join(start), VELOCITIES, "\n".join(move)))


# --- Both ------------------------------------------------------------------------------------------------------------


def _arguments(model: str, state: str) -> list[str]:
    return [f"model: {model}", state, "slopes: Mapping[str, tf.Tensor]", "rates: tf.Tensor"]


def _rate(parameters: Sequence[Parameter]) -> str:
    """The rate of the parameter `name`, as code."""
    biases = _endings(parameter for parameter in parameters if parameter.is_bias)
    return f"rates[1] if name.endswith({biases}) else rates[0]" if biases else "rates[0]"


def _decay(parameters: Sequence[Parameter], optimizer: Sgd, none: str) -> str:
    """The decay of the parameter `name`, as code; `none` is that of those that have none. Empty where none has any."""
    decay = number(optimizer.weight_decay)
    decaying = _endings(parameter for parameter in parameters if parameter.decays)
    everywhere = all(parameter.decays for parameter in parameters)
    return decay if decaying and everywhere else f"{decay} if name.endswith({decaying}) else {none}" if decaying else ""


def _endings(parameters: Iterable[Parameter]) -> str:
    """What the names of some parameters end in, as code; empty where there are none."""
    kinds = list(dict.fromkeys(f".{parameter.name.rpartition('.')[2]}" for parameter in parameters))
    return f'"{kinds[0]}"' if len(kinds) == 1 else str(tuple(kinds)).replace("'", '"') if kinds else ""
