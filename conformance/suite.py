"""Runs cases on variants: starts the workers, feeds them, and compares what comes back."""

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from conformance.caps import Caps, caps
from conformance.checks import Subject, end_to_end_results, local_results, observed_precision
from conformance.measure import Array
from conformance.reference import Reference, reference
from conformance.results import Case, Check, Column, Outcome, Result
from conformance.xfails import applied, xfails
from impls.client import Hello, Worker, WorkerError
from impls.frameworks import Variant
from impls.protocol import Load, Trace
from spec.network import Network
from spec.tensors import read, write

#: How many workers compute at once. More would only wait for each other's cores.
AT_ONCE = 2


@dataclass(frozen=True)
class Entrant:
    """A variant that takes part, and how its worker is started."""

    variant: Variant
    command: tuple[str, ...]
    source: Path | None
    """The generated source; none for a runner that the user brings."""


@dataclass(frozen=True)
class Files:
    """A case as files: what all workers read."""

    case: Case
    weights: Path
    input: Path


@dataclass(frozen=True)
class Settings:
    """How a run is done."""

    threads: int
    timeout_s: float
    progress: Callable[[str], None]
    """Told what goes on, one short line a step."""


@dataclass
class _Traces:
    """What one variant returned for one case."""

    local: Mapping[str, Array] | None = None
    end_to_end: Mapping[str, Array] = field(default_factory=dict)
    untapped: Mapping[str, Array] = field(default_factory=dict)
    error: WorkerError | None = None
    skipped: str = ""


def run(network: Network, entrants: Sequence[Entrant], cases: Sequence[Files], settings: Settings) -> list[Column]:
    """Run every case on every entrant and compare; one column an entrant. A worker that fails is errored, not fatal."""
    with (
        tempfile.TemporaryDirectory(prefix="lockstep-") as folder,
        ThreadPoolExecutor(max(1, len(entrants))) as starter,
    ):
        work = Path(folder)
        description = work / "network.json"
        description.write_text(json.dumps(describe(network)), encoding="utf-8")
        lanes = [
            _Lane(network, entrant, settings, description, work / str(index)) for index, entrant in enumerate(entrants)
        ]
        try:
            hellos = [starter.submit(lane.greet) for lane in lanes]
            for files in cases:
                _run_case(network, lanes, hellos, files, settings, work)
        finally:
            for lane in lanes:
                lane.worker.stop()
        for lane in lanes:
            lane.column.results = applied(lane.column.results, xfails())
            lane.column.observed_precision = observed_precision(lane.column.results)
        return [lane.column for lane in lanes]


def describe(network: Network) -> dict[str, object]:
    """A network as plain JSON, for runners that bring an implementation of their own."""
    return {
        "name": network.name,
        "input": network.input.model_dump(mode="json"),
        "graph": [
            operator.model_dump(mode="json", exclude={"source"})
            | {
                "output_shape": list(layer.output_shape),
                "tensors": {k: list(v) for k, v in layer.tensor_shapes.items()},
            }
            for operator, layer in zip(network.graph, network.layers, strict=True)
        ],
    }


def _run_case(
    network: Network,
    lanes: "Sequence[_Lane]",
    hellos: "Sequence[Future[None]]",
    files: Files,
    settings: Settings,
    work: Path,
) -> None:
    settings.progress(f"{files.case}: oracle")
    tensors, x = read(files.weights), read(files.input)[network.input.name]
    expected = reference(network, tensors, x)
    substitutes = work / "substitutes.safetensors"
    write(substitutes, expected.substitutes)
    for hello in hellos:
        hello.result()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        traces = list(pool.map(lambda lane: lane.traced(files, substitutes), lanes))
    for lane, own in zip(lanes, traces, strict=True):
        others = [
            other.end_to_end
            for other_lane, other in zip(lanes, traces, strict=True)
            if other_lane is not lane and other_lane.entrant.variant.dtype == lane.entrant.variant.dtype
        ]
        lane.column.results += compare(lane.subject(files.case, expected), own, others, caps())
        for path in lane.folder.glob("*.safetensors"):
            path.unlink()


def compare(subject: Subject, own: _Traces, others: Sequence[Mapping[str, Array]], rules: Caps) -> list[Result]:
    """All results of one variant on one case."""
    if own.error is not None:
        lines = f"; last lines of stderr: {' | '.join(own.error.stderr)}" if own.error.stderr else ""
        return [subject.result("", Check.RUN, Outcome.ERRORED, f"{own.error.kind}: {own.error}{lines}")]
    results = end_to_end_results(subject, own.end_to_end, others, Check.END_TO_END, rules)
    results += end_to_end_results(subject, own.untapped, others, Check.UNTAPPED, rules)
    if own.local is None:
        skipped = [
            subject.result(layer.name, Check.LOCAL, Outcome.SKIPPED, own.skipped) for layer in subject.network.layers
        ]
        return skipped + results
    return local_results(subject, own.local, rules) + results


class _Lane:
    """One entrant through all cases: its worker, and the column of its results."""

    def __init__(self, network: Network, entrant: Entrant, settings: Settings, description: Path, folder: Path) -> None:
        self.network = network
        self.entrant = entrant
        self.settings = settings
        self.description = description
        self.folder = folder
        self.worker = Worker(entrant.variant.framework, entrant.command, settings.timeout_s)
        self.column = Column(entrant.variant)
        self.hello: Hello | None = None
        folder.mkdir()

    def greet(self) -> None:
        """Start the worker early, so that imports overlap with the oracle; what goes wrong shows when it is used."""
        try:
            self._know(self.worker.hello())
        except WorkerError:
            self.hello = None

    def _know(self, hello: Hello) -> Hello:
        self.hello = hello
        self.column.version = hello.version
        self.column.environment = hello.environment
        return hello

    def subject(self, case: Case, expected: Reference) -> Subject:
        """Whom a case's results are about."""
        return Subject(self.network, self.entrant.variant, self.column.version, case, expected)

    def traced(self, files: Files, substitutes: Path) -> _Traces:
        """All traces of one case; an error of the worker becomes part of them."""
        self.settings.progress(f"{files.case}: {self.entrant.variant.framework}")
        try:
            return self._traces(files, substitutes)
        except WorkerError as error:
            return _Traces(error=error)
        except (OSError, ValueError, KeyError) as error:
            return _Traces(error=WorkerError("nonsense", f"trace: {error}"))

    def _traces(self, files: Files, substitutes: Path) -> _Traces:
        hello = self.hello if self.hello is not None and self.worker.alive else self._know(self.worker.hello())
        variant = self.entrant.variant
        self.worker.load(
            Load(
                network=str(self.description),
                source=str(self.entrant.source) if self.entrant.source else None,
                weights=str(files.weights),
                device=variant.device,
                dtype=variant.dtype,
                mode=variant.mode,
                lowering=variant.lowering,
                threads=self.settings.threads,
            )
        )
        taps = [layer.name for layer in self.network.layers]
        traces = _Traces(
            end_to_end=self._trace(files, "end_to_end", None, taps),
            untapped=self._trace(files, "untapped", None, taps[-1:]),
        )
        if hello.substitutes:
            traces.local = self._trace(files, "local", substitutes, taps)
        else:
            traces.skipped = "the runner cannot substitute what operators read (hello: substitutes is false)"
        return traces

    def _trace(self, files: Files, name: str, substitutes: Path | None, taps: list[str]) -> dict[str, Array]:
        output = self.folder / f"{name}.safetensors"
        traced = self.worker.trace(
            Trace(
                input=str(files.input),
                substitutes=str(substitutes) if substitutes else None,
                taps=taps,
                output=str(output),
            )
        )
        self.column.observed_device = traced.device
        self.column.peak_bytes = max(self.column.peak_bytes, traced.peak_bytes or 0)
        if traced.device != self.entrant.variant.device:
            raise WorkerError(
                "wrong_device", f"expected tensors on {self.entrant.variant.device}, found them on {traced.device}"
            )
        return read(output)
