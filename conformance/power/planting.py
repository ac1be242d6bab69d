"""Plants faults one after the other in workers that live long, and keeps what the suite said of each."""

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock

import numpy as np

from conformance.participants import AT_ONCE, Entrant, Files, Participant, Settings, participants_of, threads_for
from conformance.power.fault import NARROW, NUMPY, Fault
from conformance.power.spent import counting
from conformance.power.verdicts import CleanRun, Power, Verdict
from conformance.power.workbench import Bench, Run
from conformance.results import Check, Outcome, Result
from impls.client import framework_command
from impls.frameworks import FRAMEWORKS, MODES, Variant
from impls.generate import source_text
from spec.exits import NotRunError
from spec.journal import Journal
from spec.load import load
from spec.network import Network
from spec.tensors import read, write

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 300
CLEAN = Fault("clean", "all", "", "", "")
Tell = Callable[[str], None]


def plant(
    pythons: Mapping[str, str], plantings: Sequence[tuple[Fault, str]], journal: Path | None, tell: Tell
) -> Power:
    """Plant each fault in a framework.

    Raises NotRunError if a right network does not pass first, or a worker is lost twice on one planting. What is in the
    journal, of the same faults, code and versions, is not run again.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-power-") as folder, workers(pythons, Path(folder)) as running:
        versions = {worker.entrant.variant.framework: worker.hello().version for worker in running}
        kept = Journal(journal, {"code": code_hash(), "versions": versions, "numpy": np.__version__})
        keys = dict.fromkeys((fault.spec, fault.check) for fault, _ in plantings)
        benches = {key: Bench(*key, Path(folder)) for key in keys}
        planting = _Planting(Path(folder), benches, kept, len(plantings), tell)

        def of(framework: str) -> list[Fault]:
            return [fault for fault, name in plantings if name == framework]

        with counting(kept) as spent_s, threads_for(running) as pool, planting.until_stopped():
            clean = [run for bench in benches.values() for run in _passed(bench, running, tell)]
            queues = [of(worker.entrant.variant.framework) for worker in running]
            for _ in (*pool.map(planting.in_worker, running, queues), *pool.map(planting.in_runner, of(NUMPY))):
                pass  # an error in a thread is raised here
            duration_s = spent_s()
        return Power([_verdict(fault, name, kept) for fault, name in plantings], clean, versions, duration_s)


def plantings_of(faults: Sequence[Fault], frameworks: Collection[str]) -> list[tuple[Fault, str]]:
    """Each fault with each of the frameworks that it can be planted in; what the NumPy runner plants, with that."""
    return [(fault, name) for fault in faults for name in fault.frameworks if name in (*frameworks, NUMPY)]


def code_hash() -> str:
    """Of everything that a result depends on and that lies in this checkout."""
    digest = hashlib.sha256()
    for folder in ("spec", "impls", "conformance"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".py", ".toml", ".yaml") and "generated" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def _verdict(fault: Fault, framework: str, kept: Journal) -> Verdict:
    entry = kept.get(f"{fault.id} {framework}")
    return Verdict(fault, framework, entry["first"], entry["rejected_by"])


class _Planting:
    """Plants, and counts."""

    def __init__(
        self, work: Path, benches: Mapping[tuple[str, Check | None], Bench], kept: Journal, of: int, tell: Tell
    ) -> None:
        self.work = work
        self.benches = benches
        self.kept = kept
        self.of = of
        self.tell = tell
        self._done = 0
        self._lock = Lock()
        self._stopped = Event()

    @contextmanager
    def until_stopped(self) -> Iterator[None]:
        """Where the run is interrupted, threads end with the planting that they are at, and nothing more is kept."""
        try:
            yield
        except BaseException:
            self._stopped.set()
            raise

    def in_worker(self, worker: Participant, faults: Sequence[Fault]) -> None:
        """Plant faults in a framework."""
        framework = worker.entrant.variant.framework
        for fault in faults:
            if self._stopped.is_set():
                return
            bench = self.benches[fault.spec, fault.check]
            source = write_source(bench.network, fault, framework, self.work)
            text = source.read_text(encoding="utf-8")
            with self._once(fault, framework, text) as due:
                if due is not None:
                    due(bench, bench.run(worker, source, self._files(fault, bench, framework)))

    def in_runner(self, fault: Fault) -> None:
        """Plant a fault in the runner in NumPy."""
        if self._stopped.is_set():
            return
        bench = self.benches[fault.spec, fault.check]
        with self._once(fault, NUMPY, fault.id) as due:
            if due is not None:
                command = (sys.executable, "-m", "conformance.power.wrong_runner", fault.id)
                entrant = Entrant(Variant(NUMPY, "cpu", "float32", "eager", "native"), command, None)
                with participants_of(bench.network, [entrant], settings()) as (participant,):
                    due(bench, bench.run(participant, None, bench.files))

    def _files(self, fault: Fault, bench: Bench, framework: str) -> Files:
        """What is loaded: tensors with the fault in them, if it is one of tensors."""
        if fault.tensors is None:
            return bench.files
        weights = self.work / f"{fault.id}-{framework}.safetensors"
        write(weights, fault.tensors(read(bench.files.weights)))
        return replace(bench.files, weights=weights)

    @contextmanager
    def _once(self, fault: Fault, framework: str, text: str) -> Iterator[Callable[[Bench, Run], None] | None]:
        """What takes the outcome of a planting; nothing where it is known already."""
        name = f"{fault.id} {framework}"
        planted = hashlib.sha256(text.encode()).hexdigest()

        def keep(bench: Bench, run: Run) -> None:
            first = first_failure(bench.network, run.results)
            entry = {
                "planted": planted,
                "first": first.fields() if first else None,
                "rejected_by": run.rejected_by,
            }
            with self._lock:
                if not self._stopped.is_set():  # what a worker that was killed for it answers is no result
                    self.kept.put(name, entry)

        known = self.kept.get(name)
        with self._lock:
            self._done += 1
            self.tell(f"{self._done} of {self.of}: {fault.id} in {framework}: {fault.what}")
        yield None if known is not None and known["planted"] == planted else keep


def _passed(bench: Bench, running: Sequence[Participant], tell: Tell) -> Iterator[CleanRun]:
    """Run the right network; raises NotRunError where it does not pass."""
    able = [worker for worker in running if bench.check is None or worker.hello().trains]

    def ran(worker: Participant) -> Run:
        framework = worker.entrant.variant.framework
        tell(f"the right {bench.network.name} in {framework}: {bench.check or 'forward'}")
        source = write_source(bench.network, CLEAN, framework, worker.folder)
        return bench.run(worker, source, bench.files)

    with threads_for(running) as pool:
        runs = list(pool.map(ran, able))
    for worker, run in zip(able, runs, strict=True):
        framework = worker.entrant.variant.framework
        for result in run.results:
            if result.outcome in (Outcome.FAILED, Outcome.ERRORED):
                raise NotRunError(
                    f"the right network must pass first: {bench.network.name}, {result.variant}: {result.tap}: "
                    f"{result.message}"
                )
        if run.end_to_end is not None and run.rejected_by is not None:
            bench.peers[framework] = run.end_to_end
            yield CleanRun(f"{bench.network.name} {bench.files.case}", framework, run.rejected_by)


def settings() -> Settings:
    """How workers are run: two at once, each on its share of the processors."""
    return Settings(max(1, (os.cpu_count() or 1) // AT_ONCE), TIMEOUT_S, progress=lambda _: None, reproduces=False)


@contextmanager
def workers(pythons: Mapping[str, str], work: Path) -> Iterator[list[Participant]]:
    """A worker a framework, which lives as long as this."""
    network = load(NARROW)
    entrants = [
        Entrant(
            Variant(name, "cpu", "float32", MODES[name][0], "native"),
            tuple(framework_command(name, pythons[name])),
            write_source(network, CLEAN, name, work),
        )
        for name in FRAMEWORKS
        if name in pythons
    ]
    with ExitStack() as stack:
        yield stack.enter_context(participants_of(network, entrants, settings()))


def write_source(network: Network, fault: Fault, framework: str, folder: Path) -> Path:
    """Write the source of a network with a fault in it."""
    known = next(name for name in FRAMEWORKS if name == framework)
    changed = fault.network(network) if fault.network else network
    text = fault.planted(source_text(changed, known, "native"), framework, network)
    path = folder / f"{network.name}-{fault.id}-{framework}.py"
    path.write_text(text, encoding="utf-8")
    return path


def first_failure(network: Network, results: Sequence[Result]) -> Result | None:
    """The first result that is no good: by check, training step, and place in the graph."""
    order = {layer.name: index for index, layer in enumerate(network.layers)}
    checks = list(Check)
    bad = [result for result in results if result.outcome in (Outcome.FAILED, Outcome.ERRORED)]
    return min(
        bad,
        key=lambda result: (
            checks.index(result.check),
            result.step or 0,
            order.get(result.tap.partition(".")[0], len(order)),
        ),
        default=None,
    )
