"""Windows of convolution and pooling over padded images, as views."""

from typing import Any

import numpy as np
import numpy.typing as npt

from spec.operators import AvgPool, MaxPool
from spec.shapes import window

Array = npt.NDArray[np.floating[Any]]
Pads = tuple[int, int, int, int]
"""Rows and columns at the top, left, bottom, right."""


def with_padding(x: Array, pads: Pads, value: float) -> Array:
    """`x` (N, C, H, W) with rows and columns of `value` around it; `x` itself where there are none."""
    top, left, bottom, right = pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value) if any(pads) else x


def windows_of(x: Array, kernel: tuple[int, int], stride: tuple[int, int], output: tuple[int, int]) -> Array:
    """A view (N, C, rows, columns, kernel rows, kernel columns) of every window."""
    view = np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))
    strided: Array = view[:, :, :: stride[0], :: stride[1]][:, :, : output[0], : output[1]]
    return strided


def pool_windows(x: Array, operator: MaxPool | AvgPool, value: float) -> Array:
    """Every window of a pool on `x`, whose padding and overflow hold `value`."""
    padded = with_padding(x, pool_pads(operator, x.shape[2], x.shape[3]), value)
    output = window(operator, x.shape[2], x.shape[3]).output
    return windows_of(padded, operator.kernel, operator.stride, output)


def pool_pads(operator: MaxPool | AvgPool, height: int, width: int) -> Pads:
    """Padding of a pool, with the rows and columns that its last windows reach beyond it."""
    top, left, bottom, right = operator.pads
    overflow = window(operator, height, width).overflow
    return top, left, bottom + overflow[0], right + overflow[1]


def window_sums(x: Array, operator: AvgPool) -> Array:
    """The sum of every window; padding is 0."""
    y: Array = pool_windows(x, operator, 0.0).sum(axis=(4, 5))
    return y


def window_counts(operator: AvgPool, height: int, width: int) -> Array:
    """How many elements of each window count: those of the input, and of the padding if it is counted."""
    ones = np.ones((1, 1, height, width))
    if operator.padding_counted:
        placed = window(operator, height, width)
        padded = with_padding(ones, operator.pads, 1.0)
        padded = with_padding(padded, (0, 0, *placed.overflow), 0.0)
        counts: Array = windows_of(padded, operator.kernel, operator.stride, placed.output).sum(axis=(4, 5))
        return counts
    return window_sums(ones, operator)


def spread(pieces: Array, size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], pads: Pads) -> Array:
    """The transpose of padding and `windows_of`: every window's pieces, added up where they were taken from.

    `pieces` (N, C, kernel rows, kernel columns, rows, columns) → (N, C, *size); what falls on the padding is lost.
    """
    top, left, bottom, right = pads
    images, channels, _, _, rows, columns = pieces.shape
    height, width = size
    x = np.zeros((images, channels, top + height + bottom, left + width + right), pieces.dtype)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            last_row, last_column = row + (rows - 1) * stride[0] + 1, column + (columns - 1) * stride[1] + 1
            x[:, :, row : last_row : stride[0], column : last_column : stride[1]] += pieces[:, :, row, column]
    return x[:, :, top : top + height, left : left + width]
