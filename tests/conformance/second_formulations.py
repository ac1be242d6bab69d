"""Every operator a second time, element by element from its definition: loops, no strides, no padding arrays, no BLAS.

Each takes and returns what the oracle's does: images (N, C, H, W), features (N, F), float64. `squares` asks for
S² = Σ x²w² + b² instead of the value.
"""

from collections.abc import Iterator, Sequence
from math import expm1, fsum, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]


def conv(
    x: Array, kernel_oihw: Array, bias: Array | None, stride: Pair, pads: Pads, groups: int, squares: bool = False
) -> Array:
    """Cross-correlation: every product that falls on the image, added exactly."""
    power = 2 if squares else 1
    images, channels, height, width = x.shape
    out_channels, in_group, rows, columns = kernel_oihw.shape
    assert in_group * groups == channels
    top, left, bottom, right = pads
    out_height = len(range(-top, height + bottom - rows + 1, stride[0]))
    out_width = len(range(-left, width + right - columns + 1, stride[1]))
    y = np.zeros((images, out_channels, out_height, out_width))
    for image, out, i, j in np.ndindex(y.shape):
        first = out // (out_channels // groups) * in_group
        terms = [
            x[image, first + channel, i * stride[0] - top + row, j * stride[1] - left + column] ** power
            * kernel_oihw[out, channel, row, column] ** power
            for channel, row, column in np.ndindex(in_group, rows, columns)
            if 0 <= i * stride[0] - top + row < height and 0 <= j * stride[1] - left + column < width
        ]
        y[image, out, i, j] = fsum([*terms, 0.0 if bias is None else bias[out] ** power])
    return y


def dense(x: Array, weight_oi: Array, bias: Array | None, squares: bool = False) -> Array:
    """W·x + b, added exactly."""
    power = 2 if squares else 1
    y = np.zeros((len(x), len(weight_oi)))
    for image, out in np.ndindex(y.shape):
        terms = [value**power * weight**power for value, weight in zip(x[image], weight_oi[out], strict=True)]
        y[image, out] = fsum([*terms, 0.0 if bias is None else bias[out] ** power])
    return y


def lrn(x: Array, n: int, k: float, alpha_sum: float, beta: float, towers: int) -> Array:
    """x / (k + α_sum · Σ x²)^β over the channels of the same tower that are at most (n − 1) / 2 away."""
    per_tower = x.shape[1] // towers
    y = np.zeros_like(x)
    for image, channel, i, j in np.ndindex(x.shape):
        near = [
            other
            for other in range(x.shape[1])
            if abs(other - channel) <= (n - 1) // 2 and other // per_tower == channel // per_tower
        ]
        total = fsum(float(x[image, other, i, j]) ** 2 for other in near)
        y[image, channel, i, j] = x[image, channel, i, j] / (k + alpha_sum * total) ** beta
    return y


def starts(size: int, kernel: int, stride: int, before: int, after: int, rounding: str) -> list[int]:
    """Where windows begin, in pixels of the image: one by one, until one ends where image and padding end."""
    placed = [-before]
    while placed[-1] + kernel < size + after:
        start = placed[-1] + stride
        fits = start + kernel <= size + after
        if not fits and (rounding == "floor" or start >= size):
            break
        placed.append(start)
    return placed


def max_pool(x: Array, kernel: Pair, stride: Pair, pads: Pads, rounding: str) -> Array:
    """The largest pixel of each window; padding is not looked at."""
    return _pooled(x, kernel, stride, pads, rounding, lambda values, _: max(values))


def avg_pool(
    x: Array, kernel: Pair, stride: Pair, pads: Pads, rounding: str, padding_counted: bool, squares: bool = False
) -> Array:
    """The pixels of each window, added exactly, over how many elements of it count."""

    def mean(values: Sequence[float], padded: int) -> float:
        count = padded if padding_counted else len(values)
        return fsum(value**2 for value in values) / count**2 if squares else fsum(values) / count

    return _pooled(x, kernel, stride, pads, rounding, mean)


def global_avg_pool(x: Array, squares: bool = False) -> Array:
    """The mean of each channel, added exactly."""
    y = np.zeros((*x.shape[:2], 1, 1))
    for image, channel in np.ndindex(x.shape[:2]):
        values = x[image, channel].ravel().tolist()
        y[image, channel] = fsum(v**2 for v in values) / len(values) ** 2 if squares else fsum(values) / len(values)
    return y


def batch_norm(x: Array, own: dict[str, Array], epsilon: float, squares: bool = False) -> Array:
    """scale · (x − mean) / sqrt(variance + epsilon) + shift; S takes it as the sum of three products."""
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        mean, variance, scale, shift = (float(own[key][index[1]]) for key in ("mean", "variance", "scale", "shift"))
        factor = scale / sqrt(variance + epsilon)
        terms = (factor * float(x[index]), -factor * mean, shift)
        y[index] = fsum(term**2 for term in terms) if squares else fsum(terms)
    return y


def flatten(x: Array) -> Array:
    """Channel first, then height, then width."""
    images, channels, height, width = x.shape
    y = np.zeros((images, channels * height * width))
    for image, channel, i, j in np.ndindex(x.shape):
        y[image, (channel * height + i) * width + j] = x[image, channel, i, j]
    return y


def tanh(x: Array) -> Array:
    """(1 − e^(−2x)) / (1 + e^(−2x))."""
    y = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        down = expm1(-2 * abs(float(x[index])))
        y[index] = np.copysign(-down / (2 + down), x[index])
    return y


def sliding_lrn_float32(x: Array, n: int, k: float, alpha_sum: float, beta: float) -> Array:
    """LRN in float32 by a sum that slides over the channels: one product added, one taken away, nothing summed anew."""
    x = x.astype(np.float32)
    products = np.float32(alpha_sum) * (x * x)
    channels, reach = x.shape[1], n // 2
    d = np.full_like(x[:, 0], np.float32(k))
    for channel in range(min(reach, channels)):
        d = d + products[:, channel]
    y = np.zeros_like(x)
    for channel in range(channels):
        if channel + reach < channels:
            d = d + products[:, channel + reach]
        if channel - reach - 1 >= 0:
            d = d - products[:, channel - reach - 1]
        y[:, channel] = x[:, channel] * d ** np.float32(-beta)
    return y


def rounded(x: Array, kind: Literal["tf32", "bfloat16"]) -> npt.NDArray[np.float32]:
    """Float32 values with the mantissa of TF32 (10 bits) or bfloat16 (7): to nearest, ties to even."""
    dropped = {"tf32": 13, "bfloat16": 16}[kind]
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    half = (1 << (dropped - 1)) - 1 + ((bits >> np.uint64(dropped)) & np.uint64(1))
    kept = (bits + half) >> np.uint64(dropped) << np.uint64(dropped)
    return kept.astype(np.uint32).view(np.float32)


def _pooled(x: Array, kernel: Pair, stride: Pair, pads: Pads, rounding: str, combine: Any) -> Array:
    """`combine` of the pixels of each window and of how many elements it has on image and padding together."""
    height, width = x.shape[2:]
    rows = starts(height, kernel[0], stride[0], pads[0], pads[2], rounding)
    columns = starts(width, kernel[1], stride[1], pads[1], pads[3], rounding)
    y = np.zeros((*x.shape[:2], len(rows), len(columns)))
    for image, channel, i, j in np.ndindex(y.shape):
        window_rows = range(rows[i], min(rows[i] + kernel[0], height + pads[2]))
        window_columns = range(columns[j], min(columns[j] + kernel[1], width + pads[3]))
        values = [
            float(x[image, channel, row, column])
            for row, column in _both(window_rows, window_columns)
            if 0 <= row < height and 0 <= column < width
        ]
        y[image, channel, i, j] = combine(values, len(window_rows) * len(window_columns))
    return y


def _both(rows: range, columns: range) -> Iterator[Pair]:
    for row in rows:
        for column in columns:
            yield row, column
