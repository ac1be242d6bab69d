"""The training lane: each of its parts asks every worker that trains, and holds the answers against the oracle's."""

import shutil
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from conformance.checks import Subject
from conformance.part import Given, Part
from conformance.part_colour import ColourPart
from conformance.part_dropout import DropoutPart
from conformance.part_evaluation import EvaluationPart
from conformance.part_gradients import GradientsPart
from conformance.part_initialisers import InitialisersPart
from conformance.part_trajectory import TrajectoryPart
from conformance.participants import Files, Participant, errored, threads_for
from conformance.results import Check, Outcome, Result
from impls.client import WorkerError
from spec.network import Network

LANES = ("forward", "training", "invariants")
USUAL_LANES = LANES[:2]
"""Those that are run unless others are asked for."""

#: In this order. The trajectory is the last: it leaves a worker with parameters that it has trained.
PARTS: tuple[Part, ...] = (
    GradientsPart(),
    InitialisersPart(),
    DropoutPart(),
    EvaluationPart(),
    ColourPart(),
    TrajectoryPart(),
)

#: Frameworks that cannot train here, and why.
OUT_OF_SCOPE = {
    "onnx": "the training graph is out of scope for ONNX: its operators are those of inference, and none is a gradient"
}
NO_RECIPE = "the network has no section 'training'"
NO_TRAINING = "the runner does not train (hello: trains is false)"
NO_BF16 = "gradients have no rules in bf16 (conformance/caps.toml); use float32"


def parts_due(network: Network, files: Files, cases: Sequence[Files], parts: Sequence[Part]) -> list[Part]:
    """The parts that are run on a case: each part has, of the cases of one seed, the first that it applies to.

    One that applies to none has the first, which then says why; so have all where nothing trains.
    """
    alike = [case for case in cases if case.case.seed == files.case.seed]

    def place(part: Part) -> Files:
        applies = [case for case in alike if (given := _given(network, case)) is None or not part.skipped(given)]
        return (applies or alike)[0]

    return [part for part in parts if place(part) is files]


def _given(network: Network, files: Files) -> Given | None:
    """What the parts start from; nothing for a network that has no recipe."""
    if network.training is None:
        return None
    return Given(network, network.training, files.case, files.weights, files.input)


def run_training(
    network: Network, participants: Sequence[Participant], files: Files, parts: Sequence[Part]
) -> list[list[Result]]:
    """Run one case on all participants, part by part, and compare: the results of each."""
    with threads_for(participants) as pool:
        results = list(pool.map(partial(_kept_out, network, files), participants))
    training = [index for index, kept_out in enumerate(results) if not kept_out]
    given = _given(network, files)
    if training and given is not None:
        found = _run_parts(parts, given, [participants[index] for index in training], files)
        for index, own in zip(training, found, strict=True):
            results[index] = own
    return results


def _kept_out(network: Network, files: Files, participant: Participant) -> list[Result]:
    """Why a participant cannot train, as a result; none for one that can, and then has the weights loaded."""
    try:
        reason = _reason(network, participant)
        if not reason:
            participant.ensure_loaded(files)
            return []
    except WorkerError as error:
        return [errored(participant.subject(files.case), "", Check.TRAINING, error)]
    return [participant.subject(files.case).result("", Check.TRAINING, Outcome.SKIPPED, reason)]


def _reason(network: Network, participant: Participant) -> str:
    variant = participant.entrant.variant
    if network.training is None:
        return NO_RECIPE
    if variant.dtype == "bf16":
        return NO_BF16
    return "" if participant.hello().trains else OUT_OF_SCOPE.get(variant.framework, NO_TRAINING)


@dataclass(frozen=True)
class _Answer:
    """What a worker gave in one part."""

    value: Any = None
    error: WorkerError | None = None


def _run_parts(
    parts: Sequence[Part], given: Given, participants: Sequence[Participant], files: Files
) -> list[list[Result]]:
    subjects = [participant.subject(files.case) for participant in participants]
    found, apply = [], []
    for part in parts:
        if reason := part.skipped(given):
            found.append([[own.result(part.name, Check.TRAINING, Outcome.SKIPPED, reason)] for own in subjects])
        else:
            apply.append(part)
    with tempfile.TemporaryDirectory(prefix="lockstep-training-") as temporary, threads_for(participants) as pool:
        folder = Path(temporary)

        def asked(part: Part, expected: Any) -> list[list[Result]]:
            ask = partial(_asked, part, given, expected, files, folder / part.name)
            answers = list(pool.map(ask, participants))
            return [_compared(part, subject, given, expected, answers, own) for own, subject in enumerate(subjects)]

        for part, expected in _with_expected(apply, given, folder):
            if not expected.done():
                participants[0].settings.progress(f"{files.case}: {part.name}: oracle")
            found.append(asked(part, expected.result()))
            shutil.rmtree(folder / part.name)
    return [[result for results in found for result in results[index]] for index in range(len(participants))]


def _with_expected(parts: Sequence[Part], given: Given, folder: Path) -> "Iterator[tuple[Part, Future[Any]]]":
    """Each part with the oracle's answer; the oracle goes on to the next parts while workers answer."""

    def made(part: Part) -> Any:
        own = folder / part.name
        own.mkdir()
        return part.expected(given, own)

    oracle = ThreadPoolExecutor(1)
    try:
        waiting = deque((part, oracle.submit(made, part)) for part in parts)
        while waiting:
            yield waiting.popleft()
    finally:
        oracle.shutdown(cancel_futures=True)


def _asked(part: Part, given: Given, expected: Any, files: Files, folder: Path, participant: Participant) -> _Answer:
    """What one worker answers; an error becomes the answer."""
    participant.settings.progress(f"{files.case}: {part.name}: {participant.entrant.variant.framework}")
    own = folder / participant.folder.name
    own.mkdir()
    try:
        participant.ensure_loaded(files)
        return _Answer(part.ask(participant.worker, given, expected, own))
    except WorkerError as error:
        return _Answer(error=error)
    except (OSError, ValueError) as error:
        return _Answer(error=WorkerError("nonsense", f"{part.name}: {error}"))


def _compared(
    part: Part, subject: Subject, given: Given, expected: Any, answers: Sequence[_Answer], index: int
) -> list[Result]:
    """The results of the answer `index` of all."""
    own = answers[index]
    if own.error is not None:
        return [errored(subject, part.name, Check.TRAINING, own.error)]
    others = [answer.value for answer in answers if answer is not own and answer.error is None]
    return part.results(subject, given, expected, own.value, others)
