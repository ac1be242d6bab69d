"""Other rules of differentiation in the place of an operator's own, where they are often met."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from conformance.gradients import Mask, gradients
from conformance.oracle import by_channel, lrn_sums, own_tensors
from conformance.windows import Array, pool_pads, pool_windows, spread
from spec.operators import (
    AvgPool,
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Lrn,
    MaxPool,
    Relu,
    Softmax,
    Tanh,
)
from spec.shapes import Layer

Formula = Callable[[Any, Array, Array], Array]
"""From what is asked (alternatives.Asked), the cotangent and the right gradient to another one."""


def formulas(layer: Layer, kind: str, mask: Mask | None) -> Iterator[tuple[str, Formula]]:
    """Other gradients of the operator's `input`, or of its parameter `weight`, `bias`, …, each in words."""
    operator = layer.operator
    match operator:
        case Relu():
            yield "slope at 0: 1", lambda own, g, _: np.where(own.inputs[0] >= 0, g, 0.0)
            yield (
                "slope at 0: 0.5",
                lambda own, g, _: np.where(own.inputs[0] == 0, 0.5 * g, np.where(own.inputs[0] > 0, g, 0.0)),
            )
            yield "operator: absent", lambda own, g, _: g
            for slope in (0.01, 0.2, 0.3):
                yield f"operator: leaky, slope {slope}", _leaky(slope)
        case MaxPool():
            yield "ties: split", lambda own, g, _: _ties(own.inputs[0], g, operator, split=True)
            yield "ties: to all", lambda own, g, _: _ties(own.inputs[0], g, operator, split=False)
            yield "ties: to the last", lambda own, g, _: _last(own.inputs[0], g, operator)
        case Lrn():
            yield "denominator: constant", lambda own, g, _: g * _denominator(own.inputs[0], operator) ** -operator.beta
            yield (
                "denominator: counted twice",
                lambda own, g, right: 2 * right - g * _denominator(own.inputs[0], operator) ** -operator.beta,
            )
            yield (
                "denominator: counted half",
                lambda own, g, right: 0.5 * (right + g * _denominator(own.inputs[0], operator) ** -operator.beta),
            )
            yield "operator: absent", lambda own, g, _: g
        case Conv() | Dense():
            yield from _of_product(layer, kind)
        case GlobalAvgPool() | AvgPool():
            area = prod(layer.input_shape[1:]) if isinstance(operator, GlobalAvgPool) else prod(operator.kernel)
            yield "divisor: missing", lambda own, g, right: right * area
        case Dropout():
            keep = 1.0 - operator.drop_probability
            yield "scale: the keep probability", lambda own, g, right: right * keep
            yield "scale: its inverse", lambda own, g, right: right / keep
            yield "mask: missing", lambda own, g, _: g
            if mask is not None:
                yield "mask: inverted", lambda own, g, _: np.where(mask, 0.0, g)
        case BatchNorm():
            yield "statistics: of the batch", lambda own, g, right: _of_batch(own, g, right, operator.epsilon, kind)
        case Softmax():
            yield "operator: absent", lambda own, g, _: g
        case Tanh():
            yield "slope: of the output", lambda own, g, _: g * (1 - np.tanh(np.tanh(own.inputs[0])) ** 2)
            yield "operator: absent", lambda own, g, _: g
        case Flatten():
            for name, axes in (("height, width, channels", (0, 3, 1, 2)), ("channels, width, height", (0, 1, 3, 2))):
                yield f"order: {name}", _reordered(axes)
        case _:
            return  # an operator that nothing is known of


def _leaky(slope: float) -> Formula:
    return lambda own, g, _: np.where(own.inputs[0] > 0, g, slope * g)


def _reordered(axes: tuple[int, ...]) -> Formula:
    """A gradient that is put back as if features had been flattened in another order of axes."""

    def back(own: Any, g: Array, _: Array) -> Array:
        images, *shape = own.inputs[0].shape
        order = np.argsort(axes)
        moved = tuple(np.array([images, *shape])[order])
        return g.reshape(moved).transpose(axes)

    return back


def _of_product(layer: Layer, kind: str) -> Iterator[tuple[str, Formula]]:
    """What is often added up or divided in gradients of weights and biases."""
    operator, places = layer.operator, prod(layer.output_shape[1:])
    if kind == "input":
        return
    yield "images: averaged", lambda own, g, right: right / len(g)
    yield "images: the first alone", lambda own, g, right: _of_first(own, g, layer, kind)
    if places > 1:
        yield "places: averaged", lambda own, g, right: right / places
        yield "images and places: averaged", lambda own, g, right: right / (places * len(g))
    if isinstance(operator, Conv) and operator.groups > 1:
        yield "groups: exchanged", lambda own, g, right: np.roll(right, len(right) // operator.groups, 0)


def _of_first(own: Any, g: Array, layer: Layer, kind: str) -> Array:
    first = own.images(slice(0, 1))
    return gradients(layer, first.inputs, first.tensors, g[:1]).parameters[f"{layer.name}.{kind}"]


def _denominator(x: Array, operator: Lrn) -> Array:
    y: Array = operator.k + operator.alpha_sum * lrn_sums(x, operator)
    return y


def _ties(x: Array, g: Array, operator: MaxPool, split: bool) -> Array:
    """Every window's gradient to all of its largest elements, in equal shares or to each in full."""
    windows = pool_windows(x, operator, -np.inf)
    largest = windows == windows.max(axis=(4, 5), keepdims=True)
    share = g / largest.sum(axis=(4, 5)) if split else g
    return _spread(largest * share[..., None, None], operator, x)


def _last(x: Array, g: Array, operator: MaxPool) -> Array:
    """Every window's gradient to the last of its largest elements, rows before columns."""
    windows = pool_windows(x, operator, -np.inf)
    flat = windows.reshape(*windows.shape[:4], -1)
    last = flat.shape[4] - 1 - flat[..., ::-1].argmax(axis=4)
    chosen = np.arange(flat.shape[4]) == last[..., None]
    return _spread((chosen * g[..., None]).reshape(windows.shape), operator, x)


def _spread(pieces: Array, operator: MaxPool, x: Array) -> Array:
    """Pieces (N, C, rows, columns, kernel rows, kernel columns), added up where their windows lay."""
    size = (x.shape[2], x.shape[3])
    return spread(
        pieces.transpose(0, 1, 4, 5, 2, 3), size, operator.kernel, operator.stride, pool_pads(operator, *size)
    )


def _of_batch(own: Any, g: Array, right: Array, epsilon: float, kind: str) -> Array:
    """Gradients of a batch norm that normalises by the batch's own statistics, as while training."""
    x, axes = own.inputs[0], (0, 2, 3)
    deviation = np.sqrt(x.var(axis=axes) + epsilon)
    normal = (x - by_channel(x.mean(axis=axes))) / by_channel(deviation)
    if kind != "input":
        return (g * normal).sum(axis=axes) if kind == "scale" else right
    scale = own_tensors(own.layer, own.tensors)["scale"]
    centred = g - g.mean(axis=axes, keepdims=True) - normal * (g * normal).mean(axis=axes, keepdims=True)
    y: Array = centred * by_channel(scale / deviation)
    return y
