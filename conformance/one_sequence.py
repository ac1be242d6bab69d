"""Convolution whose products are added in one sequence, as TensorFlow's CPU kernels do: what is usual for it."""

import numpy as np

from conformance.measure import Array
from conformance.oracle import by_channel
from conformance.windows import windows_of, with_padding
from spec.operators import Conv
from spec.shapes import window

PLACES = 2048
"""Of the output, computed at once: their sums stay in the cache."""


def one_sequence_conv(x: Array, kernel_oihw: Array, bias: Array | None, operator: Conv) -> Array:
    """Cross-correlation in the precision of `x` (N, C, H, W), product by product; an error of √(length) roundings.

    A matrix product of BLAS adds up in several sequences beside each other, and strays a third as far.
    """
    groups = operator.groups
    height, width = window(operator, x.shape[2], x.shape[3]).output
    out_channels, in_group, rows, columns = kernel_oihw.shape
    weights = kernel_oihw.reshape(groups, out_channels // groups, in_group * rows * columns).transpose(0, 2, 1)
    patches = windows_of(with_padding(x, operator.pads, 0.0), (rows, columns), operator.stride, (height, width))
    y = np.zeros((len(x), groups, out_channels // groups, height * width), x.dtype)
    for image in range(len(x)):
        for group in range(groups):
            own = patches[image, group * in_group : (group + 1) * in_group]
            products = own.transpose(0, 3, 4, 1, 2).reshape(in_group * rows * columns, height * width)
            for start in range(0, height * width, PLACES):
                places = slice(start, start + PLACES)
                sums = y[image, group, :, places]
                for weight, read in zip(weights[group], products[:, places], strict=True):
                    sums += weight[:, None] * read
    y = y.reshape(len(x), out_channels, height, width)
    return y if bias is None else y + by_channel(bias)
