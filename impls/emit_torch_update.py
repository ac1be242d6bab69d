"""Emits the optimiser of a recipe in torch: its start, and a step of training.

`torch.optim.SGD` where it does what the spec states; otherwise the update stands there line by line.
"""

from dataclasses import dataclass
from typing import assert_never

from impls.emission import number
from impls.emission_training import Parameter, dropouts, parameters, signature
from impls.frameworks import Lowering
from spec.network import Network
from spec.recipe import Sgd, Training

GIVEN_VELOCITIES = "velocities: Mapping[str, Tensor] | None = None"
STEP_WORDS = (
    '    """Take a model in training mode one step on, in place; return the loss before it.',
    "",
    "    `rates`: of weights and of biases.",
    '    """',
)


def optimiser(network: Network, training: Training, name: str, lowering: Lowering) -> list[str]:
    """`start` and `train_step` of the model `name`; and `velocities`, where torch's own optimiser holds them."""
    known = parameters(network, training)
    if _is_torchs(training.optimizer):
        return _torchs(network, training, known, name, lowering)
    return _explicit(network, training.optimizer, known, name)


def _is_torchs(stated: Sgd) -> bool:
    """Whether torch's SGD does what is stated; without momentum it would have no velocities to tell."""
    return stated.rate == "outside_velocity" and stated.decay != "decoupled" and stated.momentum > 0


def masks_parameter(network: Network) -> list[str]:
    """The parameter of functions that train a network with dropouts: which elements these keep."""
    return ["masks: Masks | None = None"] if dropouts(network) else []


def text(*lines: str) -> str:
    """A block of the source."""
    return "\n".join((*lines, ""))


def _explicit(network: Network, stated: Sgd, known: tuple[Parameter, ...], name: str) -> list[str]:
    start = text(
        signature("start", [f"model: {name}", GIVEN_VELOCITIES], "dict[str, Tensor]"),
        '    """The velocity of each parameter before the first step, by name: as given, or zero."""',
        "    still = {name: torch.zeros_like(w) for name, w in parameters(model).items()}",
        "    for name, v in (velocities or {}).items():",
        "        still[name].copy_(v)",
        "    return still",
    )
    step = text(
        _step_head(network, name, "velocities: dict[str, Tensor]"),
        *STEP_WORDS,
        f"    value, slopes = gradients({_arguments(network)})",
        "    with torch.no_grad():",
        "        for name, w in parameters(model).items():",
        "            v, g = velocities[name], slopes[name]",
        f"            rate = {_rate(known)}",
        *(f"            {line}" for line in _update(stated, known)),
        "    return value",
    )
    return [start, step]


def _update(stated: Sgd, known: tuple[Parameter, ...]) -> list[str]:
    """The update of one parameter `w`, its velocity `v` and its gradient `g`, in place."""
    decay, momentum = number(stated.weight_decay), number(stated.momentum)
    inside = stated.rate == "inside_velocity"
    match stated.decay:
        case "inside_momentum" if inside:
            pull = f"v.sub_(w, alpha={decay} * rate)"
        case "inside_momentum" | "coupled":
            pull = f"g.add_(w, alpha={decay})"
        case "decoupled":
            pull = f"w.sub_(w, alpha={decay} * rate)"
        case _:
            assert_never(stated.decay)
    match [parameter.decays for parameter in known]:
        case decays if all(decays):
            pulls = [pull]
        case decays if any(decays):
            pulls = ["if w.ndim > 1:  # a weight of a convolution or dense layer; nothing else decays", f"    {pull}"]
        case _:
            pulls = []
    if inside:
        return [f"v.mul_({momentum})", *pulls, "v.sub_(g, alpha=rate)", "w.add_(v)"]
    return [*pulls, f"v.mul_({momentum}).add_(g)", "w.sub_(v, alpha=rate)"]


def _torchs(
    network: Network, training: Training, known: tuple[Parameter, ...], name: str, lowering: Lowering
) -> list[str]:
    stated = training.optimizer
    groups = _groups(stated, known)
    members = [
        f"    {group.name} = [w for name, w in named.items() if name.endswith({_ends(group.kinds)})]"
        for group in groups
    ]
    rates = ", ".join(group.rate for group in groups)
    options = f"lr={number(training.schedule.rate)}, momentum={number(stated.momentum)}"
    if lowering == "fast":
        options += ", fused=True"
    start = text(
        signature("start", [f"model: {name}", GIVEN_VELOCITIES], "torch.optim.SGD"),
        '    """The optimiser before the first step, with velocities as given, by name, or zero."""',
        "    named = parameters(model)",
        *members,
        f"    groups = [{', '.join(group.text for group in groups)}]",
        f"    optimizer = torch.optim.SGD(groups, {options})",
        "    for name, w in named.items():",
        "        v = torch.zeros_like(w)",
        '        optimizer.state[w]["momentum_buffer"] = v.copy_(velocities[name]) if velocities else v',
        "    return optimizer",
    )
    velocities = text(
        signature("velocities", [f"model: {name}", "optimizer: torch.optim.SGD"], "dict[str, Tensor]"),
        '    """The velocity of each parameter, by name."""',
        '    return {name: optimizer.state[w]["momentum_buffer"] for name, w in parameters(model).items()}',
    )
    step = text(
        _step_head(network, name, "optimizer: torch.optim.SGD"),
        *STEP_WORDS,
        f"    value, slopes = gradients({_arguments(network)})",
        "    for name, w in parameters(model).items():",
        "        w.grad = slopes[name]",
        f"    for group, rate in zip(optimizer.param_groups, [{rates}], strict=True):",
        '        group["lr"] = rate',
        "    optimizer.step()",
        "    return value",
    )
    return [start, velocities, step]


@dataclass(frozen=True)
class _Group:
    """Parameters that have their rate and decay in common: a group of torch's optimiser."""

    name: str
    kinds: frozenset[str]
    """Ends of their names."""
    decay: float
    is_bias: bool

    @property
    def text(self) -> str:
        decay = f', "weight_decay": {number(self.decay)}' if self.decay else ""
        return f'{{"params": {self.name}{decay}}}'

    @property
    def rate(self) -> str:
        return "rates[1]" if self.is_bias else "rates[0]"


def _groups(stated: Sgd, known: tuple[Parameter, ...]) -> list[_Group]:
    kinds: dict[tuple[bool, bool], set[str]] = {}
    for parameter in known:
        kinds.setdefault((parameter.is_bias, parameter.decays), set()).add(_kind(parameter))
    names = {frozenset(("weight",)): "weights", frozenset(("scale",)): "scales"}
    return [
        _Group(
            "biases" if is_bias else names.get(frozenset(ends), "others"),
            frozenset(ends),
            stated.weight_decay if decays else 0.0,
            is_bias,
        )
        for (is_bias, decays), ends in kinds.items()
    ]


def _rate(known: tuple[Parameter, ...]) -> str:
    """The rate of the parameter `name`, as code."""
    ends = frozenset(_kind(parameter) for parameter in known if parameter.is_bias)
    return f"rates[1] if name.endswith({_ends(ends)}) else rates[0]" if ends else "rates[0]"


def _kind(parameter: Parameter) -> str:
    """What a parameter is to its layer: `weight` of `conv1.weight`."""
    return parameter.name.rpartition(".")[2]


def _ends(kinds: frozenset[str]) -> str:
    """Ends of names, as `str.endswith` takes them."""
    ends = [f'".{kind}"' for kind in sorted(kinds)]
    return ends[0] if len(ends) == 1 else f"({', '.join(ends)})"


def _arguments(network: Network) -> str:
    return "model, x, labels, masks" if dropouts(network) else "model, x, labels"


def _step_head(network: Network, name: str, state: str) -> str:
    arguments = [f"model: {name}", state, "x: Tensor", "labels: Tensor", "rates: tuple[float, float]"]
    return signature("train_step", [*arguments, *masks_parameter(network)], "Tensor")
