"""The roofline: how long each layer must take at least on a machine of known limits."""

from dataclasses import dataclass
from math import prod

from bench.limits import Limits
from spec.network import FLOAT32_BYTES, Network
from spec.operators import Dropout, Flatten, Relu, Tanh
from spec.shapes import Layer


@dataclass(frozen=True)
class Floor:
    """The least time of one layer."""

    name: str
    flops: int
    moved_bytes: int
    duration_s: float


def layer_floors(network: Network, batch: int, limits: Limits) -> list[Floor]:
    """max(FLOP / peak, bytes / bandwidth) of every layer, forward.

    Bytes are inputs, outputs and parameters, each once. What works on one element at a time (ReLU, tanh, dropout) can
    be part of the layer before it, and flatten moves nothing: these cost nothing.
    """
    return [_floor(layer, batch, limits) for layer in network.layers]


def floor_s(network: Network, batch: int, limits: Limits) -> float:
    """The least time of a forward pass, in seconds."""
    return sum(floor.duration_s for floor in layer_floors(network, batch, limits))


def forward_flops(network: Network, batch: int) -> int:
    """Floating-point operations of a forward pass: two a multiplication with addition."""
    return 2 * network.macs * batch


def forward_bytes(network: Network, batch: int, element_bytes: int = FLOAT32_BYTES) -> int:
    """Bytes that a forward pass must move: every layer's inputs, outputs and parameters, each once."""
    return sum(_moved(layer, batch, element_bytes) for layer in network.layers)


def _floor(layer: Layer, batch: int, limits: Limits) -> Floor:
    flops, moved = 2 * layer.macs * batch, _moved(layer, batch, limits.element_bytes)
    return Floor(layer.name, flops, moved, max(flops / limits.flops_per_s, moved / limits.bytes_per_s))


def _moved(layer: Layer, batch: int, element_bytes: int) -> int:
    if isinstance(layer.operator, Relu | Tanh | Dropout | Flatten):
        return 0
    activations = sum(map(prod, layer.input_shapes)) + prod(layer.output_shape)
    return element_bytes * (batch * activations + sum(map(prod, layer.tensor_shapes.values())))
