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


@dataclass(frozen=True)
class LayerAlone:
    """A layer as a network of one operator, and what it reads."""

    layer: Layer
    network: Network
    """Its input, `image`, is what the layer reads."""
    weights: Path
    input: Path


def time_layers(
    network: Network, contenders: Sequence[Contender], batch: int, plan: Plan, tell: Callable[[str], None]
) -> LayerTimes:
    """Generate a network of one operator for every layer with one input, and time it in every variant."""
    durations: dict[Variant, dict[str, float]] = {}
    with TemporaryDirectory(prefix="lockstep-layers-") as folder:
        layers = layers_alone(network, batch, plan.seed, Path(folder))
        for contender in contenders:
            tell(f"layer by layer: {contender.variant}")
            with contender.worker(plan) as worker:
                durations[contender.variant] = _time_one(worker, contender, layers, Path(folder), plan)
    return LayerTimes(batch, durations)


def layers_alone(network: Network, batch: int, seed: int, folder: Path) -> list[LayerAlone]:
    """Every layer that is worth timing by itself, with the network's weights and noise to read, as files."""
    tensors = read(Store().weights_file(network, "scaled", seed))
    found = []
    for layer in network.layers:
        if len(layer.input_shapes) == 1 and not isinstance(layer.operator, FUSED):
            weights, x = folder / f"{layer.name}.weights", folder / f"{layer.name}.input"
            write(weights, {name: tensors[name] for name in layer.tensor_shapes})
            noise = np.random.default_rng(seed).standard_normal((batch, *layer.input_shape), np.float32)
            write(x, {"image": noise})
            found.append(LayerAlone(layer, _alone(network, layer), weights, x))
    return found


def _time_one(
    worker: Worker, contender: Contender, layers: Sequence[LayerAlone], work: Path, plan: Plan
) -> dict[str, float]:
    found: dict[str, float] = {}
    for own in layers:
        try:
            chunks = time_alone(worker, contender.variant, own.network, own.weights, own.input, work, plan.threads)
        except WorkerError:
            continue  # its rows in the table of whole networks say what is wrong with the variant
        found[own.layer.name] = median(median(chunk) for chunk in chunks)
    return found


def _alone(network: Network, layer: Layer) -> Network:
    recipe = ("preprocessing", "training", "evaluation")  # of whole networks
    fields = {name: getattr(network, name) for name in type(network).model_fields if name not in recipe}
    operator = layer.operator.model_copy(update={"inputs": ("image",)})
    single = Input.model_construct(name="image", shape=layer.input_shape)
    return Network.model_construct(**(fields | {"input": single, "graph": (operator,), "name": f"{layer.name}_alone"}))
