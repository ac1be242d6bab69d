"""Times variants side by side: one process each, in rounds of shuffled order, with a control between them."""

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median

from bench.machine import Control, pin, processors
from bench.statistics import has_converged
from impls.client import Worker, WorkerError
from impls.description import describe
from impls.frameworks import Variant
from impls.protocol import Load, Prepare, Time, Verify, untimed_calls
from spec.exits import NotRunError, one_line
from spec.network import Network
from spec.store import Store
from spec.tensors import metadata

#: A warm-up that has not settled after so many calls is measured as it is, and the spread of its samples says so.
WARM_UP_CALLS = 12
#: Images in the batch of a training step, where they go into it: it repeats them, which the oracle's work does not.
DISTINCT = 2

#: After these a worker is started again for the next batch, which may do it no harm.
RESTARTED = ("out_of_memory", "crashed")


@dataclass(frozen=True)
class Contender:
    """A variant that is timed, and how its worker is started."""

    variant: Variant
    command: tuple[str, ...]
    source: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables of its process, beside the user's own."""

    def worker(self, plan: "Plan") -> Worker:
        """A worker of its own, not yet started."""
        return Worker(self.variant.framework, self.command, plan.timeout_s, self.settings)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    workload: str
    batches: tuple[int, ...]
    rounds: int
    chunk_s: float
    """How long a variant is timed in one round; at least one call."""
    threads: int
    timeout_s: float
    seed: int


@dataclass
class Row:
    """What is known of one variant at one batch."""

    variant: Variant
    batch: int
    version: str = "unknown"
    environment: dict[str, str] = field(default_factory=dict)
    """What the worker told of itself."""
    outcome: str = "incomplete"
    """`timed`, `nonconforming`, `errored`, `skipped`, or `incomplete` where the run was stopped."""
    message: str = ""
    import_s: float | None = None
    build_s: float | None = None
    first_call_s: float | None = None
    rounds: list[tuple[float, ...]] = field(default_factory=list)
    """Steady state: every duration of every round, in seconds."""
    control_s: list[float] = field(default_factory=list)
    """How long the control kernel took just before each round."""
    busy_threads: float | None = None
    cpus: tuple[int, ...] = ()
    peak_bytes: int | None = None
    device_peak_bytes: int | None = None
    relative_rms: float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that its process was given."""
    overhead_s: float | None = None
    """What the stopwatch adds to each call."""

    @property
    def samples(self) -> list[float]:
        """All durations, in seconds."""
        return [duration for samples in self.rounds for duration in samples]

    @property
    def median_s(self) -> float | None:
        """The median duration of a call, in seconds; nothing for a variant that does not conform."""
        return median(self.samples) if self.samples and self.outcome in ("timed", "incomplete") else None


def time_all(
    network: Network, contenders: Sequence[Contender], plan: Plan, control: Control, tell: Callable[[str], None]
) -> list[Row]:
    """Time every contender at every batch. A worker that fails loses its rows, and no other's; a stop keeps samples."""
    rows = [
        Row(contender.variant, batch, settings=contender.settings) for batch in plan.batches for contender in contenders
    ]
    with tempfile.TemporaryDirectory(prefix="lockstep-bench-") as folder, _lanes(contenders, plan) as lanes:
        try:
            dtypes = dict.fromkeys(contender.variant.dtype for contender in contenders)
            files = _Files(network, plan, Path(folder), tuple(dtypes))
            for lane in lanes:
                tell(f"start {lane.contender.variant}")
                lane.load(files, plan)
            for batch in plan.batches:
                own = {row.variant: row for row in rows if row.batch == batch}
                _time_batch(batch, lanes, own, files, plan, control, tell)
        except KeyboardInterrupt:
            for row in rows:
                if row.outcome == "incomplete":
                    row.message = f"interrupted after {len(row.rounds)} of {plan.rounds} rounds"
    return rows


class _Files:
    """What all workers read: weights, inputs, and what the outputs should be."""

    def __init__(self, network: Network, plan: Plan, folder: Path, dtypes: tuple[str, ...]) -> None:
        self.network = network
        self.plan = plan
        self.folder = folder
        self.dtypes = dtypes
        self.store = Store()
        self.weights = self.store.weights_file(network, "scaled", plan.seed)
        self.description = folder / "network.json"
        self.description.write_text(json.dumps(describe(network)), encoding="utf-8")

    def input(self, batch: int) -> Path:
        """What is given to the workload; that of a training step is there once `expected` was asked for."""
        if self.plan.workload == "train_step":
            return self.folder / f"batch-{batch}.safetensors"
        return self._photographs(batch)

    def expected(self, batch: int) -> Path:
        """What the oracle expects. It is asked as a program: bench and conformance share files, not code."""
        path = self.folder / f"expected-{batch}.safetensors"
        distinct, more = batch, []
        if self.plan.workload == "train_step":
            distinct = DISTINCT if batch % DISTINCT == 0 else 1
            more = ["--train-step", str(self.input(batch)), "--repeats", str(batch // distinct)]
        spec = self.folder / "spec.json"  # which is YAML too
        spec.write_text(self.network.model_dump_json(), encoding="utf-8")
        program = [sys.executable, "-m", "conformance.expected", "--spec", str(spec), "--weights", str(self.weights)]
        asked = subprocess.run(
            [
                *program,
                *("--input", str(self._photographs(distinct)), "--output", str(path)),
                *("--dtypes", ",".join(self.dtypes), *more),
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[1],
        )
        if asked.returncode:
            raise NotRunError(f"the oracle could not be run: {one_line(asked.stderr)[-400:]}")
        return path

    def _photographs(self, batch: int) -> Path:
        return self.store.input_file(self.network, "photographs", self.plan.seed, batch)


class _Lane:
    """One contender's worker, from its start to its last batch."""

    def __init__(self, contender: Contender, plan: Plan) -> None:
        self.contender = contender
        self.worker = contender.worker(plan)
        self.failure: WorkerError | None = None
        self.known = Row(contender.variant, 0, settings=contender.settings)
        self.untimed = 1
        """Calls before each turn that are not timed, at the batch at hand."""

    def load(self, files: _Files, plan: Plan) -> None:
        """Start the worker and have it build the network; what goes wrong is kept for its rows."""
        own = self.contender
        try:
            self.worker.start()
            pin(self.worker.pid, processors(plan.threads))
            hello = self.worker.hello()
            self.known.version, self.known.environment = hello.version, hello.environment
            self.known.import_s = hello.import_s
            request = Load.of(own.variant, files.description, own.source, files.weights, plan.threads)
            self.known.build_s = self.worker.load(request)
            self.worker.pause()  # threads that wait may spin, and would slow down whoever has its turn
        except WorkerError as error:
            self.failure = error


@contextmanager
def _lanes(contenders: Sequence[Contender], plan: Plan) -> Iterator[list[_Lane]]:
    lanes = [_Lane(contender, plan) for contender in contenders]
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.worker.stop()


def _time_batch(
    batch: int,
    lanes: Sequence[_Lane],
    rows: dict[Variant, Row],
    files: _Files,
    plan: Plan,
    control: Control,
    tell: Callable[[str], None],
) -> None:
    for lane in lanes:
        if lane.failure is not None and lane.failure.kind in RESTARTED:
            lane.failure = None
            lane.load(files, plan)
    tell(f"batch {batch}: oracle")
    expected = files.expected(batch)
    caps = metadata(expected)
    for lane in lanes:
        row = rows[lane.contender.variant]
        tell(f"batch {batch}: warm up {row.variant}")
        _guarded(lane, row, partial(_warm_up, lane, row, files.input(batch), plan))
    shuffled = random.Random(plan.seed * 1000 + batch)
    for number in range(plan.rounds):
        order = [lane for lane in lanes if rows[lane.contender.variant].outcome == "incomplete"]
        shuffled.shuffle(order)
        for lane in order:
            row = rows[lane.contender.variant]
            tell(f"batch {batch}: round {number + 1} of {plan.rounds}: {row.variant}")
            row.control_s.append(control.run())
            _guarded(lane, row, partial(_time_round, lane, row, plan))
    for lane in lanes:
        row = rows[lane.contender.variant]
        if row.outcome == "incomplete":
            _guarded(lane, row, partial(_check, lane, row, expected, caps))


def _guarded(lane: _Lane, row: Row, work: Callable[[], None]) -> None:
    """Do `work`, unless the worker failed before; what goes wrong is the row's outcome."""
    known = lane.known
    row.version, row.environment, row.import_s, row.build_s = (
        known.version,
        known.environment,
        known.import_s,
        known.build_s,
    )
    if row.outcome != "incomplete":
        return
    try:
        if lane.failure is not None:
            raise lane.failure
        lane.worker.resume()
        work()
        lane.worker.pause()
    except WorkerError as error:
        named = error.kind in ("missing_device", "missing_framework", "unsupported")
        row.outcome = "skipped" if named else "errored"
        kind = "out of memory" if error.kind == "out_of_memory" else error.kind
        row.message = one_line(f"{kind}: {error}" + (f"; {error.stderr[-1]}" if error.stderr else ""))
        if not lane.worker.alive and lane.failure is None:
            lane.failure = error


def _warm_up(lane: _Lane, row: Row, x: Path, plan: Plan) -> None:
    """The first call, and then calls until they settle."""
    prepared = lane.worker.prepare(Prepare(plan.workload, str(x)))
    row.first_call_s, row.overhead_s = prepared.first_call_s, prepared.overhead_s
    durations: list[float] = []
    while len(durations) < WARM_UP_CALLS and not has_converged(durations):
        untimed = untimed_calls(min(durations, default=prepared.first_call_s))
        durations += lane.worker.time(Time(plan.chunk_s / 4, max_calls=4, untimed=untimed)).durations_s
        if sum(durations) > 4 * plan.chunk_s and len(durations) > 1:
            break
    lane.untimed = untimed_calls(min(durations))


def _time_round(lane: _Lane, row: Row, plan: Plan) -> None:
    timed = lane.worker.time(Time(plan.chunk_s, max_calls=10**6, untimed=lane.untimed))
    row.rounds.append(timed.durations_s)
    row.busy_threads = timed.busy_threads
    row.cpus = timed.cpus
    row.peak_bytes, row.device_peak_bytes = timed.peak_bytes, timed.device_peak_bytes


def _check(lane: _Lane, row: Row, expected: Path, caps: dict[str, str]) -> None:
    """Compare the last timed output with the oracle's, in the timed process: no number for what does not conform."""
    cap = float(caps[f"relative_rms_cap.{row.variant.dtype}"])
    row.relative_rms = lane.worker.verify(Verify(str(expected)))
    if row.relative_rms <= cap:
        row.outcome = "timed"
    else:
        row.outcome = "nonconforming"
        row.message = f"relative RMS error {row.relative_rms:.3g} of the output, cap {cap:.3g}: no time is reported"
