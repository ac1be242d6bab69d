"""The training lane: each of its parts asks every worker that trains, and holds the answers against the oracle's."""

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from conformance.backpropagation import logits_tap
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

LANES = ("forward", "training")

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
NO_LOGITS = "the loss reads a vector of logits, and the network's output has rows and columns"
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
    logits = next(layer for layer in network.layers if layer.name == logits_tap(network))
    if len(logits.output_shape) != 1:
        return NO_LOGITS
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
    results: list[list[Result]] = [[] for _ in participants]
    subjects = [participant.subject(files.case) for participant in participants]
    apply = []
    for part in parts:
        if reason := part.skipped(given):
            for own, subject in zip(results, subjects, strict=True):
                own.append(subject.result(part.name, Check.TRAINING, Outcome.SKIPPED, reason))
        else:
            apply.append(part)
    with tempfile.TemporaryDirectory(prefix="lockstep-training-") as folder, threads_for(participants) as pool:
        for part, expected in _with_expected(apply, given, Path(folder)):
            ask = partial(_asked, part, given, expected, files, Path(folder) / part.name)
            answers = list(pool.map(ask, participants))
            for own, subject, answer in zip(results, subjects, answers, strict=True):
                if answer.error is not None:
                    own.append(errored(subject, part.name, Check.TRAINING, answer.error))
                    continue
                others = [other.value for other in answers if other is not answer and other.error is None]
                own += part.results(subject, given, expected, answer.value, others)
            shutil.rmtree(Path(folder) / part.name)
    return results


def _with_expected(parts: Sequence[Part], given: Given, folder: Path) -> Iterator[tuple[Part, Any]]:
    """Each part with the oracle's answer, which is made while the workers answer the part before it."""

    def made(part: Part) -> Any:
        own = folder / part.name
        own.mkdir()
        return part.expected(given, own)

    with ThreadPoolExecutor(1) as oracle:
        waiting = [*parts]
        upcoming = oracle.submit(made, waiting[0]) if waiting else None
        while upcoming is not None:
            part, expected = waiting.pop(0), upcoming.result()
            upcoming = oracle.submit(made, waiting[0]) if waiting else None
            yield part, expected


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
