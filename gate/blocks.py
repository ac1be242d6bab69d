"""One block: a fresh process a side, which take turns. Only the one that has the token runs; the other is stopped."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.machine import Kernel, pin, processors
from bench.statistics import FEWEST_TO_CONVERGE, has_converged
from gate.plan import Cell, Plan
from gate.results import Quantity
from impls.client import Hello, Worker, WorkerError
from impls.description import describe
from impls.frameworks import FRAMEWORKS, LOWERINGS, Variant
from impls.generate import write_source
from impls.protocol import Load, Prepare, Time, Verify, untimed_calls
from spec.exits import one_line
from spec.store import Store
from spec.tensors import write

#: Of the baseline and of the candidate.
Pair = tuple[float, float]
NAMES = ("baseline", "candidate")
#: A baseline may refuse these without a word on the upgrade: there is nothing to compare.
REFUSALS = ("missing_device", "unsupported")
#: A warm-up that has not settled after so many chunks is measured as it is.
WARM_UP_CHUNKS = 4
#: More calls than any chunk has.
MOST_CALLS = 10**6
#: A time that no chunk reaches: the number of its calls ends it.
NEVER_S = 1e9
FEWEST_TURNS = 3
CONTROL_SIDE = 256
CONTROL_REPEATS = 4


@dataclass(frozen=True)
class Pace:
    """How a cell is timed in every block of a run; the same on both sides."""

    calls: int
    """Calls in a chunk."""
    turns: int
    """Pairs of neighbouring chunks."""
    untimed: int
    """Calls before each chunk that are not timed."""


@dataclass(frozen=True)
class Sample:
    """What one block saw of one cell, raw."""

    import_s: Pair
    build_s: Pair
    first_call_s: Pair
    peak_bytes: Pair
    turns: tuple[tuple[tuple[float, ...], tuple[float, ...]], ...] = ()
    """The durations of a chunk of each side, in seconds; none where the steady state is decided already."""
    control_s: tuple[float, ...] = ()
    """How long the control kernel took before each turn."""

    def pair(self, quantity: Quantity) -> Pair | None:
        """What both sides cost, in seconds or bytes; for the steady state the medians of the chunks' means."""
        match quantity:
            case Quantity.STEADY:
                if not self.turns:
                    return None
                left, right = (median(fmean(turn[side]) for turn in self.turns) for side in (0, 1))
                return left, right
            case Quantity.FIRST_CALL:
                return self.first_call_s
            case Quantity.BUILD:
                return self.build_s
            case Quantity.IMPORT:
                return self.import_s
            case Quantity.MEMORY:
                return self.peak_bytes

    def log_ratio(self, quantity: Quantity) -> float | None:
        """Candidate over baseline; of the steady state the median over neighbouring chunks, each with its mean.

        The mean of a chunk, because what only every twentieth call costs is a cost too; the median over chunks, because
        what interrupts a machine seldom interrupts half of them.
        """
        if quantity is Quantity.STEADY:
            logs = [math.log(fmean(after) / fmean(before)) for before, after in self.turns]
            return median(logs) if logs else None
        pair = self.pair(quantity)
        return math.log(pair[1] / pair[0]) if pair is not None and min(pair) > 0 else None

    def fields(self) -> dict[str, Any]:
        """The sample as a journal keeps it."""
        return asdict(self)


def sample_of(fields: Mapping[str, Any]) -> Sample:
    """The sample that `fields` gave; raises KeyError, TypeError or ValueError for anything else."""
    pairs = {name: _pair(fields[name]) for name in ("import_s", "build_s", "first_call_s", "peak_bytes")}
    turns = tuple((tuple(map(float, before)), tuple(map(float, after))) for before, after in fields["turns"])
    return Sample(**pairs, turns=turns, control_s=tuple(map(float, fields["control_s"])))


def _pair(values: Sequence[Any]) -> Pair:
    before, after = map(float, values)
    return before, after


@dataclass(frozen=True)
class Failure:
    """Why a cell has no sample."""

    side: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.side}: {self.kind}: {self.message}"


@dataclass(frozen=True)
class Files:
    """What the workers of both sides read of one cell; made once a run."""

    description: Path
    source: Path | None
    weights: Path
    input: Path
    ones: Path

    @classmethod
    def of(cls, cell: Cell, weights: Path, x: Path, folder: Path) -> "Files":
        """Beside `weights` and input what is written to `folder` for the cell; and its source, to where sources are."""
        network, variant = cell.network, cell.variant
        description = folder / f"{network.sha256[:16]}.json"
        description.write_text(json.dumps(describe(network)), encoding="utf-8")
        named = next((name for name in FRAMEWORKS if name == variant.framework), None)
        lowering = next(name for name in LOWERINGS if name == variant.lowering)
        source = write_source(network, named, lowering=lowering) if named else None
        ones = folder / f"{network.sha256[:16]}-{cell.batch}.safetensors"
        write(ones, {"expected": np.ones((cell.batch, *network.layers[-1].output_shape))})
        return cls(description, source, weights, x, ones)

    def load(self, variant: Variant, threads: int) -> Load:
        """The request that makes the network ready."""
        return Load.of(variant, self.description, self.source, self.weights, threads)

    def prepare(self, workload: str) -> Prepare:
        """The request that makes the workload ready."""
        return Prepare(workload, str(self.input))

    @property
    def finite(self) -> Verify:
        """A request whose answer is finite just where the output is: how far that is from ones, which is no matter."""
        return Verify(str(self.ones))


def files_of(cells: Sequence[Cell], seed: int, folder: Path) -> dict[str, Files]:
    """Weights that keep the scale, and photographs, for each cell, by its key."""
    store = Store()
    return {
        cell.key: Files.of(
            cell,
            store.weights_file(cell.network, "scaled", seed),
            store.input_file(cell.network, "photographs", seed, cell.batch),
            folder,
        )
        for cell in cells
    }


class Control:
    """A short kernel of fixed work that no framework has a part in: when it slows down, the machine did.

    The best of a few, so that it tells neither of its own start nor of a moment's interruption.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._kernel = Kernel(CONTROL_SIDE)

    @contextmanager
    def ready(self, cpus: Iterable[int]) -> Iterator[None]:
        """Within this the kernel has its threads, on the processors that it watches; setting them takes longer."""
        before = processors()
        with threadpool_limits(self._threads):
            pin(0, cpus)
            try:
                yield
            finally:
                pin(0, before)

    def run(self) -> float:
        """How long the kernel takes, in seconds."""
        return min(self._kernel.duration_s() for _ in range(CONTROL_REPEATS))


@dataclass(frozen=True)
class Bench:
    """What every block of a run is made with."""

    commands: tuple[tuple[str, ...], tuple[str, ...]]
    """How the worker of either side is started."""
    plan: Plan
    files: Mapping[str, Files]
    """By the key of the cell."""
    control: Control

    @property
    def cpus(self) -> tuple[int, ...]:
        """The processors of both sides, as many as they have threads: the first of those that we may use."""
        return processors(self.plan.threads)


class SideError(Exception):
    """One side failed."""

    def __init__(self, side: int, error: WorkerError) -> None:
        super().__init__(str(error))
        text = f"{error}; {error.stderr[-1]}" if error.stderr else str(error)
        self.failure = Failure(NAMES[side], error.kind, one_line(text))


class Block:
    """A fresh process a side; a context manager that leaves none behind."""

    def __init__(self, bench: Bench, seed: str) -> None:
        self.bench = bench
        self.random = random.Random(seed)
        self.workers = tuple(
            Worker(name, command, bench.plan.timeout_s) for name, command in zip(NAMES, bench.commands, strict=True)
        )
        self.hellos: dict[int, Hello] = {}

    def __enter__(self) -> "Block":
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.stop()

    @property
    def alive(self) -> bool:
        """Whether both processes run."""
        return all(worker.alive for worker in self.workers)

    def start(self) -> None:
        """Start both, one after the other in random order; raises SideError."""
        for side in self._order():
            with self._token(side) as worker:
                worker.start()
                pin(worker.pid, self.bench.cpus)
                self.hellos[side] = worker.hello()

    def measure(self, cell: Cell, pace: Pace | None, is_steady: bool = True) -> tuple[Sample, Pace]:
        """Measure one cell; without a pace its warm-up gives one. Raises SideError."""
        build_s, first_call_s, step_s = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
        plan, files = self.bench.plan, self.bench.files[cell.key]
        calls = pace.calls if pace else MOST_CALLS
        order = self._order()
        try:
            for side in order:
                with self._token(side) as worker:
                    build_s[side] = worker.load(files.load(cell.variant, plan.threads)) or 0.0
                    first_call_s[side] = worker.prepare(files.prepare(plan.workload)).first_call_s
                    if is_steady:
                        step_s[side] = self._warm_up(worker, calls)
                    self._check(worker, files.finite)
        except SideError as error:
            if order[0] == 1 and error.failure.side == NAMES[1] and error.failure.kind in REFUSALS:
                with self._token(0) as worker:  # what the baseline refuses too is no loss: then its refusal counts
                    worker.load(files.load(cell.variant, plan.threads))
            raise
        pace = pace or pace_of(max(step_s), plan)
        turns, control_s = [], []
        peaks: dict[int, int | None] = {}
        with self.bench.control.ready(self.bench.cpus):
            for _ in range(pace.turns if is_steady else 0):
                control_s.append(self.bench.control.run())
                chunks = {side: self._chunk(side, pace, peaks) for side in self._order()}
                turns.append((chunks[0], chunks[1]))
            if not is_steady:
                control_s.append(self.bench.control.run())
                for side in self._order():
                    self._chunk(side, replace(pace, calls=1), peaks)
        sample = Sample(
            import_s=(self.hellos[0].import_s or 0.0, self.hellos[1].import_s or 0.0),
            build_s=(build_s[0], build_s[1]),
            first_call_s=(first_call_s[0], first_call_s[1]),
            peak_bytes=(float(peaks[0] or 0), float(peaks[1] or 0)),
            turns=tuple(turns),
            control_s=tuple(control_s),
        )
        return sample, pace

    def _order(self) -> list[int]:
        return self.random.sample((0, 1), 2)

    @contextmanager
    def _token(self, side: int) -> Iterator[Worker]:
        """Let one side run, and stop it again; the other is stopped. Raises SideError."""
        worker = self.workers[side]
        try:
            worker.resume()
            yield worker
            worker.pause()
        except WorkerError as error:
            worker.pause()
            raise SideError(side, error) from error

    def _warm_up(self, worker: Worker, calls: int) -> float:
        """Run until calls settle; how long the quickest took, in seconds: a busy machine must not make chunks short."""
        durations = list(worker.time(Time(NEVER_S, FEWEST_TO_CONVERGE, untimed=0)).durations_s)
        for _ in range(WARM_UP_CHUNKS):
            if has_converged(durations):
                break
            durations += worker.time(Time(self.bench.plan.chunk_s, calls, untimed_calls(min(durations)))).durations_s
        return min(durations)

    def _check(self, worker: Worker, request: Verify) -> None:
        if not math.isfinite(worker.verify(request)):
            raise WorkerError("not_finite", "expected a finite output, found one that is not")

    def _chunk(self, side: int, pace: Pace, peaks: dict[int, int | None]) -> tuple[float, ...]:
        with self._token(side) as worker:
            timed = worker.time(Time(NEVER_S, pace.calls, pace.untimed))
            peaks[side] = timed.peak_bytes
            if timed.device_peak_bytes is not None:  # where the network is, and what a framework may waste
                peaks[side] = timed.device_peak_bytes
            if timed.cpus and timed.cpus != self.bench.cpus:
                raise WorkerError("moved", f"expected to run on processors {self.bench.cpus}, found {timed.cpus}")
        return tuple(round(duration_s, 7) for duration_s in timed.durations_s)


def pace_of(step_s: float, plan: Plan) -> Pace:
    """As many calls as fill a chunk, and as many turns as the plan gives one cell time for."""
    calls = max(1, round(plan.chunk_s / step_s))
    untimed = untimed_calls(step_s)
    turn_s = 2 * (untimed + calls) * step_s
    return Pace(calls, max(FEWEST_TURNS, min(plan.turns, int(plan.cell_s / turn_s))), untimed)
