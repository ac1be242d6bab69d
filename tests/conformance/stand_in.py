"""A worker without a process: the NumPy runner, asked as `impls.client.Worker` is asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from conformance.checks import Subject
from conformance.part import Given, Part
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Case, Result
from impls import training
from impls.client import Traced, Worker
from impls.description import describe
from impls.frameworks import Variant
from impls.protocol import Colour, Initialise, Load, Predict, Start, State, Trace, Train, TrainTrace
from spec.load import load
from spec.network import Network
from spec.store import Store
from spec.tensors import read, write


class StandIn:
    """What parts ask of a worker, answered by a runner of this process."""

    def __init__(self, runner: NumpyRunner) -> None:
        self.name = "numpy"
        self.runner = runner
        self.loaded: Load | None = None

    def load(self, request: Load) -> None:
        self.runner.load(request)
        self.loaded = request

    def trace(self, request: Trace) -> Traced:
        (x,) = read(Path(request.input)).values()
        substitutes = read(Path(request.substitutes)) if request.substitutes else None
        taps, device = self.runner.trace(x, substitutes, request.taps)
        write(Path(request.output), taps)
        return Traced(device, None)

    def train_trace(self, request: TrainTrace) -> Traced:
        return Traced(training.train_trace(self.runner, request)["device"], None)

    def begin(self, request: Start) -> None:
        training.start(self.runner, request)

    def train(self, request: Train) -> list[float]:
        losses: list[float] = training.train(self.runner, request)["losses"]
        return losses

    def write(self, request: State | Initialise | Predict | Colour) -> None:
        answer = getattr(training, type(request).__name__.lower())
        answer(self.runner, request)


def given(network: Network | None = None, weights: str = "paper", store: Store | None = None) -> Given:
    """What a part starts from: alexnet_narrow on two photographs, unless another network is given."""
    network = network or load("alexnet_narrow")
    store = store or Store()
    assert network.training is not None and weights in ("paper", "scaled")
    return Given(
        network,
        network.training,
        Case(weights, "photographs", 0, 2),
        store.weights_file(network, "paper" if weights == "paper" else "scaled", 0),
        store.input_file(network, "noise", 0, 2),
    )


def asked(part: Part, given: Given, expected: Any, runner: NumpyRunner, folder: Path) -> Any:
    """What a runner answers in one part."""
    description = folder / "network.json"
    description.write_text(json.dumps(describe(given.network)), encoding="utf-8")
    worker = StandIn(runner)
    worker.load(Load(str(description), None, str(given.weights), "cpu", "float32", "eager", "native", 1))
    own = folder / f"own-{len(list(folder.iterdir()))}"
    own.mkdir()
    return part.ask(cast(Worker, worker), given, expected, own)


def judged(part: Part, given: Given, expected: Any, own: Any, others: Sequence[Any] = ()) -> dict[str, Result]:
    """The results of one answer, by tap."""
    variant = Variant("numpy", "cpu", "float32", "eager", "native")
    results = part.results(Subject(given.network, variant, "2.0", given.case), given, expected, own, others)
    assert len({result.tap for result in results}) == len(results)
    return {result.tap: result for result in results}
