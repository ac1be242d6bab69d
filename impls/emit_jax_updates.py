"""Emits a step of stochastic gradient descent in JAX, in the form that a spec states.

A rate inside the velocity is written out, as in the paper's §5; one outside of it is what optax has.
"""

from collections.abc import Callable, Sequence
from typing import assert_never

from impls.emission import number, signature
from impls.emission_training import Parameter
from spec.recipe import Sgd

#: Type of the place of a parameter in its tree, as `jax.tree.map_with_path` tells it.
PATH = "Path = tuple[jax.tree_util.DictKey, ...]  # of a parameter: its layer, and what it is there\n"


def updates(parameters: Sequence[Parameter], optimizer: Sgd, batch: Sequence[str], has_statistics: bool) -> list[str]:
    """The functions that begin training and that do a step; `batch` are the arguments that tell a step its batch."""
    match optimizer.rate:
        case "inside_velocity":
            return [_start(has_statistics), _train_step(parameters, optimizer, batch, has_statistics)]
        case "outside_velocity":
            return [
                *_optimizer(parameters, optimizer),
                _start_of_optax(has_statistics),
                VELOCITIES,
                RESUMED,
                _train_step_of_optax(parameters, batch, has_statistics),
            ]
        case _:
            assert_never(optimizer.rate)


# --- The rate inside the velocity ------------------------------------------------------------------------------------


def _start(has_statistics: bool) -> str:
    of = "trained(parameters)" if has_statistics else "parameters"
    return f'''\
def start(parameters: Parameters) -> Parameters:
    """The velocities before the first step: nothing moves yet."""
    velocities: Parameters = jax.tree.map(jnp.zeros_like, {of})
    return velocities
'''


def _train_step(parameters: Sequence[Parameter], optimizer: Sgd, batch: Sequence[str], has_statistics: bool) -> str:
    """A step whose velocity has the rate in it, and so is what a parameter moves by."""
    arguments = ["parameters: Parameters", "velocities: Parameters", *map(_typed, batch)]
    before = "trained(parameters)" if has_statistics else "parameters"
    decoupled = any(parameter.decays for parameter in parameters) and optimizer.decay == "decoupled"
    pulled = any(parameter.decays for parameter in parameters) and not decoupled
    read = ["w"] if pulled else []
    moved = f"jax.tree.map{'_with_path(moved' if decoupled else '(jnp.add'}, {before}, velocities)"
    return "\n".join(
        [
            signature("train_step", arguments, "tuple[Parameters, Parameters, jax.Array]"),
            '    """Parameters and velocities after a step on one batch, and the loss before it.',
            "",
            *_rates_documented(parameters),
            '    """',
            f"    value, slopes = gradients(parameters, {_given(batch)})",
            "",
            *_inner("velocity", [*read, "v", "g"], _by_kind(parameters, lambda each: _velocity(each, optimizer))),
            *(_inner("moved", ["w", "v"], _by_kind(parameters, lambda each: _moved(each, optimizer))) * decoupled),
            f"    velocities = jax.tree.map_with_path(velocity, {f'{before}, ' * pulled}velocities, slopes)",
            f"    return {f'merged(parameters, {moved})' if has_statistics else moved}, velocities, value",
            "",
        ]
    )


def _velocity(parameter: Parameter, optimizer: Sgd) -> str:
    """What becomes of a velocity v: the updates of `conformance.updates`, as code."""
    kept, rate, decay = f"{number(optimizer.momentum)} * v", _rate(parameter), number(optimizer.weight_decay)
    if not parameter.decays or optimizer.decay == "decoupled":
        return f"{kept} - {rate} * g"
    if optimizer.decay == "coupled":
        return f"{kept} - {rate} * (g + {decay} * w)"
    return f"{kept} - {decay} * {rate} * w - {rate} * g"


def _moved(parameter: Parameter, optimizer: Sgd) -> str:
    """What becomes of a parameter w whose decay is decoupled from its velocity v."""
    return f"w - {number(optimizer.weight_decay)} * {_rate(parameter)} * w + v" if parameter.decays else "w + v"


# --- The rate outside the velocity -----------------------------------------------------------------------------------

VELOCITIES = '''\
def velocities(state: optax.OptState) -> Parameters:
    """The velocity of every parameter."""
    found: Parameters = optax.tree.get(state, "trace")
    return found
'''

RESUMED = '''\
def resumed(state: optax.OptState, velocities: Parameters) -> optax.OptState:
    """The state with other velocities, such as those of a checkpoint."""
    return optax.tree.set(state, trace=velocities)
'''


def _optimizer(parameters: Sequence[Parameter], optimizer: Sgd) -> list[str]:
    """The velocity as a transformation of optax, and which parameters decay where only some do."""
    momentum, decay = number(optimizer.momentum), number(optimizer.weight_decay)
    pairs = _by_kind(parameters, lambda each: str(each.decays))
    trace = f"optax.trace({momentum})"
    if all(text == "False" for _, text in pairs):
        return [f"OPTIMIZER = {trace}  # v ← {momentum}·v + g\n"]
    decaying = [kind for kinds, text in pairs if text == "True" for kind in kinds]
    decayed = f"optax.add_decayed_weights({decay}{'' if len(pairs) == 1 else ', decays'})"
    if optimizer.decay == "decoupled":
        chain = [
            f"    {trace},  # v ← {momentum}·v + g",
            f"    {decayed},  # beside the velocity, which never sees it",
        ]
    else:
        chain = [f"    {decayed},", f"    {trace},  # v ← {momentum}·v + (g + {decay}·w)"]
    which = f'''\
def decays(parameters: Parameters) -> dict[str, dict[str, bool]]:
    """Which parameters weight decay acts on."""
    return {{layer: {{name: {_is("name", decaying)} for name in named}} for layer, named in parameters.items()}}
'''
    chained = "\n".join(["OPTIMIZER = optax.chain(", *chain, ")", ""])
    return [chained] if len(pairs) == 1 else [which, chained]


def _start_of_optax(has_statistics: bool) -> str:
    of = "trained(parameters)" if has_statistics else "parameters"
    return f'''\
def start(parameters: Parameters) -> optax.OptState:
    """The state before the first step: nothing moves yet."""
    return OPTIMIZER.init({of})
'''


def _train_step_of_optax(parameters: Sequence[Parameter], batch: Sequence[str], has_statistics: bool) -> str:
    """A step whose velocity the rate multiplies."""
    arguments = ["parameters: Parameters", "state: optax.OptState", *map(_typed, batch)]
    before = "trained(parameters)" if has_statistics else "parameters"
    moved = f"optax.apply_updates({before}, jax.tree.map_with_path(move, directions))"
    return "\n".join(
        [
            signature("train_step", arguments, "tuple[Parameters, optax.OptState, jax.Array]"),
            '    """Parameters and state after a step on one batch, and the loss before it.',
            "",
            *_rates_documented(parameters),
            '    """',
            f"    value, slopes = gradients(parameters, {_given(batch)})",
            f"    directions, state = OPTIMIZER.update(slopes, state, {before})",
            "",
            *_inner("move", ["direction"], _by_kind(parameters, lambda each: f"-{_rate(each)} * direction")),
            *([f"    parameters = merged(parameters, {moved})"] if has_statistics else []),
            f"    return {'parameters' if has_statistics else moved}, state, value",
            "",
        ]
    )


# --- Both ------------------------------------------------------------------------------------------------------------


def _by_kind(parameters: Sequence[Parameter], text: Callable[[Parameter], str]) -> list[tuple[list[str], str]]:
    """Every `text` that some parameters have, with their kinds (`bias`, …); that of the first parameter comes last."""
    kinds = {parameter.name.rpartition(".")[2]: parameter for parameter in parameters}
    found: dict[str, list[str]] = {}
    for kind, parameter in kinds.items():
        found.setdefault(text(parameter), []).append(kind)
    return [(named, formula) for formula, named in reversed(found.items())]


def _inner(name: str, read: Sequence[str], formulas: list[tuple[list[str], str]]) -> list[str]:
    """A function of one parameter's arrays, kind by kind."""
    arguments = ", ".join(["path: Path", *(f"{array}: jax.Array" for array in read)])
    lines = [f"    def {name}({arguments}) -> jax.Array:"]
    for kinds, formula in formulas[:-1]:
        lines += [f"        if {_is('path[-1].key', kinds)}:", f"            return {formula}"]
    return [*lines, f"        return {formulas[-1][1]}", ""]


def _is(name: str, kinds: Sequence[str]) -> str:
    """The condition that a name is one of some kinds."""
    listed = ", ".join(f'"{kind}"' for kind in kinds)
    return f"{name} == {listed}" if len(kinds) == 1 else f"{name} in ({listed})"


def _rate(parameter: Parameter) -> str:
    return "rates[1]" if parameter.is_bias else "rates[0]"


def _rates_documented(parameters: Sequence[Parameter]) -> list[str]:
    kinds = {parameter.name.rpartition(".")[2]: parameter.is_bias for parameter in parameters}
    biases = " and ".join(f"`{kind}`" for kind, is_bias in kinds.items() if is_bias)
    return [f"    `rates` (2): of weights, and of biases{f' ({biases})' if biases else ''}."]


def _typed(argument: str) -> str:
    return f"{argument}: {'Masks' if argument == 'masks' else 'jax.Array'}"


def _given(batch: Sequence[str]) -> str:
    """What `gradients` reads of a step's arguments."""
    return ", ".join(argument for argument in batch if argument != "rates")
