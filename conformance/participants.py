"""Who takes part in a run: each variant's worker, and the column of its results."""

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.checks import Subject
from conformance.results import Case, Check, Column, Outcome, Result, Script
from impls.client import Hello, Worker, WorkerError
from impls.description import describe
from impls.frameworks import Variant
from impls.protocol import Load
from spec.exits import NotRunError
from spec.network import Network

#: The file that describes the network to runners.
DESCRIPTION = "network.json"
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
    repeats: int = 1
    """How often each trace is run, to see whether it gives the same bits again."""
    reproduces: bool = True
    """Whether a script is looked for that shows what nothing explains."""


class Participant:
    """One entrant through all cases: its worker, and the column of its results."""

    def __init__(self, network: Network, entrant: Entrant, settings: Settings, work: Path, index: int) -> None:
        self.network = network
        self.entrant = entrant
        self.settings = settings
        self.description = work / DESCRIPTION
        self.folder = work / str(index)
        self.worker = Worker(entrant.variant.framework, entrant.command, settings.timeout_s)
        self.column = Column(entrant.variant)
        self.greeted: Future[None]
        self._said: Hello | None = None
        self.reproductions: dict[str, Script | None] = {}
        """What was looked for, by the tap that failed: once in a run."""
        self._loaded: Case | None = None
        self.folder.mkdir()

    def greet(self) -> None:
        """Start the worker, early, so that its imports overlap with the oracle."""
        with suppress(WorkerError):  # it is asked again when it is used, and says again what is wrong
            self._hello()

    def known(self) -> Hello | None:
        """What the worker said of itself when it was last started; nothing if it never could be."""
        self.greeted.result()
        return self._said

    def hello(self) -> Hello:
        """What the worker says of itself; raises WorkerError where it cannot be started."""
        return self.known() or self._hello()

    def load(self, files: Files, mode: str | None = None) -> None:
        """Have the weights of a case loaded, by a worker that is started again if it ended; raises WorkerError.

        `mode` is another than the variant's own, which is loaded again by whoever needs it.
        """
        self._loaded = None
        if self.known() is None or not self.worker.alive:
            self._hello()
        own, threads = self.entrant, self.settings.threads
        variant = replace(own.variant, mode=mode or own.variant.mode)
        self.worker.load(Load.of(variant, self.description, own.source, files.weights, threads))
        self._loaded = files.case if mode is None else None

    def ensure_loaded(self, files: Files) -> None:
        """Have the weights of a case loaded, unless they are; raises WorkerError."""
        if self._loaded != files.case or not self.worker.alive:
            self.load(files)

    def forget(self) -> None:
        """Have the next case loaded anew, whatever the worker has loaded."""
        self._loaded = None

    def turn_to(self, network: Network, description: Path, source: Path | None) -> None:
        """Go on with another network, in the same worker; `description` and `source` are its files."""
        self.network, self.description = network, description
        self.entrant = replace(self.entrant, source=source)
        self._loaded = None

    def subject(self, case: Case) -> Subject:
        """Whom a case's results are about."""
        return Subject(self.network, self.entrant.variant, self.column.version, case)

    def _hello(self) -> Hello:
        hello = self._said = self.worker.hello()
        self.column.version = hello.version
        self.column.environment = hello.environment
        return hello


def described(network: Network, folder: Path) -> Path:
    """The file in `folder` that describes a network to runners."""
    path = folder / DESCRIPTION
    path.write_text(json.dumps(describe(network)), encoding="utf-8")
    return path


@contextmanager
def participants_of(network: Network, entrants: Sequence[Entrant], settings: Settings) -> "Iterator[list[Participant]]":
    """Start a worker for every entrant; in the end none is left behind."""
    with tempfile.TemporaryDirectory(prefix="lockstep-") as folder, ThreadPoolExecutor(max(1, len(entrants))) as pool:
        work = Path(folder)
        described(network, work)
        participants = [Participant(network, entrant, settings, work, index) for index, entrant in enumerate(entrants)]
        try:
            for participant in participants:
                participant.greeted = pool.submit(participant.greet)
            with _killed_on_error(participants):
                yield participants
                for participant in participants:
                    participant.known()  # a process that is started after its end would be left behind
        finally:
            for participant in participants:
                participant.worker.stop()


@contextmanager
def threads_for(participants: "Sequence[Participant]") -> Iterator[ThreadPoolExecutor]:
    """Threads that ask workers at once. Where the run is interrupted none of them waits for its worker's answer."""
    with ThreadPoolExecutor(AT_ONCE) as pool, _killed_on_error(participants):
        yield pool


@contextmanager
def _killed_on_error(participants: "Sequence[Participant]") -> Iterator[None]:
    try:
        yield
    except BaseException:
        for participant in participants:
            participant.worker.kill()
        raise


def require_device(participants: "Sequence[Participant]") -> None:
    """Raise NotRunError, by name, where no worker that could be started has the device it is asked for."""
    hellos = {participant.entrant.variant: participant.known() for participant in participants}
    there = {variant: hello.devices for variant, hello in hellos.items() if hello is not None}
    if there and not any(variant.device in devices for variant, devices in there.items()):
        found = "; ".join(f"{variant.framework} finds {', '.join(devices)}" for variant, devices in there.items())
        raise NotRunError(f"no {next(iter(there)).device} device: {found}")


def errored(subject: Subject, tap: str, check: Check, error: WorkerError) -> Result:
    """The result of what a worker could not do: its kind, its message and the last lines of its stderr."""
    lines = f"; last lines of stderr: {' | '.join(error.stderr)}" if error.stderr else ""
    result = subject.result(tap, check, Outcome.ERRORED, f"{error.kind}: {error}{lines}")
    return replace(result, error=error.kind)
