"""Where a gradient may honestly differ: elements so near a kink that an error of the forward pass decides them."""

import numpy as np
import numpy.typing as npt

from conformance.windows import Array, pool_pads, pool_windows, spread
from spec.operators import MaxPool, Relu
from spec.shapes import Layer


def undecided(layer: Layer, x: Array, error: Array) -> npt.NDArray[np.bool_] | None:
    """Which elements of the gradient of `x` an error of at most `error` (in the shape of x) in x may move.

    ReLU: those no farther from 0 than their error. Max pool: in each window all elements that the largest may not
    exceed, once it has a rival. Nothing for an operator without kinks. An error of 0 leaves true ties: 0 in a ReLU,
    equal largest elements in a window.
    """
    match layer.operator:
        case Relu():
            near: npt.NDArray[np.bool_] = np.abs(x) <= error
            return near
        case MaxPool() as operator:
            return _rivals(operator, x, error)
        case _:
            return None


def _rivals(operator: MaxPool, x: Array, error: Array) -> npt.NDArray[np.bool_]:
    high = pool_windows(x + error, operator, -np.inf)
    surest = pool_windows(x - error, operator, -np.inf).max(axis=(4, 5), keepdims=True)
    candidates = (high >= surest) & np.isfinite(high)
    contested = candidates & (candidates.sum(axis=(4, 5), keepdims=True) > 1)
    pieces = contested.transpose(0, 1, 4, 5, 2, 3).astype(np.float64)
    pads = pool_pads(operator, x.shape[2], x.shape[3])
    counts = spread(pieces, (x.shape[2], x.shape[3]), operator.kernel, operator.stride, pads)
    rivals: npt.NDArray[np.bool_] = counts > 0
    return rivals
