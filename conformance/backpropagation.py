"""A network while it trains: every tap on the way forward, every gradient on the way back."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from conformance.dropout import Mask, check_masks, training_scale
from conformance.gradients import gradients
from conformance.losses import Labels, loss, loss_gradient
from conformance.oracle import Tensors, evaluate
from conformance.windows import Array
from spec.network import Network
from spec.operators import Dropout, Softmax
from spec.recipe import Loss
from spec.shapes import Layer

Masks = Mapping[str, Mask]
"""Which elements each dropout keeps, by its name."""


@dataclass(frozen=True)
class Backpropagation:
    """One batch, there and back."""

    loss: float
    taps: dict[str, Array]
    """What each operator puts out while training."""
    cotangents: dict[str, Array]
    """∂L/∂tap, by the tap's name; the input's too. An operator that the loss does not depend on has none."""
    parameters: dict[str, Array]
    """∂L/∂parameter, by canonical name; the penalty of weight decay is not in it."""


def train_layer(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors, mask: Mask | None) -> Array:
    """The operator's output while training: that of evaluation, but for dropout; batch norm keeps its statistics."""
    if isinstance(layer.operator, Dropout):
        return inputs[0] * training_scale(layer.operator, mask, inputs[0])
    return evaluate(layer, inputs, tensors)


def train_forward(network: Network, tensors: Tensors, x: Array, masks: Masks) -> dict[str, Array]:
    """Every tap of a batch `x` (N, C, H, W) while training, the input's among them. Raises InputError."""
    check_masks(network, masks, len(x))
    taps = {network.input.name: x}
    for layer in network.layers:
        inputs = tuple(taps[name] for name in layer.operator.reads)
        taps[layer.name] = train_layer(layer, inputs, tensors, masks.get(layer.name))
    return taps


def logits_tap(network: Network) -> str:
    """The tap that the loss reads: the network's output, or what its last operator reads if that is a softmax."""
    last = network.graph[-1]
    return last.reads[0] if isinstance(last, Softmax) else last.name


def backward(
    network: Network, tensors: Tensors, taps: Mapping[str, Array], cotangents: Mapping[str, Array], masks: Masks
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Gradients of all taps and of all parameters, from `cotangents` of some taps; where branches meet they add."""
    flowing = dict(cotangents)
    parameters: dict[str, Array] = {}
    for layer in reversed(network.layers):
        reads = layer.operator.reads
        if layer.name not in flowing:
            parameters |= {name: np.zeros(shape, np.float64) for name, shape in layer.parameter_shapes.items()}
            continue
        inputs = tuple(taps[name] for name in reads)
        passed = gradients(layer, inputs, tensors, flowing[layer.name], masks.get(layer.name))
        parameters |= passed.parameters
        for name, gradient in zip(reads, passed.inputs, strict=True):
            flowing[name] = flowing[name] + gradient if name in flowing else gradient
    return flowing, {name: parameters[name] for layer in network.layers for name in layer.parameter_shapes}


def backpropagate(
    network: Network, tensors: Tensors, x: Array, labels: Labels, masks: Masks, stated: Loss
) -> Backpropagation:
    """Loss and all gradients of one batch, in the precision of `x`. Raises InputError for wrong masks or labels."""
    taps = train_forward(network, tensors, x, masks)
    logits = taps[logits_tap(network)]
    value = float(loss(logits, labels, stated))
    start = {logits_tap(network): loss_gradient(logits, labels, stated)}
    cotangents, parameters = backward(network, tensors, taps, start, masks)
    return Backpropagation(value, taps, cotangents, parameters)
