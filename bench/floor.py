"""The roofline: how long each layer must take at least on a machine of known limits."""

from dataclasses import dataclass

from bench.limits import Limits
from bench.work import PASSES, layer_bytes
from spec.network import Network
from spec.shapes import Layer


@dataclass(frozen=True)
class Floor:
    """The least time of one layer."""

    name: str
    flops: int
    moved_bytes: int
    duration_s: float


def layer_floors(network: Network, batch: int, limits: Limits) -> list[Floor]:
    """max(FLOP / peak, bytes / bandwidth) of every layer, forward."""
    return [_floor(layer, batch, limits) for layer in network.layers]


def floor_s(network: Network, workload: str, batch: int, limits: Limits) -> float:
    """The least time of a workload, in seconds."""
    return PASSES[workload] * sum(floor.duration_s for floor in layer_floors(network, batch, limits))


def _floor(layer: Layer, batch: int, limits: Limits) -> Floor:
    flops, moved = 2 * layer.macs * batch, layer_bytes(layer, batch, limits.element_bytes)
    return Floor(layer.name, flops, moved, max(flops / limits.flops_per_s, moved / limits.bytes_per_s))
