"""What every tap of a case should be: the oracle's chains, made once and shared by all variants."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial

import numpy as np
import numpy.typing as npt

from conformance.one_sequence import mean_in_one_sequence, one_sequence
from conformance.oracle import Array, Tensors, conv, evaluate, noise_scale, own_tensors
from conformance.running_sum import running_sum_lrn
from conformance.storage import stored
from conformance.strays import Stray, rms, strays
from impls.frameworks import Dtype
from spec.network import Network
from spec.operators import Conv, GlobalAvgPool, Lrn
from spec.shapes import Layer

Float32 = npt.NDArray[np.float32]
SIMULATED = ("running_sum", "one_sequence")
"""Algorithms that caps.toml declares and that add up errors: NumPy does as they do, to tell what is usual for them."""


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

    simulated: Callable[[frozenset[str]], dict[str, Array]] = lambda _: {}
    """That chain with some of the algorithms SIMULATED: evaluated when it is first asked for, which is seldom."""

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
    single = _chain(network, tensors, x, dtype)
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
    return Reference(local, substitutes, exact, single, tensors, cache(partial(_chain, network, tensors, x, dtype)))


def _chain(
    network: Network, tensors: Tensors, x: Float32, dtype: Dtype, algorithms: frozenset[str] = frozenset()
) -> dict[str, Array]:
    """Every tap in NumPy's float32, each rounded as it is stored, by those of the algorithms SIMULATED."""
    values: dict[str, Array] = {network.input.name: x}
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        for layer in network.layers:
            inputs = tuple(values[read] for read in layer.operator.reads)
            values[layer.name] = stored(_evaluate(layer, inputs, tensors, algorithms), dtype)
    del values[network.input.name]
    return values


def _evaluate(layer: Layer, inputs: tuple[Array, ...], tensors: Tensors, algorithms: frozenset[str]) -> Array:
    match layer.operator:
        case Lrn() if "running_sum" in algorithms:
            return running_sum_lrn(inputs[0], layer.operator)
        case Conv() if "one_sequence" in algorithms:
            own = own_tensors(layer, tensors)
            return conv(inputs[0], own["weight"], own.get("bias"), layer.operator, product=one_sequence)
        case GlobalAvgPool() if "one_sequence" in algorithms:
            return mean_in_one_sequence(inputs[0])
        case _:
            return evaluate(layer, inputs, tensors)
