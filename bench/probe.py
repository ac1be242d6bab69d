"""Times a small network by itself in a running worker: one layer, or a kernel that shows the machine's limits."""

from pathlib import Path

from impls.client import Worker
from impls.frameworks import FRAMEWORKS, LOWERINGS, Variant
from impls.generate import write_source
from impls.protocol import Load, Prepare, Time
from spec.network import Network

CHUNK_S = 0.1
ROUNDS = 2


def time_alone(
    worker: Worker, variant: Variant, network: Network, weights: Path, x: Path, folder: Path, threads: int
) -> list[tuple[float, ...]]:
    """Durations of forward passes, in seconds, chunk by chunk; raises WorkerError."""
    framework = next(name for name in FRAMEWORKS if name == variant.framework)
    lowering = next(name for name in LOWERINGS if name == variant.lowering)
    source = write_source(network, framework, folder, lowering)
    worker.load(Load.of(variant, "", source, weights, threads))
    worker.prepare(Prepare("forward", str(x)))
    return [worker.time(Time(CHUNK_S, 1000)).durations_s for _ in range(ROUNDS)]
