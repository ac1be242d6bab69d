"""The oracle: what each operator computes, in NumPy, from the spec alone.

Values have the precision of the arrays that come in: float64 for the reference, float32 for a yardstick. Images are
(N, C, H, W), features (N, F). For sums of products the oracle also gives S = sqrt(op(x², w²) + b²), the scale on which
rounding errors of that sum are measured (design: noise units).
"""

from collections.abc import Mapping
from math import prod
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt

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

Array = npt.NDArray[np.floating[Any]]
Tensors = Mapping[str, Array]

#: Rows of a dense layer's weights that are widened to float64 at once: few stay in the cache, and with a small batch
#: their product is too small for BLAS to wait for a second thread on a busy machine.
DENSE_BLOCK = 8


def evaluate(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors) -> Array:
    """The operator's output for `inputs`; `tensors` hold its parameters by canonical name."""
    operator, x = layer.operator, inputs[0]
    own = _own(layer, tensors)
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
    own = _own(layer, tensors)
    match operator:
        case Conv():
            squares = conv(x**2, own["weight"], own.get("bias"), operator, power=2)
        case Dense():
            squares = dense(x**2, own["weight"], own.get("bias"), power=2)
        case AvgPool():
            counts = _counts(operator, x.shape[2], x.shape[3])
            squares = _window_sums(x**2, operator) / counts**2
        case GlobalAvgPool():
            squares = (x**2).sum(axis=(2, 3), keepdims=True) / prod(x.shape[2:]) ** 2
        case Add():
            squares = np.sum([value**2 for value in inputs], axis=0)
        case BatchNorm():
            mean, variance, scale, shift = (own[key].astype(x.dtype) for key in ("mean", "variance", "scale", "shift"))
            factor = scale**2 / (variance + operator.epsilon)
            squares = _channel(factor) * (x**2 + _channel(mean) ** 2) + _channel(shift) ** 2
        case Relu() | Tanh() | Lrn() | MaxPool() | Flatten() | Dropout() | Softmax() | Concat():
            return None
        case _:
            assert_never(operator)
    return np.sqrt(squares)


def conv(x: Array, kernel_oihw: Array, bias: Array | None, operator: Conv, power: int = 1) -> Array:
    """Cross-correlation as one matrix product an image and group; kernel and bias are raised to `power`."""
    groups, stride = operator.groups, operator.stride
    padded = _padded(x, operator.pads, 0.0)
    height, width = window(operator, x.shape[2], x.shape[3]).output
    out_channels, in_group, rows, columns = kernel_oihw.shape
    weights = _raised(kernel_oihw, power, x).reshape(groups, out_channels // groups, in_group * rows * columns)
    patches = _windows(padded, (rows, columns), stride, (height, width))
    y = np.empty((len(x), groups, out_channels // groups, height * width), x.dtype)
    for image in range(len(x)):
        for group in range(groups):
            own = patches[image, group * in_group : (group + 1) * in_group]
            columns_of_patches = own.transpose(0, 3, 4, 1, 2).reshape(in_group * rows * columns, height * width)
            np.matmul(weights[group], columns_of_patches, out=y[image, group])
    y = y.reshape(len(x), out_channels, height, width)
    return y if bias is None else y + _channel(_raised(bias, power, x))


def dense(x: Array, weight_oi: Array, bias: Array | None, power: int = 1) -> Array:
    """W·x + b for every row of x; weight and bias are raised to `power`."""
    y = np.empty((len(x), len(weight_oi)), x.dtype)
    for start in range(0, len(weight_oi), DENSE_BLOCK):
        rows = slice(start, start + DENSE_BLOCK)
        y[:, rows] = x @ _raised(weight_oi[rows], power, x).T
    return y if bias is None else y + _raised(bias, power, x)


def relu(x: Array) -> Array:
    """max(x, 0), where NaN stays NaN."""
    return np.maximum(x, x.dtype.type(0))


def lrn_sums(x: Array, operator: Lrn) -> Array:
    """Σ x² over the window of n channels around each, clipped at the ends of its tower."""
    images, channels, height, width = x.shape
    squares = (x**2).reshape(images, operator.towers, channels // operator.towers, height, width)
    reach = operator.n // 2
    padded = np.pad(squares, ((0, 0), (0, 0), (reach, reach), (0, 0), (0, 0)))
    sums = sum(padded[:, :, shift : shift + squares.shape[2]] for shift in range(operator.n))
    return np.asarray(sums, x.dtype).reshape(x.shape)


def lrn(x: Array, operator: Lrn) -> Array:
    """x / (k + α_sum · Σ x²)^β (paper §3.3)."""
    kind = x.dtype.type
    return x / (kind(operator.k) + kind(operator.alpha_sum) * lrn_sums(x, operator)) ** kind(operator.beta)


def max_pool(x: Array, operator: MaxPool) -> Array:
    """Maximum over windows; padding is −∞."""
    y: Array = _pool_windows(x, operator, -np.inf).max(axis=(4, 5))
    return y


def avg_pool(x: Array, operator: AvgPool) -> Array:
    """Sum over windows, over how many elements of each count."""
    return _window_sums(x, operator) / _counts(operator, x.shape[2], x.shape[3]).astype(x.dtype)


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
    return (x - _channel(mean)) * _channel(factor) + _channel(shift)


def _own(layer: Layer, tensors: Tensors) -> dict[str, Array]:
    """The layer's tensors by their short names (`weight`)."""
    return {name.rpartition(".")[2]: tensors[name] for name in layer.tensor_shapes}


def _raised(values: Array, power: int, x: Array) -> Array:
    """`values` in the precision of x, raised to `power`; the first power copies nothing."""
    widened = values.astype(x.dtype, copy=False)
    return widened if power == 1 else widened**power


def _channel(values: Array) -> Array:
    """One value a channel, to stand beside images."""
    return values[:, None, None]


def _padded(x: Array, pads: tuple[int, int, int, int], value: float) -> Array:
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value) if any(pads) else x


def _windows(x: Array, kernel: tuple[int, int], stride: tuple[int, int], output: tuple[int, int]) -> Array:
    """A view (N, C, rows, columns, kernel rows, kernel columns) of every window."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    strided: Array = view[:, :, :: stride[0], :: stride[1]][:, :, : output[0], : output[1]]
    return strided


def _pool_windows(x: Array, operator: MaxPool | AvgPool, value: float) -> Array:
    placed = window(operator, x.shape[2], x.shape[3])
    top, left, bottom, right = operator.pads
    padded = _padded(x, (top, left, bottom + placed.overflow[0], right + placed.overflow[1]), value)
    return _windows(padded, operator.kernel, operator.stride, placed.output)


def _window_sums(x: Array, operator: AvgPool) -> Array:
    y: Array = _pool_windows(x, operator, 0.0).sum(axis=(4, 5))
    return y


def _counts(operator: AvgPool, height: int, width: int) -> Array:
    """How many elements of each window count: those of the input, and of the padding if it is counted."""
    ones = np.ones((1, 1, height, width))
    if operator.padding_counted:
        placed = window(operator, height, width)
        padded = _padded(ones, operator.pads, 1.0)
        padded = _padded(padded, (0, 0, *placed.overflow), 0.0)
        counts: Array = _windows(padded, operator.kernel, operator.stride, placed.output).sum(axis=(4, 5))
        return counts
    return _window_sums(ones, operator)
