"""What the gradients of every operator by itself should be: what workers are fed, and the oracle's answer to it.

Three things are not as in a backward pass of training, each so that more can be seen:

- Substitutes are the oracle's activations moved on by one element, as in the forward lane; and what a ReLU reads has
  some zeros, what a max pool reads some equal largest elements, so that the rules for both decide something.
- Cotangents are drawn from a normal distribution. Gradients are linear in the cotangent, so its scale decides nothing;
  but those of a real backward pass are 0 wherever a ReLU or a pool behind is closed, and what is multiplied by 0 cannot
  be seen.
- Where several operators read one tap, what they pass back adds up, and so do the squares of S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from conformance import measure
from conformance.backpropagation import logits_tap, train_layer
from conformance.caps import Caps
from conformance.dropout import drawn_masks
from conformance.gradients import Mask, Scales, gradient_scales, gradients
from conformance.losses import Labels, loss, loss_gradient
from conformance.measure import SMALLEST_NORMAL
from conformance.oracle import Tensors, lrn_sums, softmax
from conformance.reference import Float32
from conformance.ties import undecided
from conformance.windows import Array, pool_pads, pool_windows
from spec.network import Network
from spec.operators import Lrn, MaxPool, Relu, Softmax
from spec.recipe import Loss
from spec.shapes import Layer
from spec.weights import generator

LOSS = "loss"
"""What reads the logits, as an operator is named by its kind."""

#: Which share of what a ReLU reads is made 0, and of a max pool's windows is given two equal largest elements; and how
#: many of them at least, however small the operator is.
ZEROS, TIES, LEAST = 0.01, 0.03, 4


@dataclass(frozen=True)
class Reader:
    """One operator that passes back to a tap, or the loss."""

    name: str
    """The operator's; that of the tap itself for the loss."""
    op: str


@dataclass(frozen=True)
class Gradient:
    """One gradient, in float64."""

    readers: tuple[Reader, ...]
    """Whose gradient it is: of a tap those that read it, of a parameter the one that has it."""
    value: Array
    scale: npt.NDArray[np.float32] | Array | None
    """S of every element; none where the value is a copy, and so exact."""
    masked: Mask | None = None
    """Which elements an honest forward error decides; none where no reader has a kink."""
    blind: str = ""
    """What this case cannot see, if anything."""


@dataclass(frozen=True)
class Fed:
    """What every worker is given beside weights and input."""

    substitutes: dict[str, Float32]
    cotangents: dict[str, Float32]
    masks: dict[str, Mask]
    labels: Labels


@dataclass(frozen=True)
class GradientReference:
    """The oracle's answer to one case."""

    fed: Fed
    taps: dict[str, Gradient]
    """Of every tap that is read, the input's too."""
    parameters: dict[str, Gradient]
    """By canonical name."""
    logits: str
    """The tap that the loss reads."""
    loss: float
    loss_scale: float
    """What the loss's rounding errors are measured on; see `loss_scale`."""


def gradient_reference(
    network: Network, stated: Loss, tensors: Tensors, x: Float32, seed: int, rules: Caps
) -> GradientReference:
    """Evaluate the oracle on a batch `x` (N, C, H, W); what overflows is infinite, and for the checks to tell."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        fed, inputs = _fed(network, tensors, x, seed)
        passed: dict[str, list[Gradient]] = {name: [] for name in inputs}
        parameters: dict[str, Gradient] = {}
        for layer in network.layers:
            own, reads = _of_layer(layer, inputs, tensors, fed, rules)
            parameters |= own
            for name, gradient in zip(layer.operator.reads, reads, strict=True):
                passed[name].append(gradient)
        logits = logits_tap(network)
        passed[logits].append(_of_loss(inputs[logits], fed.labels, stated, logits))
        return GradientReference(
            fed=fed,
            taps={name: _sum(own) for name, own in passed.items() if own},
            parameters=parameters,
            logits=logits,
            loss=float(loss(inputs[logits], fed.labels, stated)),
            loss_scale=loss_scale(inputs[logits], fed.labels, stated),
        )


def decided_by_denormals(layer: Layer, x: Array) -> Mask | None:
    """Which elements of a gradient denormals decide, which a worker may take for 0; none for an operator without kinks.

    What is equal as it is, is not among them: there a rule is fixed.
    """
    exact = np.zeros_like(x)
    ties = undecided(layer, x, exact)
    if ties is None:
        return None
    flushed = np.where(np.abs(x) < SMALLEST_NORMAL, np.abs(x), exact)
    if not flushed.any():
        return np.zeros(x.shape, np.bool_)
    near = undecided(layer, x, flushed)
    return None if near is None else near & ~ties


def _fed(network: Network, tensors: Tensors, x: Float32, seed: int) -> tuple[Fed, dict[str, Array]]:
    """What workers are fed; and what operators then read, float64 copies of float32 values."""
    masks = drawn_masks(network, len(x), seed, 0)
    substitutes: dict[str, Float32] = {}
    read: dict[str, Array] = {network.input.name: x.astype(np.float64)}
    for layer in network.layers:
        value = train_layer(layer, tuple(read[name] for name in layer.operator.reads), tensors, masks.get(layer.name))
        substitutes[layer.name] = np.roll(value.astype(np.float32), 1)
        _plant(network, layer.name, substitutes[layer.name], seed)
        read[layer.name] = substitutes[layer.name].astype(np.float64)
    cotangents = {
        layer.name: generator(seed, "cotangents", layer.name).standard_normal((len(x), *layer.output_shape), np.float32)
        for layer in network.layers
    }
    (classes,) = next(layer.output_shape for layer in network.layers if layer.name == logits_tap(network))
    labels = generator(seed, "labels").integers(classes, size=len(x), dtype=np.int64)
    return Fed(substitutes, cotangents, masks, labels), read


def _plant(network: Network, tap: str, values: Float32, seed: int) -> None:
    """Put equal largest elements into windows of max pools, and zeros where ReLUs read."""
    readers = [layer for layer in network.layers if tap in layer.operator.reads]
    for layer in readers:
        if isinstance(layer.operator, MaxPool):
            _plant_ties(values, layer.operator, generator(seed, "ties", layer.name))
    if any(isinstance(layer.operator, Relu) for layer in readers):
        values.flat[_some(values.size, ZEROS, generator(seed, "zeros", tap))] = 0.0


def _plant_ties(values: Float32, operator: MaxPool, random: np.random.Generator) -> None:
    """Copy the largest element of some windows to another place of the window."""
    rows, columns = operator.kernel
    if rows * columns == 1:
        return
    windows = pool_windows(values, operator, -np.inf)
    places = _some(prod(windows.shape[:4]), TIES, random)
    image, channel, row, column = np.unravel_index(places, windows.shape[:4])
    chosen = windows[image, channel, row, column].reshape(-1, rows * columns)
    place = (chosen.argmax(axis=1) + random.integers(1, rows * columns, len(chosen))) % (rows * columns)
    top, left, _, _ = pool_pads(operator, values.shape[2], values.shape[3])
    y = row * operator.stride[0] + place // columns - top
    x = column * operator.stride[1] + place % columns - left
    inside = (y >= 0) & (y < values.shape[2]) & (x >= 0) & (x < values.shape[3])
    values[image[inside], channel[inside], y[inside], x[inside]] = chosen.max(axis=1)[inside]


def _some(count: int, share: float, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """So large a share of the numbers below `count`; some may come twice."""
    return random.integers(count, size=max(LEAST, round(share * count)))


def _of_layer(
    layer: Layer, read: dict[str, Array], tensors: Tensors, fed: Fed, rules: Caps
) -> tuple[dict[str, Gradient], list[Gradient]]:
    """An operator's own gradients: of its parameters, and of what it reads."""
    operator, reader = layer.operator, Reader(layer.name, layer.operator.op)
    inputs = tuple(read[name] for name in operator.reads)
    g = fed.cotangents[layer.name].astype(np.float64)
    values = gradients(layer, inputs, tensors, g, fed.masks.get(layer.name))
    scales = _scales(layer, inputs, tensors, g)
    parameters = {
        name: Gradient((reader,), value, scales.parameters[name].astype(np.float32))
        for name, value in values.parameters.items()
    }
    is_fed = all(name in fed.substitutes for name in operator.reads)
    blind = _blind(layer, inputs[0], g, values.inputs[0], scales, rules) if is_fed else ""
    masked = decided_by_denormals(layer, inputs[0])
    return parameters, [
        Gradient((reader,), value, scales.inputs[index] if scales.inputs else None, masked, blind)
        for index, value in enumerate(values.inputs)
    ]


def _scales(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors, g: Array) -> Scales:
    scales = gradient_scales(layer, inputs, tensors, g)
    if isinstance(layer.operator, Softmax) and scales.inputs is not None:  # a power's error grows with its exponent
        return Scales((scales.inputs[0] * _largest(inputs[0]),), scales.parameters)
    return scales


def _largest(logits: Array) -> Array:
    """max(1, max|logit|) of each row."""
    y: Array = np.maximum(np.abs(logits).max(axis=1, keepdims=True), 1.0)
    return y


def _blind(layer: Layer, x: Array, g: Array, value: Array, scales: Scales, rules: Caps) -> str:
    """What an operator's rule, or its constant, decides nowhere in this case."""
    match layer.operator:
        case Relu() if not np.any((x == 0) & (g != 0)):
            return "no element is 0, so the slope there cannot be seen"
        case MaxPool() as operator if _has_rivals(x, operator) and not _has_ties(x, operator):
            return "no window has two equal largest elements, so which of them counts cannot be seen"
        case Lrn() as operator if scales.inputs is not None:
            denominator = operator.k + operator.alpha_sum * lrn_sums(x, operator)
            moved = np.abs(measure.noise(g * denominator**-operator.beta, value, scales.inputs[0]))
            enough = rules.excitation.gradient_lrn_caps * rules.gradient_rule_for("lrn", "input", "float32").max
            share, expected = float(np.mean(moved > enough)), rules.excitation.share
            if share < expected:
                return (
                    f"the gradient of the denominator moves {share:.2%} of the elements by more than {enough:g} noise "
                    f"units, expected {expected:.0%} (conformance/caps.toml, excitation)"
                )
    return ""


def _has_rivals(x: Array, operator: MaxPool) -> bool:
    """Whether any window holds two elements of the image: elsewhere there is nothing to choose."""
    inside = pool_windows(np.ones_like(x[:1, :1]), operator, 0.0)
    return bool((inside.sum(axis=(4, 5)) > 1).any())


def _has_ties(x: Array, operator: MaxPool) -> bool:
    windows = pool_windows(x, operator, -np.inf)
    largest = windows == windows.max(axis=(4, 5), keepdims=True)
    return bool((largest.sum(axis=(4, 5)) > 1).any())


def _of_loss(logits: Array, labels: Labels, stated: Loss, tap: str) -> Gradient:
    """S is p·max(1, max|logit|) + 1 at the label: the error of a power grows with its exponent."""
    scale = softmax(logits) * _largest(logits)
    scale[np.arange(len(labels)), labels] += 1
    value = loss_gradient(logits, labels, stated)
    return Gradient((Reader(tap, LOSS),), value, scale if stated.reduction == "sum" else scale / len(logits))


def loss_scale(logits: Array, labels: Labels, stated: Loss) -> float:
    """max(1, max|logit|) + loss, of each example, added up or averaged as the loss is.

    An error in log Σ exp(z) is absolute, and grows with the logits; the loss itself is rounded too.
    """
    total = float(_largest(logits).sum())
    sums = total + float(loss(logits, labels, Loss(kind=stated.kind, reduction="sum")))
    return sums if stated.reduction == "sum" else sums / len(logits)


def _sum(passed: Sequence[Gradient]) -> Gradient:
    """What several readers pass back together."""
    if len(passed) == 1:
        return passed[0]
    squares = [(own.value if own.scale is None else own.scale) ** 2 for own in passed]
    masks = [own.masked for own in passed if own.masked is not None]
    return Gradient(
        readers=tuple(reader for own in passed for reader in own.readers),
        value=np.sum([own.value for own in passed], axis=0),
        scale=np.sqrt(np.sum(squares, axis=0)),
        masked=np.any(masks, axis=0) if masks else None,
        blind="; ".join(own.blind for own in passed if own.blind),
    )
