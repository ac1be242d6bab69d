"""Runs cases on variants: starts the workers, feeds them, and compares what comes back."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conformance.caps import caps
from conformance.checks import ForwardSubject, end_to_end_results, local_results, observed_precision
from conformance.measure import Array
from conformance.reference import Reference, reference
from conformance.repeats import with_bits
from conformance.results import Case, Check, Column, Outcome, Result
from conformance.xfails import applied, xfails
from impls.client import Hello, Worker, WorkerError
from impls.description import describe
from impls.frameworks import Variant
from impls.protocol import Load, Trace
from spec.exits import NotRunError
from spec.network import Network
from spec.tensors import read, write

#: How many workers compute at once. More would only wait for each other's cores.
AT_ONCE = 2

NO_SUBSTITUTES = "the runner cannot substitute what operators read (hello: substitutes is false)"


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
    repeats: int = 1
    """How often each trace is run, to see whether it gives the same bits again."""


@dataclass
class Traces:
    """What one variant returned for one case."""

    local: Mapping[str, Array] | None = None
    end_to_end: Mapping[str, Array] = field(default_factory=dict)
    untapped: Mapping[str, Array] = field(default_factory=dict)
    repeats: Mapping[Check, Sequence[Mapping[str, Array]]] = field(default_factory=dict)
    """The same traces again."""
    error: WorkerError | None = None
    skipped: str = ""
    """Why there is no local trace."""


def run(network: Network, entrants: Sequence[Entrant], cases: Sequence[Files], settings: Settings) -> list[Column]:
    """Run every case on every entrant and compare; one column an entrant. A worker that fails is errored, not fatal.

    All entrants have one precision. Raises NotRunError where no worker has the device.
    """
    with lanes_of(network, entrants, settings) as lanes:
        for files in cases:
            settings.progress(f"{files.case}: oracle")
            dtype = entrants[0].variant.dtype
            expected = reference(network, read(files.weights), read(files.input)[network.input.name], dtype)
            require_device(lanes)
            for lane, results in zip(lanes, run_case(lanes, files, expected), strict=True):
                lane.column.results += results
        for lane in lanes:
            lane.column.results = applied(lane.column.results, xfails())
            lane.column.observed_precision = observed_precision(lane.column.results)
        return [lane.column for lane in lanes]


@contextmanager
def lanes_of(network: Network, entrants: Sequence[Entrant], settings: Settings) -> "Iterator[list[Lane]]":
    """Start a worker for every entrant; in the end none is left behind."""
    with tempfile.TemporaryDirectory(prefix="lockstep-") as folder, ThreadPoolExecutor(max(1, len(entrants))) as pool:
        work = Path(folder)
        description = work / "network.json"
        description.write_text(json.dumps(describe(network)), encoding="utf-8")
        lanes = [Lane(network, entrant, settings, work, index) for index, entrant in enumerate(entrants)]
        try:
            for lane in lanes:
                lane.greeted = pool.submit(lane.greet)
            yield lanes
        finally:
            for lane in lanes:
                lane.worker.stop()


def require_device(lanes: "Sequence[Lane]") -> None:
    """Raise NotRunError, by name, where no worker that could be started has the device it is asked for."""
    hellos = {lane.entrant.variant: lane.known() for lane in lanes}
    there = {variant: hello.devices for variant, hello in hellos.items() if hello is not None}
    if there and not any(variant.device in devices for variant, devices in there.items()):
        found = "; ".join(f"{variant.framework} finds {', '.join(devices)}" for variant, devices in there.items())
        raise NotRunError(f"no {next(iter(there)).device} device: {found}")


def run_case(lanes: "Sequence[Lane]", files: Files, expected: Reference) -> list[list[Result]]:
    """Run one case on all lanes, and compare: the results of each."""
    with tempfile.TemporaryDirectory(prefix="lockstep-case-") as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        substitutes = Path(folder) / "substitutes.safetensors"
        write(substitutes, expected.substitutes)
        traces = list(pool.map(lambda lane: lane.traced(files, substitutes), lanes))
        return [
            compared(
                lane.subject(files.case, expected),
                own,
                [
                    other.end_to_end
                    for peer, other in zip(lanes, traces, strict=True)
                    if peer is not lane and peer.entrant.variant.dtype == lane.entrant.variant.dtype
                ],
            )
            for lane, own in zip(lanes, traces, strict=True)
        ]


def compared(subject: ForwardSubject, own: Traces, others: Sequence[Mapping[str, Array]]) -> list[Result]:
    """All results of one variant on one case."""
    if own.error is not None:
        lines = f"; last lines of stderr: {' | '.join(own.error.stderr)}" if own.error.stderr else ""
        return [subject.result("", Check.RUN, Outcome.ERRORED, f"{own.error.kind}: {own.error}{lines}")]
    rules = caps()

    def again(check: Check) -> Sequence[Mapping[str, Array]]:
        return own.repeats.get(check, ())

    results = []
    for check, trace in ((Check.END_TO_END, own.end_to_end), (Check.UNTAPPED, own.untapped)):
        found = end_to_end_results(subject, trace, others, check, rules)
        results += with_bits(subject, found, trace, again(check), rules)
    if own.local is not None:
        found = local_results(subject, own.local, rules)
        return with_bits(subject, found, own.local, again(Check.LOCAL), rules) + results
    taps = [layer.name for layer in subject.network.layers]
    return [subject.result(tap, Check.LOCAL, Outcome.SKIPPED, own.skipped) for tap in taps] + results


class Lane:
    """One entrant through all cases: its worker, and the column of its results."""

    def __init__(self, network: Network, entrant: Entrant, settings: Settings, work: Path, index: int) -> None:
        self.network = network
        self.entrant = entrant
        self.settings = settings
        self.description = work / "network.json"
        self.folder = work / str(index)
        self.worker = Worker(entrant.variant.framework, entrant.command, settings.timeout_s)
        self.column = Column(entrant.variant)
        self.greeted: Future[Hello | None]
        self.folder.mkdir()

    def greet(self) -> Hello | None:
        """Start the worker, early, so that its imports overlap with the oracle; nothing if that went wrong."""
        try:
            return self._hello()
        except WorkerError:
            return None  # it is asked again when it is used, and says again what is wrong

    def _hello(self) -> Hello:
        hello = self.worker.hello()
        self.column.version = hello.version
        self.column.environment = hello.environment
        return hello

    def known(self) -> Hello | None:
        """What the worker said of itself when it was first started."""
        return self.greeted.result()

    def subject(self, case: Case, expected: Reference) -> ForwardSubject:
        """Whom a case's results are about."""
        return ForwardSubject(self.network, self.entrant.variant, self.column.version, case, expected)

    def traced(self, files: Files, substitutes: Path) -> Traces:
        """All traces of one case; an error of the worker becomes part of them."""
        self.settings.progress(f"{files.case}: {self.entrant.variant.framework}")
        try:
            return self._traces(files, substitutes)
        except WorkerError as error:
            return Traces(error=error)
        except (OSError, ValueError) as error:
            return Traces(error=WorkerError("nonsense", f"trace: {error}"))

    def _traces(self, files: Files, substitutes: Path) -> Traces:
        hello = self.known()
        if hello is None or not self.worker.alive:
            hello = self._hello()
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
        asked: dict[Check, tuple[Path | None, list[str]]] = {
            Check.END_TO_END: (None, taps),
            Check.UNTAPPED: (None, taps[-1:]),
        }
        if hello.substitutes:
            asked[Check.LOCAL] = (substitutes, taps)
        found = {
            check: [self._trace(files, f"{check}-{run}", *what) for run in range(self.settings.repeats)]
            for check, what in asked.items()
        }
        return Traces(
            local=found[Check.LOCAL][0] if hello.substitutes else None,
            end_to_end=found[Check.END_TO_END][0],
            untapped=found[Check.UNTAPPED][0],
            repeats={check: runs[1:] for check, runs in found.items()},
            skipped="" if hello.substitutes else NO_SUBSTITUTES,
        )

    def _trace(self, files: Files, name: str, substitutes: Path | None, taps: list[str]) -> dict[str, Array]:
        output = self.folder / f"{name}.safetensors"
        output.unlink(missing_ok=True)
        asked = self.entrant.variant.device
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
        if traced.device != asked:
            raise WorkerError("wrong_device", f"expected tensors on {asked}, found them on {traced.device}")
        return read(output)
