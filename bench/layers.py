"""Times each layer by itself, so that a reader sees which layer loses what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np

from bench.timing import Contender, Plan
from impls.client import Worker, WorkerError
from impls.frameworks import FRAMEWORKS, LOWERINGS
from impls.generate import write_source
from impls.protocol import Load, Prepare, Time
from spec.network import Input, Network
from spec.operators import Dropout, Flatten, Relu, Tanh
from spec.shapes import Layer
from spec.store import Store
from spec.tensors import read, write

#: What works on one element at a time is part of the layer before it wherever a framework fuses.
FUSED = (Relu, Tanh, Dropout, Flatten)
CHUNK_S = 0.1
ROUNDS = 3


@dataclass(frozen=True)
class LayerTimes:
    """How long each layer takes alone, in each variant."""

    batch: int
    durations_s: dict[str, dict[str, float]]
    """By variant, then by layer, in seconds. A layer that could not be timed is missing."""


def time_layers(
    network: Network, contenders: Sequence[Contender], batch: int, plan: Plan, tell: Callable[[str], None]
) -> LayerTimes:
    """Generate a network of one operator for every layer with one input, and time it in every variant."""
    store = Store()
    tensors = read(store.weights_file(network, "scaled", plan.seed))
    layers = [layer for layer in network.layers if _is_timed(layer)]
    durations: dict[str, dict[str, float]] = {}
    with TemporaryDirectory(prefix="lockstep-layers-") as folder:
        work = Path(folder)
        for layer in layers:
            write(work / f"{layer.name}.weights", {name: tensors[name] for name in layer.tensor_shapes})
            x = np.random.default_rng(plan.seed).standard_normal((batch, *layer.input_shape), np.float32)
            write(work / f"{layer.name}.input", {"image": x})
        for contender in contenders:
            tell(f"layer by layer: {contender.variant}")
            with Worker(contender.variant.framework, contender.command, plan.timeout_s) as worker:
                durations[str(contender.variant)] = _time_one(worker, contender, network, layers, work, plan)
    return LayerTimes(batch, durations)


def _is_timed(layer: Layer) -> bool:
    return len(layer.input_shapes) == 1 and not isinstance(layer.operator, FUSED)


def _time_one(
    worker: Worker, contender: Contender, network: Network, layers: Sequence[Layer], work: Path, plan: Plan
) -> dict[str, float]:
    variant = contender.variant
    framework = next(name for name in FRAMEWORKS if name == variant.framework)
    lowering = next(name for name in LOWERINGS if name == variant.lowering)
    found: dict[str, float] = {}
    for layer in layers:
        source = write_source(_alone(network, layer), framework, work, lowering)
        request = Load(
            network="",
            source=str(source),
            weights=str(work / f"{layer.name}.weights"),
            device=variant.device,
            dtype=variant.dtype,
            mode=variant.mode,
            lowering=variant.lowering,
            threads=plan.threads,
        )
        try:
            worker.load(request)
            worker.prepare(Prepare("forward", str(work / f"{layer.name}.input")))
            samples = [worker.time(Time(CHUNK_S, 1000)).durations_s for _ in range(ROUNDS)]
        except WorkerError:
            continue  # its rows in the table of whole networks say what is wrong with the variant
        found[layer.name] = median(median(sample) for sample in samples)
    return found


def _alone(network: Network, layer: Layer) -> Network:
    """A network of one layer, whose input is what the layer reads."""
    operator = layer.operator.model_copy(update={"inputs": ("image",)})
    fields = {name: getattr(network, name) for name in type(network).model_fields}
    single = Input.model_construct(name="image", shape=layer.input_shape)
    return Network.model_construct(**(fields | {"input": single, "graph": (operator,), "name": f"{layer.name}_alone"}))
