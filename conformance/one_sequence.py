"""Sums that are added in one sequence, as TensorFlow's CPU kernels for convolutions and means over places do."""

import numpy as np

from conformance.measure import Array

PLACES = 2048
"""Columns that are computed at once: their sums stay in the cache."""


def one_sequence(weights: Array, columns: Array, y: Array) -> None:
    """The matrix product (M, K)·(K, N), written to `y` product by product in its precision; it errs by √K roundings.

    BLAS adds up in several sequences beside each other, and strays a third as far.
    """
    y[...] = 0.0
    for start in range(0, columns.shape[1], PLACES):
        places = slice(start, start + PLACES)
        for weight, read in zip(weights.T, columns[:, places], strict=True):
            y[:, places] += weight[:, np.newaxis] * read


def mean_in_one_sequence(x: Array) -> Array:
    """The mean over height and width, (N, C, 1, 1), added up row by row; of one sign, it errs by √(H·W) units."""
    images, channels, height, width = x.shape
    sums = np.add.accumulate(x.reshape(images, channels, height * width), axis=2)[:, :, -1]
    y: Array = sums.reshape(images, channels, 1, 1) / x.dtype.type(height * width)
    return y
