"""The part `gradients` of the training lane: every operator's own gradients, from known cotangents, and the loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.caps import caps
from conformance.checks import Subject
from conformance.diagnosis.forward import is_wrong
from conformance.diagnosis.gradients import GradientCase, diagnosed
from conformance.gradient_checks import gradient_results
from conformance.gradient_reference import GradientReference, gradient_reference
from conformance.measure import Array
from conformance.part import Given
from conformance.results import Result
from impls.client import Worker
from impls.protocol import Gradients
from spec.tensors import read, write


@dataclass(frozen=True)
class Expected:
    """The oracle's answer, and what every worker is asked."""

    reference: GradientReference
    request: Gradients
    """But for its output, which is each worker's own."""


@dataclass(frozen=True)
class Answer:
    """What a worker said."""

    loss: float
    gradients: Mapping[str, Array]


class GradientsPart:
    """Feeds every operator the same float32, forward and backward, and compares what it passes back."""

    name = "gradients"

    def skipped(self, given: Given) -> str:
        """Nothing: it applies wherever there is a loss."""
        return ""

    def expected(self, given: Given, folder: Path) -> Expected:
        """The oracle's gradients; what workers are fed goes to `folder`."""
        x = read(given.input)[given.network.input.name]
        reference = gradient_reference(
            given.network, given.training.loss, read(given.weights), x, given.case.seed, caps()
        )
        fed = reference.fed
        files: dict[str, Mapping[str, Array]] = {
            "substitutes": fed.substitutes,
            "cotangents": fed.cotangents,
            "masks": fed.masks,
            "labels": {"labels": fed.labels},
        }
        for name, tensors in files.items():
            write(folder / f"{name}.safetensors", tensors)
        paths = {name: str(folder / f"{name}.safetensors") for name in files}
        return Expected(reference, Gradients(input=str(given.input), output="", **paths))

    def ask(self, worker: Worker, given: Given, expected: Expected, folder: Path) -> Answer:
        """What a worker answers; raises WorkerError."""
        output = folder / "gradients.safetensors"
        loss = worker.gradients(replace(expected.request, output=str(output)))
        return Answer(loss, read(output))

    def results(
        self, subject: Subject, given: Given, expected: Expected, own: Answer, others: Sequence[Answer]
    ) -> list[Result]:
        """One variant's gradients and loss against the oracle's; what others answered decides nothing."""
        results = gradient_results(subject, expected.reference, own.gradients, own.loss, caps())
        if not any(map(is_wrong, results)):
            return results
        case = GradientCase(
            network=given.network,
            stated=given.training.loss,
            reference=expected.reference,
            tensors=read(given.weights),
            x=read(given.input)[given.network.input.name],
            variant=subject.variant,
        )
        return diagnosed(case, results, own.gradients, own.loss, caps())
