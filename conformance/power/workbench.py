"""The networks that faults are planted in, the cases that they are run on, and what the oracle says of these."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from conformance.checks import Chain, ForwardSubject, Subject
from conformance.forward import Traces, compared, traced
from conformance.lane import run_training
from conformance.part import Given, Part
from conformance.part_colour import ColourPart
from conformance.part_dropout import DropoutPart
from conformance.part_evaluation import EvaluationPart
from conformance.part_gradients import GradientsPart
from conformance.part_initialisers import InitialisersPart
from conformance.part_trajectory import TrajectoryPart
from conformance.participants import Files, Participant, described
from conformance.power.fault import NARROW
from conformance.power.rules import rejections
from conformance.reference import Reference, reference
from conformance.results import REFUSED, Case, Check, Outcome, Result
from impls.client import Worker
from spec.exits import NotRunError
from spec.load import load
from spec.network import Network
from spec.store import Store
from spec.tensors import read, write

SPECS = Path(__file__).parent / "networks"
BATCH = 2

#: Which part of the training lane has which checks.
PARTS: dict[Check, type[Part]] = {
    Check.GRADIENT_INPUT: GradientsPart,
    Check.GRADIENT_PARAMETER: GradientsPart,
    Check.LOSS: GradientsPart,
    Check.INITIALISER: InitialisersPart,
    Check.DROPOUT: DropoutPart,
    Check.TRAJECTORY: TrajectoryPart,
    Check.EVALUATION: EvaluationPart,
    Check.COLOUR: ColourPart,
}
#: Those that begin with the spec's own initialisers.
FROM_THE_START = (Check.INITIALISER, Check.TRAJECTORY)


class Asked:
    """A part whose oracle answers once, however many variants are asked after each other."""

    def __init__(self, part: Part, folder: Path) -> None:
        self.part = part
        self.name = part.name
        self.folder = folder
        self._expected: list[Any] = []
        self._lock = Lock()

    def skipped(self, given: Given) -> str:
        """As the part itself."""
        return self.part.skipped(given)

    def expected(self, given: Given, folder: Path) -> Any:
        """The part's own answer, whose files stay."""
        with self._lock:  # variants are asked at once
            if not self._expected:
                self.folder.mkdir()
                self._expected.append(self.part.expected(given, self.folder))
            return self._expected[0]

    def ask(self, worker: Worker, given: Given, expected: Any, folder: Path) -> Any:
        """As the part itself."""
        return self.part.ask(worker, given, expected, folder)

    def results(self, subject: Subject, given: Given, expected: Any, own: Any, others: Sequence[Any]) -> list[Result]:
        """As the part itself."""
        return self.part.results(subject, given, expected, own, others)


@dataclass(frozen=True)
class Run:
    """What became of one run of one variant."""

    results: list[Result]
    rejected_by: dict[str, dict[str, bool]] | None
    """Which other rules reject it (rules.py); None where there is no trace of all taps, as of training."""
    end_to_end: Chain | None = None

    @property
    def lost(self) -> Result | None:
        """What could not be run, by no fault of the network."""
        errored = (result for result in self.results if result.outcome is Outcome.ERRORED)
        return next((result for result in errored if result.error not in REFUSED), None)


def answered(ask: Callable[[], list[Run]]) -> list[Run]:
    """What `ask` gives; where a worker crashed, hung or ran out of memory it is asked once more.

    Raises NotRunError where that is lost too.
    """
    runs = ask()
    if any(run.lost for run in runs):
        runs = ask()
    for lost in filter(None, (run.lost for run in runs)):
        raise NotRunError(f"{lost.network}, {lost.variant}: {lost.message}; that was the second try")
    return runs


def rejected_by(traces: Traces, expected: Reference, network: Network) -> dict[str, dict[str, bool]] | None:
    """Which other rules reject what was traced; None where nothing was."""
    if traces.end_to_end is None:
        return None
    return rejections(traces.end_to_end.taps, expected.end_to_end, network.output)


def network_named(spec: str) -> Network:
    """A network that faults are planted in."""
    return load(spec if spec == NARROW else SPECS / f"{spec}.yaml")


class Bench:
    """One network and one case; `check` says which part of the training lane is run, none: the forward lane."""

    def __init__(self, spec: str, check: Check | None, work: Path) -> None:
        self.network = network_named(spec)
        self.check = check
        folder = work / f"{self.network.name}-{check or 'forward'}"
        folder.mkdir()
        # Weights that preserve scale: the paper's biases of 1 outweigh the few products of a narrow layer.
        weights = "paper" if check in FROM_THE_START else "scaled"
        store = Store()
        self.files = Files(
            Case(weights, "photographs", 0, BATCH),
            store.weights_file(self.network, "paper" if weights == "paper" else "scaled", 0),
            store.input_file(self.network, "photographs", 0, BATCH),
        )
        self._description = described(self.network, folder)
        self._substitutes = folder / "substitutes.safetensors"
        self._part = Asked(PARTS[check](), folder / "part") if check is not None else None
        self._reference: Reference | None = None
        self._lock = Lock()
        self.peers: dict[str, Chain] = {}
        """The end-to-end trace of the right network in each framework: what errors are usual."""

    def run(self, participant: Participant, source: Path | None, files: Files) -> Run:
        """Have one variant load a source and tensors, run it, and compare; raises NotRunError (`answered`)."""
        (run,) = answered(lambda: [self._run(participant, source, files)])
        return run

    def _run(self, participant: Participant, source: Path | None, files: Files) -> Run:
        participant.turn_to(self.network, self._description, source)
        if self._part is not None:
            (results,) = run_training(self.network, [participant], files, [self._part])
            return Run(results, None)
        expected = self._expected()
        found: Traces = traced(participant, files, self._substitutes, expected)
        framework = participant.entrant.variant.framework
        subject = ForwardSubject(**vars(participant.subject(files.case)), reference=expected)
        results = compared(subject, found, [trace for name, trace in self.peers.items() if name != framework])
        return Run(results, rejected_by(found, expected, self.network), found.end_to_end)

    def _expected(self) -> Reference:
        """The oracle's answer in the forward lane."""
        with self._lock:  # variants are run at once
            if self._reference is None:
                x = read(self.files.input)[self.network.input.name]
                self._reference = reference(self.network, read(self.files.weights), x)
                write(self._substitutes, self._reference.substitutes)
            return self._reference
