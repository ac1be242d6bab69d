"""Times each layer by itself, so that a reader sees which layer loses what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from bench.probe import time_alone
from bench.timing import Contender, Plan
from impls.client import Worker, WorkerError
from impls.frameworks import Variant
from spec.network import Input, Network
from spec.operators import Dropout, Flatten, Relu, Tanh
from spec.shapes import Layer
from spec.store import Store
from spec.tensors import read, write

#: What works on one element at a time is part of the layer before it wherever a framework fuses.
FUSED = (Relu, Tanh, Dropout, Flatten)


@dataclass(frozen=True)
class LayerTimes:
    """How long each layer takes alone, in each variant."""

    batch: int
    durations_s: dict[Variant, dict[str, float]]
    """By variant, then by layer, in seconds. A layer that could not be timed is missing."""

    @property
    def named_s(self) -> dict[str, dict[str, float]]:
        """The same by the variant's name."""
        return {str(variant): durations for variant, durations in self.durations_s.items()}


def time_layers(
    network: Network, contenders: Sequence[Contender], batch: int, plan: Plan, tell: Callable[[str], None]
) -> LayerTimes:
    """Generate a network of one operator for every layer with one input, and time it in every variant."""
    store = Store()
    tensors = read(store.weights_file(network, "scaled", plan.seed))
    layers = [layer for layer in network.layers if _is_timed(layer)]
    durations: dict[Variant, dict[str, float]] = {}
    with TemporaryDirectory(prefix="lockstep-layers-") as folder:
        work = Path(folder)
        for layer in layers:
            write(work / f"{layer.name}.weights", {name: tensors[name] for name in layer.tensor_shapes})
            x = np.random.default_rng(plan.seed).standard_normal((batch, *layer.input_shape), np.float32)
            write(work / f"{layer.name}.input", {"image": x})
        for contender in contenders:
            tell(f"layer by layer: {contender.variant}")
            with contender.worker(plan) as worker:
                durations[contender.variant] = _time_one(worker, contender, network, layers, work, plan)
    return LayerTimes(batch, durations)


def _is_timed(layer: Layer) -> bool:
    return len(layer.input_shapes) == 1 and not isinstance(layer.operator, FUSED)


def _time_one(
    worker: Worker, contender: Contender, network: Network, layers: Sequence[Layer], work: Path, plan: Plan
) -> dict[str, float]:
    found: dict[str, float] = {}
    for layer in layers:
        weights, x = work / f"{layer.name}.weights", work / f"{layer.name}.input"
        try:
            alone = _alone(network, layer)
            chunks = time_alone(worker, contender.variant, alone, weights, x, work, plan.threads)
        except WorkerError:
            continue  # its rows in the table of whole networks say what is wrong with the variant
        found[layer.name] = median(median(chunk) for chunk in chunks)
    return found


def _alone(network: Network, layer: Layer) -> Network:
    """A network of one layer, whose input is what the layer reads."""
    operator = layer.operator.model_copy(update={"inputs": ("image",)})
    fields = {name: getattr(network, name) for name in type(network).model_fields}
    single = Input.model_construct(name="image", shape=layer.input_shape)
    return Network.model_construct(**(fields | {"input": single, "graph": (operator,), "name": f"{layer.name}_alone"}))
