"""LRN where it slides its sum over the channels, as ONNX Runtime's CPU kernel does: how far it may be off."""

import numpy as np

from conformance.measure import Array
from conformance.oracle import lrn_sums
from spec.operators import Lrn


def running_sum_bound(x: Array, operator: Lrn) -> Array:
    """A bound in ULP for every element, beside that of LRN's own arithmetic. `x` is (N, C, H, W).

    The kernel keeps d = k + α·Σx² and takes d ← d + α·x_in² − α·x_out² from channel to channel. Each of the two steps
    rounds with at most u = 2⁻²⁴ of a value no larger than d + α·x_in², and no later step removes what it lost. After
    channel c the relative error of d is at most u · Σ_{j≤c} 2·(d_j + α·x_in²) / d_c; that of y = x·d^(−β) is β times
    it, and one u is at most one ULP.
    """
    images, channels, height, width = x.shape
    denominators = operator.k + operator.alpha_sum * lrn_sums(x, operator)
    towers = (images, operator.towers, channels // operator.towers, height, width)
    d = denominators.reshape(towers)
    entering = np.zeros(towers)
    reach = operator.n // 2
    squares = operator.alpha_sum * (x**2).reshape(towers)
    entering[:, :, : max(0, towers[2] - reach)] = squares[:, :, reach:]
    bound: Array = operator.beta * np.cumsum(2 * (d + entering), axis=2) / d
    return bound.reshape(x.shape)


def running_sum_lrn(x: Array, operator: Lrn) -> Array:
    """LRN with that sum, in the precision of `x` (N, C, H, W)."""
    kind = x.dtype.type
    images, channels, height, width = x.shape
    towers = (images, operator.towers, channels // operator.towers, height, width)
    reach = operator.n // 2
    squares = (kind(operator.alpha_sum) * x**2).reshape(towers)
    padded = np.pad(squares, ((0, 0), (0, 0), (reach + 1, reach), (0, 0), (0, 0)))
    d = np.empty(towers, x.dtype)
    for channel in range(towers[2]):
        if channel == 0:
            d[:, :, 0] = kind(operator.k) + padded[:, :, 1 : operator.n + 1].sum(axis=2)
        else:
            d[:, :, channel] = d[:, :, channel - 1] + padded[:, :, channel + operator.n] - padded[:, :, channel]
    y: Array = x / d.reshape(x.shape) ** kind(operator.beta)
    return y
