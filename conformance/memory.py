"""Whether a case fits into the memory of the machine, told before anything is computed."""

from math import prod

import psutil

from spec.base import Shape
from spec.exits import InputError
from spec.network import Network
from spec.operators import AvgPool, Conv, Lrn, MaxPool
from spec.shapes import Layer

#: The oracle keeps a case about so many times over, in float64 and float32.
ORACLE_COPIES = 10
FLOAT64_BYTES = 8
GIB = 2**30


def require_memory(network: Network, batch: int) -> None:
    """Raise InputError for a case that the suite's own process could not hold."""
    needed, there = bytes_needed(network, batch), psutil.virtual_memory().total
    if needed > there:
        raise InputError(
            f"--batch {batch}: {network.name} needs about {needed / GIB:,.0f} GiB, expected at most the "
            f"{there / GIB:,.0f} GiB of this machine; take a smaller batch or network"
        )


def bytes_needed(network: Network, batch: int) -> int:
    """About the most memory that a case takes: what is kept, and what the largest operator needs on the way."""
    on_the_way = max(_bytes_on_the_way(layer, batch) for layer in network.layers)
    return network.bytes_needed(batch) * ORACLE_COPIES + on_the_way


def _bytes_on_the_way(layer: Layer, batch: int) -> int:
    """What the oracle holds beside an operator's input and output while it evaluates it: nothing, for most."""
    match layer.operator:
        case Conv() as operator:
            channels, *_ = layer.input_shape
            # Those of one image and group, while those of the one before are still there.
            patches = 2 * channels // operator.groups * prod(operator.kernel) * prod(layer.output_shape[1:])
            return FLOAT64_BYTES * (batch * _padded(layer.input_shape, operator.pads) + patches)
        case MaxPool() | AvgPool() as operator:
            return FLOAT64_BYTES * batch * _padded(layer.input_shape, operator.pads)
        case Lrn() as operator:
            channels, height, width = layer.input_shape
            return FLOAT64_BYTES * batch * (channels + operator.towers * (operator.n - 1)) * height * width
        case _:
            return 0


def _padded(shape: Shape, pads: tuple[int, int, int, int]) -> int:
    """Elements of one image with its padding."""
    channels, height, width = shape
    top, left, bottom, right = pads
    return channels * (top + height + bottom) * (left + width + right)
