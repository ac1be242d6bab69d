"""What every tap of a case should be: the oracle's chains, made once and shared by all variants."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt

from conformance.oracle import Array, Tensors, evaluate, lrn, noise_scale
from conformance.running_sum import running_sum_lrn
from conformance.storage import stored
from conformance.strays import Stray, rms, strays
from impls.frameworks import Dtype
from spec.network import Network
from spec.operators import Lrn
from spec.shapes import Layer

Float32 = npt.NDArray[np.float32]
Normalise = Callable[[Array, Lrn], Array]


@dataclass(frozen=True)
class LayerReference:
    """One operator, fed known float32 activations."""

    layer: Layer
    inputs: tuple[Array, ...]
    """What the operator reads, float64 copies of float32 values."""
    value: Array
    """Its output in float64."""
    scale: Array | None
    """S of every element, where the output is a sum of products."""


@dataclass(frozen=True)
class Reference:
    """The oracle's answer to one case."""

    local: dict[str, LayerReference]
    substitutes: dict[str, Float32]
    """What the operators after each tap read in layer-local checks.

    It is the oracle's activation, rounded as it is stored and moved on by one element: a runner that returns what it
    was given instead of what it computed can then never be right.
    """
    end_to_end: dict[str, Array]
    """Every tap in float64, without any rounding on the way."""
    yardstick: dict[str, Array]
    """Every tap of the same chain in NumPy's float32, each rounded as it is stored: how far correct variants stray."""
    tensors: Tensors
    """What all operators hold, rounded as it is stored."""

    running_sum: Callable[[], dict[str, Array]] = dict
    """That chain where LRN slides its sum over the channels: evaluated when it is first asked for, which is seldom."""

    @cached_property
    def strays(self) -> dict[str, Stray]:
        """How far the yardstick is from the oracle's chain, tap by tap."""
        return strays(self.yardstick, self.end_to_end)

    @cached_property
    def sizes(self) -> dict[str, float]:
        """The RMS of every tap of the oracle's chain."""
        return {tap: rms(value) for tap, value in self.end_to_end.items()}


def reference(network: Network, tensors: Tensors, x: Float32, dtype: Dtype = "float32") -> Reference:
    """Evaluate the oracle on a batch `x` (N, C, H, W). What overflows is infinite, and for the checks to tell.

    A worker of precision bf16 stores weights and input as bfloat16, so the oracle reads them rounded likewise: what is
    judged are operators, not that.
    """
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        tensors = {name: stored(value, dtype) for name, value in tensors.items()}
        return _evaluated(network, tensors, stored(x, dtype), dtype)


def _evaluated(network: Network, tensors: Tensors, x: Float32, dtype: Dtype) -> Reference:
    substitutes: dict[str, Float32] = {}
    local: dict[str, LayerReference] = {}
    single = _chain(network, tensors, x, dtype, lrn)
    fed: dict[str, Array] = {network.input.name: x.astype(np.float64)}
    exact: dict[str, Array] = dict(fed)
    for layer in network.layers:
        name, reads = layer.name, layer.operator.reads
        inputs = tuple(fed[read] for read in reads)
        value = evaluate(layer, inputs, tensors)
        local[name] = LayerReference(layer, inputs, value, noise_scale(layer, inputs, tensors))
        substitutes[name] = np.roll(stored(value.astype(np.float32), dtype), 1)
        fed[name] = substitutes[name].astype(np.float64)
        exact[name] = evaluate(layer, tuple(exact[read] for read in reads), tensors)
    del exact[network.input.name]
    return Reference(local, substitutes, exact, single, tensors, cache(partial(_sliding, network, tensors, x, dtype)))


def _chain(network: Network, tensors: Tensors, x: Float32, dtype: Dtype, normalise: Normalise) -> dict[str, Array]:
    """Every tap in NumPy's float32, each rounded as it is stored; `normalise` is how LRN is computed."""
    values: dict[str, Array] = {network.input.name: x}
    for layer in network.layers:
        inputs = tuple(values[read] for read in layer.operator.reads)
        own = layer.operator
        value = normalise(inputs[0], own) if isinstance(own, Lrn) else evaluate(layer, inputs, tensors)
        values[layer.name] = stored(value, dtype)
    del values[network.input.name]
    return values


def _sliding(network: Network, tensors: Tensors, x: Float32, dtype: Dtype) -> dict[str, Array]:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return _chain(network, tensors, x, dtype, running_sum_lrn)
