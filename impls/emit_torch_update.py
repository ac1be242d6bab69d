"""Emits the optimiser of a recipe in torch: its start, and a step of training.

Native: `torch.optim.SGD` where it does what the spec states; otherwise the update stands there line by line. Fast:
always line by line, and no gradient of dense weights is made: on a CPU new memory costs more than the arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from impls.emission import number, signature
from impls.emission_training import Parameter, dropouts, ends_in_softmax, parameters
from impls.frameworks import Lowering
from spec.network import Network
from spec.operators import Dense
from spec.recipe import Sgd, Training
from spec.shapes import Layer

GIVEN_VELOCITIES = "velocities: Mapping[str, Tensor] | None = None"
STEP_WORDS = (
    '    """Take a model in training mode one step on, in place; return the loss before it.',
    "",
    "    `rates`: of weights and of biases.",
    '    """',
)


def optimiser(network: Network, training: Training, name: str, lowering: Lowering) -> list[str]:
    """`start` and `train_step` of the model `name`; and `velocities`, where torch's own optimiser holds them."""
    known, stated = parameters(network, training), training.optimizer
    dense = [layer for layer in network.layers if isinstance(layer.operator, Dense)]
    if lowering == "fast" and dense:
        return [_start(name), _reads(dense), _step_by_products(dense, network, stated, known, name)]
    if lowering == "native" and _is_torchs(stated):
        return _torchs(network, training, known, name)
    return [_start(name), _step(network, stated, known, name)]


def _is_torchs(stated: Sgd) -> bool:
    """Whether torch's SGD does what is stated; without momentum it would have no velocities to tell."""
    return stated.rate == "outside_velocity" and stated.decay != "decoupled" and stated.momentum > 0


def has_logits(network: Network) -> bool:
    """Whether the class has a method `_logits`, because its `forward` ends in a softmax that the recipe leaves out."""
    return ends_in_softmax(network) and (network.training is not None or network.evaluation is not None)


def logits(network: Network, *arguments: str) -> str:
    """The call of a model that is being trained, with `arguments` after the image."""
    function = "model._logits" if has_logits(network) else "model"
    masks = ["masks=masks"] if dropouts(network) else []
    return f"{function}({', '.join(('x', *arguments, *masks))})"


def masks_parameter(network: Network) -> list[str]:
    """The parameter of functions that train a network with dropouts: which elements these keep."""
    return ["masks: Masks | None = None"] if dropouts(network) else []


def text(*lines: str) -> str:
    """A block of the source."""
    return "\n".join((*lines, ""))


def _start(name: str) -> str:
    return text(
        signature("start", [f"model: {name}", GIVEN_VELOCITIES], "dict[str, Tensor]"),
        '    """The velocity of each parameter before the first step, by name: as given, or zero."""',
        "    still = {name: torch.zeros_like(w) for name, w in parameters(model).items()}",
        "    for name, v in (velocities or {}).items():",
        "        still[name].copy_(v)",
        "    return still",
    )


def _step(network: Network, stated: Sgd, known: tuple[Parameter, ...], name: str) -> str:
    update = _update(stated, known)
    return text(
        _step_head(network, name, "velocities: dict[str, Tensor]"),
        *STEP_WORDS,
        f"    value, slopes = gradients({_arguments(network)})",
        "    with torch.no_grad():",
        "        for name, w in parameters(model).items():",
        "            v = velocities[name]",
        f"            rate = {_rate(known)}",
        f"            {update.of_gradient('slopes[name]')}",
        *(f"            {line}" for line in update.rest),
        "    return value",
    )


def _reads(dense: Sequence[Layer]) -> str:
    """The constant that the step below reads."""
    return text("READ_BY_DENSE = {", *(f'    "{layer.name}": "{layer.operator.reads[0]}",' for layer in dense), "}")


def _step_by_products(
    dense: Sequence[Layer], network: Network, stated: Sgd, known: tuple[Parameter, ...], name: str
) -> str:
    """A step that adds the gradients of dense weights to their velocities as products, and never makes them."""
    update, image = _update(stated, known), network.input.name
    taps = f'{{"{image}": x}}' if image in (layer.operator.reads[0] for layer in dense) else "{}"
    biased = all(f"{layer.name}.bias" in layer.parameter_shapes for layer in dense)
    some = "" if biased else ' if f"{layer}.bias" in weights'
    return text(
        _step_head(network, name, "velocities: dict[str, Tensor]"),
        '    """Take a model in training mode one step on, in place; return the loss before it.',
        "",
        "    `rates`: of weights and of biases. The gradient of dense weights is a product of what their layer reads",
        "    and of what flows into its output. It goes into the velocity at once, and is never in memory.",
        '    """',
        "    kept = {*READ_BY_DENSE, *READ_BY_DENSE.values()}",
        f"    taps: dict[str, Tensor] = {taps}",
        "",
        "    def keep(name: str, value: Tensor) -> Tensor:",
        "        if name in kept and not torch.compiler.is_compiling():  # what compiled code puts out has no gradient",
        "            taps[name] = value",
        "        return value",
        "",
        f"    value = loss({logits(network, 'keep')}, labels)",
        "    weights, dense = parameters(model), [layer for layer in READ_BY_DENSE if layer in taps]",
        "    wanted = {layer: taps[layer] for layer in dense}",
        '    wanted |= {name: w for name, w in weights.items() if name.partition(".")[0] not in dense}',
        "    slopes = dict(zip(wanted, torch.autograd.grad(value, list(wanted.values())), strict=True))",
        f'    slopes |= {{f"{{layer}}.bias": slopes[layer].sum(dim=0) for layer in dense{some}}}',
        "    with torch.no_grad():",
        "        for name, w in weights.items():",
        '            layer, v = name.partition(".")[0], velocities[name]',
        f"            rate = {_rate(known)}",
        "            if name in slopes:",
        f"                {update.of_gradient('slopes[name]')}",
        "            else:",
        f"                {update.of_product('slopes[layer].T', 'taps[READ_BY_DENSE[layer]]')}",
        *(f"            {line}" for line in update.rest),
        "    return value.detach()",
    )


@dataclass(frozen=True)
class _Update:
    """The update of one parameter `w` and its velocity `v` at a `rate`, in place."""

    momentum: str
    inside: bool
    """Whether the rate is inside the velocity."""
    rest: list[str]
    """What comes after the gradient."""

    def of_gradient(self, g: str) -> str:
        """What the gradient does to the velocity."""
        return f"v.mul_({self.momentum}).{f'sub_({g}, alpha=rate)' if self.inside else f'add_({g})'}"

    def of_product(self, left: str, right: str) -> str:
        """What a gradient does that is a product."""
        return f"v.addmm_({left}, {right}, beta={self.momentum}{', alpha=-rate' if self.inside else ''})"


def _update(stated: Sgd, known: tuple[Parameter, ...]) -> _Update:
    decay, inside = number(stated.weight_decay), stated.rate == "inside_velocity"
    match stated.decay:
        case "inside_momentum" | "coupled":
            pull = f"v.sub_(w, alpha={decay} * rate)" if inside else f"v.add_(w, alpha={decay})"
        case "decoupled":
            pull = f"w.sub_(w, alpha={decay} * rate)"
        case _:
            assert_never(stated.decay)
    if all(parameter.decays for parameter in known):
        pulls = [pull]
    elif any(parameter.decays for parameter in known):
        pulls = ["if w.ndim > 1:  # weights of convolutions and dense layers; nothing else decays", f"    {pull}"]
    else:
        pulls = []
    return _Update(number(stated.momentum), inside, [*pulls, "w.add_(v)" if inside else "w.sub_(v, alpha=rate)"])


def _torchs(network: Network, training: Training, known: tuple[Parameter, ...], name: str) -> list[str]:
    stated = training.optimizer
    groups = _groups(stated, known)
    members = [
        f"    {group.name} = [w for name, w in named.items() if name.endswith({_ends(group.kinds)})]"
        for group in groups
    ]
    rates = ", ".join(group.rate for group in groups)
    options = f"lr={number(training.schedule.rate)}, momentum={number(stated.momentum)}"
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
