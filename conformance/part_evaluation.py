"""The part of the lane that predicts: views of whole images, averaged as the spec says, and what they get wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from pathlib import Path

import numpy as np

from conformance.caps import caps
from conformance.checks import Subject
from conformance.diagnosis.evaluation import diagnosed
from conformance.evaluation import Average, mean, top_error_percent
from conformance.evaluation_oracle import Prediction, Predictions, predictions, whole_images
from conformance.measure import Array, effective_bits
from conformance.oracle import softmax
from conformance.part import Given
from conformance.results import Check, Outcome, Result
from conformance.strays import stray
from conformance.usual import Judged, judged
from impls.client import Worker, WorkerError
from impls.protocol import Predict
from spec.store import Store
from spec.tensors import read, write

SMALL_MACS = 50_000_000
"""Of a network with more than these one image is predicted, by one network: ten views take the oracle seconds."""
IMAGES = 8
"""Of a smaller one."""
PROBABILITIES, ENSEMBLE = "probabilities", "ensemble"
"""The taps of results about what one network predicts, and two together."""


@dataclass(frozen=True)
class Expected:
    """What workers are asked, and the oracle's answer."""

    images: Path
    weights: list[Path]
    """Of each network."""
    predictions: Predictions


class EvaluationPart:
    """Has whole images predicted, by one network or by two."""

    name = "evaluation"

    def skipped(self, given: Given) -> str:
        """It applies where the spec says how the network is evaluated, and with weights that tell images apart."""
        if given.network.evaluation is None:
            return "the network has no section 'evaluation'"
        if given.case.weights == "paper":
            return "with the weights that training begins with, all images have nearly the same prediction"
        return ""

    def expected(self, given: Given, folder: Path) -> Expected:
        """The oracle's predictions, and the yardstick's."""
        network, seed, stated = given.network, given.case.seed, given.network.evaluation
        assert stated is not None
        small = network.macs <= SMALL_MACS
        images = whole_images(network, seed, IMAGES if small else 1)
        path = folder / "images.safetensors"
        write(path, {"images": images})
        weights = [given.weights, *([Store().weights_file(network, "scaled", seed + 1)] if small else [])]
        return Expected(path, weights, predictions(network, stated, weights, images))

    def ask(self, worker: Worker, given: Given, expected: Expected, folder: Path) -> list[Array]:
        """Probabilities by each network; in the end the worker has the weights loaded that it had."""
        loaded, found = worker.loaded, []
        output = folder / "probabilities.safetensors"
        for weights in expected.weights:
            if loaded is not None and weights != given.weights:
                worker.load(replace(loaded, weights=str(weights)))
            worker.write(Predict(str(expected.images), str(output)))
            found.append(_read(output, worker.name))
        if loaded is not None and worker.loaded != loaded:
            worker.load(loaded)
        return found

    def results(
        self, subject: Subject, given: Given, expected: Expected, own: list[Array], others: Sequence[list[Array]]
    ) -> list[Result]:
        """Probabilities, top-1 and top-5 errors, and probabilities of the ensemble."""
        stated = given.network.evaluation
        assert stated is not None
        wanted = expected.predictions
        dtype = subject.variant.dtype
        if dtype == "tf32" and not others:
            reason = f"no other variant in {dtype} to compare with"
            return [subject.result(self.name, Check.TRAINING, Outcome.SKIPPED, reason)]
        first = _judged(own[0], wanted.first, [other[0] for other in others], dtype)
        probabilities = _seen(_result(subject, PROBABILITIES, first, wanted.first), first, wanted.mirrored)
        if first.diverged:
            tensors, images = read(expected.weights[0]), read(expected.images)["images"]
            probabilities = diagnosed(probabilities, own[0], first, given.network, stated, tensors, images)
        results = [
            probabilities,
            *(_top_error(subject, k, own[0], wanted, first) for k in (1, 5)),
        ]
        if wanted.together is not None:
            shape, average = wanted.together.probabilities.shape, stated.average
            peers = [ensemble_of(other, shape, average) for other in others]
            together = _judged(ensemble_of(own, shape, average), wanted.together, peers, dtype)
            results.append(_result(subject, ENSEMBLE, together, wanted.together))
        return results


def _read(path: Path, framework: str) -> Array:
    written = read(path)
    if PROBABILITIES not in written:
        names = ", ".join(written) or "none"
        raise WorkerError("nonsense", f"{framework}: predict: expected {PROBABILITIES}, found {names:.80}")
    return written[PROBABILITIES].copy()


def _judged(own: Array, wanted: Prediction, others: Sequence[Array], dtype: str) -> Judged:
    peers = [stray(other, wanted.probabilities) for other in others]
    yardstick = None if dtype == "tf32" else wanted.yardstick
    return judged(stray(own, wanted.probabilities), peers, yardstick, wanted.size, caps().evaluation)


def _result(subject: Subject, tap: str, found: Judged, wanted: Prediction) -> Result:
    relative = found.stray.rms / wanted.size
    divergence = found.divergence(caps().evaluation.place) if found.diverged else None
    message = (found.stray.unusable or str(divergence)) if found.diverged else ""
    return replace(
        subject.result(tap, Check.EVALUATION, Outcome.FAILED if found.diverged else Outcome.PASSED, message),
        worst=found.ratio,
        unit="of the usual RMS error",
        rms=relative,
        effective_bits=effective_bits(relative),
        divergence=divergence,
    )


def _seen(result: Result, found: Judged, mirrored: float) -> Result:
    """The result, unless a wrong view would not have been seen."""
    seen = mirrored / (found.factor * found.usual)
    if seen >= caps().evaluation.seen or result.outcome is Outcome.FAILED:
        return result
    message = (
        f"vacuous: one mirrored view moves the probabilities by {seen:.2g} caps, expected {caps().evaluation.seen:g} "
        f"({caps().evaluation.place}); use other weights or inputs"
    )
    return replace(result, outcome=Outcome.FAILED, message=message)


def _top_error(subject: Subject, k: int, own: Array, wanted: Predictions, found: Judged) -> Result:
    """The error among the images whose label is not as probable as another class, within the allowed error."""
    tap = f"top{k}_error"
    exact, labels = wanted.first.probabilities, wanted.labels
    if own.shape != exact.shape:
        message = f"expected probabilities of shape {list(exact.shape)}, found {list(own.shape)}"
        return subject.result(tap, Check.EVALUATION, Outcome.FAILED, message)
    each = np.arange(len(labels))
    # No element is further off than all of them together, and both sides of a comparison may be.
    allowed = 2 * found.factor * found.usual * sqrt(exact.size)
    leads = np.abs(exact - exact[each, labels][:, None])
    leads[each, labels] = np.inf
    sure = leads.min(axis=1) > allowed
    if not sure.any():
        message = f"every label is as probable as another class, within the allowed error {allowed:.2g}"
        return subject.result(tap, Check.EVALUATION, Outcome.SKIPPED, message)
    count = min(k, exact.shape[1])
    expected, actual = (top_error_percent(scores[sure], labels[sure], count) for scores in (exact, own))
    if actual == expected:
        return subject.result(tap, Check.EVALUATION, Outcome.PASSED)
    message = f"of {sure.sum()} images expected {expected:g}% wrong, found {actual:g}%"
    return subject.result(tap, Check.EVALUATION, Outcome.FAILED, message)


def ensemble_of(members: Sequence[Array], shape: tuple[int, ...], average: Average) -> Array:
    """Probabilities of an ensemble from those of its members; logits are logarithms of them, but for a constant.

    A member of another shape is what comes out: there is nothing to average.
    """
    for member in members:
        if member.shape != shape:
            return member
    with np.errstate(divide="ignore", invalid="ignore"):
        wide = [member.astype(np.float64) for member in members]
        together = mean(wide) if average == "probabilities" else softmax(mean([np.log(member) for member in wide]))
    return together.astype(np.float32)
