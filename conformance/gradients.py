"""The oracle's gradients: what each operator passes back, in NumPy, from the spec alone.

For y = op(x, w) and a cotangent g = ∂L/∂y these are the vector-Jacobian products ∂L/∂x = Jᵀg and ∂L/∂w. Where they are
sums of products the oracle also gives S, the scale on which rounding errors of that sum are measured: the square root
of the same sum over squares (design: noise units). Where a derivative does not exist, a rule is fixed: ReLU has slope 0
at 0, and a max pool passes everything to the first of the largest elements of a window, rows before columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import assert_never

import numpy as np
import numpy.typing as npt

from conformance.dropout import training_scale
from conformance.oracle import Tensors, by_channel, channel_sums, lrn_sums, own_tensors, raised, softmax
from conformance.windows import Array, Pads, pool_pads, pool_windows, spread, window_counts, windows_of, with_padding
from spec.operators import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
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
from spec.shapes import Layer, window

Mask = npt.NDArray[np.bool_]

#: Rows of a dense layer's weights that are widened to float64 at once: 2 MB of the paper's fc6 stay in the cache.
DENSE_BLOCK = 32


@dataclass(frozen=True)
class Gradients:
    """What goes back through one operator."""

    inputs: tuple[Array, ...]
    """One gradient an input, in its shape."""
    parameters: dict[str, Array]
    """By canonical name (`conv1.weight`)."""


@dataclass(frozen=True)
class Scales:
    """S of every element of an operator's gradients; None where they are copies, and so exact."""

    inputs: tuple[Array, ...] | None
    parameters: dict[str, Array]


def gradients(
    layer: Layer, inputs: tuple[Array, ...], tensors: Tensors, cotangent: Array, mask: Mask | None = None
) -> Gradients:
    """Jᵀ · `cotangent` for every input and parameter; `mask` says which elements a dropout keeps."""
    operator, x, g = layer.operator, inputs[0], cotangent
    own = own_tensors(layer, tensors)
    to_inputs: tuple[Array, ...]
    parameters: dict[str, Array] = {}
    match operator:
        case Conv():
            to_inputs = (conv_input(own["weight"], g, operator, x.shape),)
            parameters = {"weight": conv_weight(x, g, operator), "bias": g.sum(axis=(0, 2, 3))}
        case Dense():
            to_inputs = (dense_input(own["weight"], g),)
            parameters = {"weight": g.T @ x, "bias": g.sum(axis=0)}
        case Relu():
            to_inputs = (np.where(x > 0, g, g.dtype.type(0)),)
        case Tanh():
            to_inputs = (g * (1 - np.tanh(x) ** 2),)
        case Lrn():
            to_inputs = (lrn(x, g, operator),)
        case MaxPool():
            to_inputs = (max_pool(x, g, operator),)
        case AvgPool():
            to_inputs = (avg_pool(g, operator, x.shape),)
        case GlobalAvgPool():
            to_inputs = (np.broadcast_to(g / prod(x.shape[2:]), x.shape).copy(),)
        case Flatten():
            to_inputs = (g.reshape(x.shape),)
        case Dropout():
            to_inputs = (g * training_scale(operator, mask, x),)
        case Softmax():
            y = softmax(x)
            to_inputs = (y * (g - (g * y).sum(axis=1, keepdims=True)),)
        case Add():
            to_inputs = tuple(g for _ in inputs)
        case Concat():
            to_inputs = _split(g, inputs)
        case BatchNorm():
            mean, deviation, scale = _statistics(own, operator, g)
            to_inputs = (g * by_channel(scale / deviation),)
            normal = (x - by_channel(mean)) / by_channel(deviation)
            parameters = {"scale": (g * normal).sum(axis=(0, 2, 3)), "shift": g.sum(axis=(0, 2, 3))}
        case _:
            assert_never(operator)
    return Gradients(to_inputs, _named(layer, parameters))


def gradient_scales(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors, cotangent: Array) -> Scales:
    """S of every element of `gradients`: the square root of the sum of squares of what was added up."""
    operator, x, squares = layer.operator, inputs[0], cotangent**2
    own = own_tensors(layer, tensors)
    parameters: dict[str, Array] = {}
    match operator:
        case Conv():
            to_input = conv_input(own["weight"], squares, operator, x.shape, power=2)
            parameters = {"weight": conv_weight(x**2, squares, operator), "bias": squares.sum(axis=(0, 2, 3))}
        case Dense():
            to_input = dense_input(own["weight"], squares, power=2)
            parameters = {"weight": squares.T @ x**2, "bias": squares.sum(axis=0)}
        case Tanh():
            to_input = squares  # 1 − tanh² loses what is equal in both
        case Lrn():
            to_input = _lrn_squares(x, cotangent, operator)
        case MaxPool():
            to_input = max_pool(x, squares, operator)
        case AvgPool():
            counts = window_counts(operator, x.shape[2], x.shape[3])
            to_input = avg_pool(squares / counts, operator, x.shape)
        case GlobalAvgPool():
            to_input = np.broadcast_to(squares / prod(x.shape[2:]) ** 2, x.shape).copy()
        case Softmax():
            y = softmax(x)
            to_input = y**2 * (squares + (squares * y**2).sum(axis=1, keepdims=True))
        case BatchNorm():
            mean, deviation, scale = _statistics(own, operator, cotangent)
            to_input = squares * by_channel(scale / deviation) ** 2
            terms = (x**2 + by_channel(mean) ** 2) / by_channel(deviation) ** 2
            parameters = {"scale": (squares * terms).sum(axis=(0, 2, 3)), "shift": squares.sum(axis=(0, 2, 3))}
        case Relu() | Flatten() | Dropout() | Add() | Concat():
            return Scales(None, {})
        case _:
            assert_never(operator)
    roots = {name: np.sqrt(value) for name, value in parameters.items()}
    return Scales((np.sqrt(to_input),), _named(layer, roots))


def conv_input(kernel_oihw: Array, g: Array, operator: Conv, shape: tuple[int, ...], power: int = 1) -> Array:
    """∂L/∂x: each kernel times its output's gradient, added where its window lay; the kernel is raised to `power`."""
    groups, (images, channels, height, width) = operator.groups, shape
    out_channels, in_group, rows, columns = kernel_oihw.shape
    out_height, out_width = g.shape[2:]
    weights = raised(kernel_oihw, power, g).reshape(groups, out_channels // groups, in_group * rows * columns)
    per_group = g.reshape(images, groups, out_channels // groups, out_height * out_width)
    x = np.empty(shape, g.dtype)
    for image in range(images):
        pieces = np.matmul(weights.transpose(0, 2, 1), per_group[image])
        pieces = pieces.reshape(1, channels, rows, columns, out_height, out_width)
        x[image] = spread(pieces, (height, width), operator.kernel, operator.stride, operator.pads)[0]
    return x


def conv_weight(x: Array, g: Array, operator: Conv) -> Array:
    """∂L/∂W (O, I / groups, height, width): what each weight met, times the gradient of what it went into."""
    groups, (rows, columns) = operator.groups, operator.kernel
    images, channels = x.shape[:2]
    in_group, out_group = channels // groups, g.shape[1] // groups
    output = window(operator, x.shape[2], x.shape[3]).output
    patches = windows_of(with_padding(x, operator.pads, 0.0), operator.kernel, operator.stride, output)
    weight = np.zeros((groups, out_group, in_group * rows * columns), g.dtype)
    for image in range(images):
        for group in range(groups):
            own = patches[image, group * in_group : (group + 1) * in_group]
            columns_of_patches = own.transpose(0, 3, 4, 1, 2).reshape(in_group * rows * columns, prod(output))
            to = g[image, group * out_group : (group + 1) * out_group].reshape(out_group, prod(output))
            weight[group] += to @ columns_of_patches.T
    return weight.reshape(groups * out_group, in_group, rows, columns)


def dense_input(weight_oi: Array, g: Array, power: int = 1) -> Array:
    """∂L/∂x = g · W for every row of g; the weight is raised to `power`."""
    x = np.zeros((len(g), weight_oi.shape[1]), g.dtype)
    for start in range(0, len(weight_oi), DENSE_BLOCK):
        rows = slice(start, start + DENSE_BLOCK)
        x += g[:, rows] @ raised(weight_oi[rows], power, g)
    return x


def lrn(x: Array, g: Array, operator: Lrn) -> Array:
    """∂L/∂x_j = g_j·d_j^−β − 2αβ·x_j·Σ g_i·x_i·d_i^(−β−1) over the window around j, with d = k + α·Σ x².

    The derivative of the formula of the paper's §3.3; n is odd, so that i sees j where j sees i.
    """
    denominator = operator.k + operator.alpha_sum * lrn_sums(x, operator)
    others = channel_sums(g * x * denominator ** (-operator.beta - 1), operator)
    y: Array = g * denominator**-operator.beta - 2 * operator.alpha_sum * operator.beta * x * others
    return y


def _lrn_squares(x: Array, g: Array, operator: Lrn) -> Array:
    """The squares of both terms of `lrn`, the second of them itself a sum."""
    denominator = operator.k + operator.alpha_sum * lrn_sums(x, operator)
    others = channel_sums((g * x * denominator ** (-operator.beta - 1)) ** 2, operator)
    factor = 2 * operator.alpha_sum * operator.beta * x
    y: Array = (g * denominator**-operator.beta) ** 2 + factor**2 * others
    return y


def max_pool(x: Array, g: Array, operator: MaxPool) -> Array:
    """∂L/∂x: each window's gradient goes to its largest element, the first of them in rows, then columns."""
    rows, columns = operator.kernel
    windows = pool_windows(x, operator, -np.inf)
    first = windows.reshape(*windows.shape[:4], rows * columns).argmax(axis=4)
    places = np.arange(rows * columns).reshape(1, 1, rows, columns, 1, 1)
    pieces = np.where(first[:, :, None, None] == places, g[:, :, None, None], g.dtype.type(0))
    return _spread_pool(pieces, operator, x.shape)


def avg_pool(g: Array, operator: AvgPool, shape: tuple[int, ...]) -> Array:
    """∂L/∂x: each window's gradient, over how many elements of it count, goes to all of them."""
    shares = g / window_counts(operator, shape[2], shape[3]).astype(g.dtype)
    pieces = np.broadcast_to(shares[:, :, None, None], (*g.shape[:2], *operator.kernel, *g.shape[2:]))
    return _spread_pool(pieces, operator, shape)


def _spread_pool(pieces: Array, operator: MaxPool | AvgPool, shape: tuple[int, ...]) -> Array:
    pads: Pads = pool_pads(operator, shape[2], shape[3])
    return spread(pieces, (shape[2], shape[3]), operator.kernel, operator.stride, pads)


def _split(g: Array, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """The channels of `g` that came from each input."""
    ends = np.cumsum([x.shape[1] for x in inputs])[:-1]
    return tuple(np.split(g, ends, axis=1))


def _statistics(own: Mapping[str, Array], operator: BatchNorm, like: Array) -> tuple[Array, Array, Array]:
    """Mean, standard deviation and scale of each channel, in the precision of `like`."""
    mean, variance, scale = (own[key].astype(like.dtype) for key in ("mean", "variance", "scale"))
    return mean, np.sqrt(variance + operator.epsilon), scale


def _named(layer: Layer, parameters: Mapping[str, Array]) -> dict[str, Array]:
    """By canonical name those that the layer has: a layer without bias has no gradient of one."""
    named = {f"{layer.name}.{name}": value for name, value in parameters.items()}
    return {name: named[name] for name in layer.parameter_shapes}
