"""The oracle: what each operator computes, in NumPy, from the spec alone.

Values have the precision of the arrays that come in: float64 for the reference, float32 for a yardstick. Images are
(N, C, H, W), features (N, F). For sums of products the oracle also gives S = sqrt(op(x², w²) + b²), the scale on which
rounding errors of that sum are measured (design: noise units). In S of an average y² is added: behind a ReLU its terms
have one sign, and partial sums, which are rounded too, grow as large as the sum.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import assert_never

import numpy as np

from conformance.windows import Array as Array
from conformance.windows import pool_windows, window_counts, window_sums, windows_of, with_padding
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

Tensors = Mapping[str, Array]

#: Rows of a dense layer's weights that are widened to float64 at once: few stay in the cache, and with a small batch
#: their product is too small for BLAS to wait for a second thread on a busy machine.
DENSE_BLOCK = 8


def evaluate(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors) -> Array:
    """The operator's output for `inputs`; `tensors` hold its parameters by canonical name."""
    operator, x = layer.operator, inputs[0]
    own = own_tensors(layer, tensors)
    match operator:
        case Conv():
            return conv(x, own["weight"], own.get("bias"), operator)
        case Dense():
            return dense(x, own["weight"], own.get("bias"))
        case Relu():
            return relu(x)
        case Tanh():
            return np.tanh(x)
        case Lrn():
            return lrn(x, operator)
        case MaxPool():
            return max_pool(x, operator)
        case AvgPool():
            return avg_pool(x, operator)
        case GlobalAvgPool():
            return global_avg_pool(x)
        case Flatten():
            return x.reshape(len(x), -1)
        case Dropout():
            return x * x.dtype.type(operator.evaluation_scale)
        case Softmax():
            return softmax(x)
        case Add():
            return add(inputs)
        case Concat():
            return np.concatenate(inputs, axis=1)
        case BatchNorm():
            return batch_norm(x, own, operator)
        case _:
            assert_never(operator)


def noise_scale(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors) -> Array | None:
    """S of every element, or nothing for an operator that is no sum of products."""
    operator, x = layer.operator, inputs[0]
    own = own_tensors(layer, tensors)
    match operator:
        case Conv():
            squares = conv(x**2, own["weight"], own.get("bias"), operator, power=2)
        case Dense():
            squares = dense(x**2, own["weight"], own.get("bias"), power=2)
        case AvgPool():
            counts = window_counts(operator, x.shape[2], x.shape[3])
            squares = window_sums(x**2, operator) / counts**2 + avg_pool(x, operator) ** 2
        case GlobalAvgPool():
            squares = (x**2).sum(axis=(2, 3), keepdims=True) / prod(x.shape[2:]) ** 2 + global_avg_pool(x) ** 2
        case Add():
            squares = np.sum([value**2 for value in inputs], axis=0)
        case BatchNorm():
            mean, variance, scale, shift = (own[key].astype(x.dtype) for key in ("mean", "variance", "scale", "shift"))
            factor = scale**2 / (variance + operator.epsilon)
            squares = by_channel(factor) * (x**2 + by_channel(mean) ** 2) + by_channel(shift) ** 2
        case Relu() | Tanh() | Lrn() | MaxPool() | Flatten() | Dropout() | Softmax() | Concat():
            return None
        case _:
            assert_never(operator)
    return np.sqrt(squares)


def conv(
    x: Array,
    kernel_oihw: Array,
    bias: Array | None,
    operator: Conv,
    power: int = 1,
    product: Callable[[Array, Array, Array], object] = np.matmul,
) -> Array:
    """Cross-correlation as one matrix product an image and group; kernel and bias are raised to `power`.

    `product` writes the product of its first two arguments to the third.
    """
    groups, stride = operator.groups, operator.stride
    padded = with_padding(x, operator.pads, 0.0)
    height, width = window(operator, x.shape[2], x.shape[3]).output
    out_channels, in_group, rows, columns = kernel_oihw.shape
    weights = raised(kernel_oihw, power, x).reshape(groups, out_channels // groups, in_group * rows * columns)
    patches = windows_of(padded, (rows, columns), stride, (height, width))
    y = np.empty((len(x), groups, out_channels // groups, height * width), x.dtype)
    for image in range(len(x)):
        for group in range(groups):
            own = patches[image, group * in_group : (group + 1) * in_group]
            columns_of_patches = own.transpose(0, 3, 4, 1, 2).reshape(in_group * rows * columns, height * width)
            product(weights[group], columns_of_patches, y[image, group])
    y = y.reshape(len(x), out_channels, height, width)
    return y if bias is None else y + by_channel(raised(bias, power, x))


def dense(x: Array, weight_oi: Array, bias: Array | None, power: int = 1) -> Array:
    """W·x + b for every row of x; weight and bias are raised to `power`."""
    y = np.empty((len(x), len(weight_oi)), x.dtype)
    for start in range(0, len(weight_oi), DENSE_BLOCK):
        rows = slice(start, start + DENSE_BLOCK)
        y[:, rows] = x @ raised(weight_oi[rows], power, x).T
    return y if bias is None else y + raised(bias, power, x)


def relu(x: Array) -> Array:
    """max(x, 0), where NaN stays NaN."""
    return np.maximum(x, x.dtype.type(0))


def lrn_sums(x: Array, operator: Lrn) -> Array:
    """Σ x² over the window of n channels around each, clipped at the ends of its tower."""
    return channel_sums(x**2, operator)


def channel_sums(values: Array, operator: Lrn) -> Array:
    """The sum of `values` over the window of n channels around each, clipped at the ends of its tower."""
    images, channels, height, width = values.shape
    towers = values.reshape(images, operator.towers, channels // operator.towers, height, width)
    reach = operator.n // 2
    padded = np.pad(towers, ((0, 0), (0, 0), (reach, reach), (0, 0), (0, 0)))
    sums = sum(padded[:, :, shift : shift + towers.shape[2]] for shift in range(operator.n))
    return np.asarray(sums, values.dtype).reshape(values.shape)


def lrn(x: Array, operator: Lrn) -> Array:
    """x / (k + α_sum · Σ x²)^β (paper §3.3)."""
    kind = x.dtype.type
    return x / (kind(operator.k) + kind(operator.alpha_sum) * lrn_sums(x, operator)) ** kind(operator.beta)


def max_pool(x: Array, operator: MaxPool) -> Array:
    """Maximum over windows; padding is −∞."""
    y: Array = pool_windows(x, operator, -np.inf).max(axis=(4, 5))
    return y


def avg_pool(x: Array, operator: AvgPool) -> Array:
    """Sum over windows, over how many elements of each count."""
    return window_sums(x, operator) / window_counts(operator, x.shape[2], x.shape[3]).astype(x.dtype)


def global_avg_pool(x: Array) -> Array:
    """Mean over height and width, which stay as extents of 1."""
    y: Array = x.mean(axis=(2, 3), keepdims=True)
    return y


def add(inputs: tuple[Array, ...]) -> Array:
    """The sum of all inputs, first to last."""
    y: Array = np.sum(inputs, axis=0)
    return y


def softmax(x: Array) -> Array:
    """exp(x) / Σ exp(x) a row, shifted so that nothing overflows."""
    powers = np.exp(x - x.max(axis=1, keepdims=True))
    y: Array = powers / powers.sum(axis=1, keepdims=True)
    return y


def batch_norm(x: Array, own: Tensors, operator: BatchNorm) -> Array:
    """scale · (x − mean) / sqrt(variance + epsilon) + shift, a channel."""
    mean, variance, scale, shift = (own[key].astype(x.dtype) for key in ("mean", "variance", "scale", "shift"))
    factor = scale / np.sqrt(variance + x.dtype.type(operator.epsilon))
    return (x - by_channel(mean)) * by_channel(factor) + by_channel(shift)


def own_tensors(layer: Layer, tensors: Tensors) -> dict[str, Array]:
    """The layer's tensors by their short names (`weight`)."""
    return {name.rpartition(".")[2]: tensors[name] for name in layer.tensor_shapes}


def raised(values: Array, power: int, x: Array) -> Array:
    """`values` in the precision of x, raised to `power`; the first power copies nothing."""
    widened = values.astype(x.dtype, copy=False)
    return widened if power == 1 else widened**power


def by_channel(values: Array) -> Array:
    """One value a channel, to stand beside images."""
    return values[:, None, None]
