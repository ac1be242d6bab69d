"""Images on which correct float32 decides as float64 does: which ReLU passes, which element of a window is the largest.

A ReLU that opens in one framework and stays closed in another changes the gradient by a whole element, 10,000 times
more than rounding does, and both are right. Gradients of single operators leave such elements out; a trajectory cannot,
since they are in every sum. So it is run on images that have none.
"""

import numpy as np

from conformance.backpropagation import Masks, train_layer
from conformance.oracle import Tensors
from conformance.windows import Array, pool_windows
from spec.network import Network
from spec.operators import MaxPool, Relu
from spec.shapes import Layer


def is_decided(network: Network, exact: Tensors, single: Tensors, x: Array, masks: Masks, margin: float) -> bool:
    """Whether no decision on the images `x` is nearer than `margin` times the error of float32 where it is taken.

    That error is the RMS difference of the two chains: tensors and arithmetic `exact` in float64, `single` in float32.
    """
    exact_taps: dict[str, Array] = {network.input.name: x.astype(np.float64)}
    single_taps: dict[str, Array] = {network.input.name: x.astype(np.float32)}
    for layer in network.layers:
        reads, mask = layer.operator.reads, masks.get(layer.name)
        if isinstance(layer.operator, Relu | MaxPool):
            wide = exact_taps[reads[0]]
            error = wide - single_taps[reads[0]]
            if nearest(layer, wide) < margin * float(np.sqrt(np.mean(error**2))):
                return False
        exact_taps[layer.name] = train_layer(layer, tuple(exact_taps[name] for name in reads), exact, mask)
        single_taps[layer.name] = train_layer(layer, tuple(single_taps[name] for name in reads), single, mask)
    return True


def nearest(layer: Layer, x: Array) -> float:
    """How far what an operator reads is from another decision, where it is nearest; infinite without any.

    ReLU: the smallest |x|. Max pool: the least by which a window's largest element exceeds the next. An exact 0 is the
    same in every precision, being what a closed ReLU or no weight at all leaves, and what to do with it is fixed.
    """
    match layer.operator:
        case Relu():
            sizes = np.abs(x[x != 0])
            return float(sizes.min(initial=np.inf))
        case MaxPool() as operator:
            windows = pool_windows(x, operator, -np.inf)
            windows = windows.reshape(*windows.shape[:4], -1)
            if windows.shape[-1] == 1:
                return float("inf")
            largest = np.partition(windows, -2, axis=-1)
            leads = (largest[..., -1] - largest[..., -2])[largest[..., -1] != 0]
            return float(leads.min(initial=np.inf))
        case _:
            return float("inf")
