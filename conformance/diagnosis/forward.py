"""Diagnoses the first operator that failed by itself: which changes of it would make what was found right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from conformance.caps import Caps, Rule
from conformance.checks import Distance, ForwardSubject, distance_to
from conformance.diagnosis.alternatives import ALL, FIRST, Alternative, Asked, Channels, Surroundings, alternatives
from conformance.diagnosis.notes import note
from conformance.diagnosis.precision import observed
from conformance.measure import Array
from conformance.reference import LayerReference, Reference
from conformance.results import Check, Explanation, Outcome, Result
from spec.network import Network

#: Two alternatives are one where they are nearer to each other than this, relative to their size.
SAME = 1e-9
#: So many differences at most are looked at to find the order of channels.
MOST_COMPARED = 10**9


def diagnosed(
    subject: ForwardSubject, results: Sequence[Result], trace: Mapping[str, Array], rules: Caps
) -> list[Result]:
    """The results of layer-local checks; the first that failed says what would explain it."""
    for index, result in enumerate(results):
        actual = trace.get(result.tap)
        if result.check is Check.LOCAL and is_wrong(result) and actual is not None and actual.dtype == np.float32:
            with np.errstate(all="ignore"):
                found, tried = _explained(subject, result, actual, rules)
            return [*results[:index], replace(result, explanations=found, tried=tried), *results[index + 1 :]]
    return list(results)


def is_wrong(result: Result) -> bool:
    """Whether what was found is wrong, and not what was asked too weak to tell."""
    return result.outcome is Outcome.FAILED and not result.message.startswith("vacuous")


def _explained(
    subject: ForwardSubject, result: Result, actual: Array, rules: Caps
) -> tuple[tuple[Explanation, ...], int]:
    """Explanations, best first, and how many alternatives were tried."""
    expected, variant = subject.reference, subject.variant
    reference = expected.local[result.tap]
    rule = rules.rule_for(reference.layer.operator.op, variant, subject.version)
    computing = rules.rule_for("tanh", variant, subject.version) if rule.measure == "exact" else rule
    judge = _Judge(actual.astype(np.float64), reference, rule, computing)
    tried, found = 0, []
    asked = Asked(reference.layer, reference.inputs, _own(reference, expected))
    for alternative in alternatives(asked, around(subject.network, expected)):
        tried += 1
        distance = judge.distance(alternative)
        if distance is not None:
            found.append((alternative.change, distance))
    operator = reference.layer.operator.op
    if not found and (reordered := judge.reordered()) is not None:
        found.append(("output: channels in another order", reordered))
    best: dict[str, Distance] = {}
    for change, distance in sorted(found, key=lambda each: each[1].error.rms):
        best.setdefault(change, distance)
    explanations = [
        judge.explanation(change, distance, note(operator, change, variant.framework))
        for change, distance in best.items()
    ]
    if not explanations and actual.shape == reference.value.shape:
        explanations = [
            replace(each, note=note(operator, each.change, variant.framework))
            for each in observed(judge.actual, reference, rule)
        ]
    return tuple(explanations), tried


def _own(reference: LayerReference, expected: Reference) -> dict[str, Array]:
    """In float32, as loaded: the oracle widens them block by block."""
    return {name: expected.tensors[name] for name in reference.layer.tensor_shapes}


def around(network: Network, expected: Reference) -> Surroundings:
    """What operators read, and all tensors."""
    taps: dict[str, Array] = {name: value.astype(np.float64) for name, value in expected.substitutes.items()}
    for own in expected.local.values():
        for read, value in zip(own.layer.operator.reads, own.inputs, strict=True):
            taps.setdefault(read, value)
    return Surroundings(network, taps, expected.tensors, {name: own.value for name, own in expected.local.items()})


@dataclass
class _Judge:
    """Holds one output against one alternative after the other."""

    actual: Array
    reference: LayerReference
    rule: Rule
    computing: Rule
    """For an alternative that computes something where the operator computes nothing."""

    def __post_init__(self) -> None:
        shape = self.reference.value.shape
        self.before = distance_to(self.actual, self.reference, self.rule) if self.actual.shape == shape else None
        self.seen: list[Array] = []

    def distance(self, alternative: Alternative) -> Distance | None:
        """The error against an alternative that explains the output; None against one that does not."""
        if not alternative.of_batch:
            few = alternative.few_channels()
            part = self._against(alternative, FIRST, few)
            if part is None or not part.within:
                return None
        whole = self._against(alternative, ALL, ALL)
        return whole if whole is not None and whole.within and self._is_new() else None

    def _against(self, alternative: Alternative, images: slice, channels: Channels) -> Distance | None:
        try:
            value, scale = alternative.expected(images, channels)
        except (ValueError, IndexError):  # shapes that do not fit an alternative are no explanation
            return None
        actual = alternative.undo(self.actual[images])
        if actual.ndim > 1 and not isinstance(channels, slice):
            actual = actual[:, channels] if channels.max() < actual.shape[1] else actual
        if value.shape != actual.shape or not np.isfinite(value).all():
            return None
        rule = self.rule if alternative.exact else self.computing
        layer = alternative.asked.layer
        if scale is None and rule.measure in ("noise", "rounded_noise", "twice_rounded_noise"):
            return None
        self._value = value
        inputs = tuple(x[images] for x in alternative.asked.inputs)
        return distance_to(actual, LayerReference(layer, inputs, value, scale), rule)

    def reordered(self) -> Distance | None:
        """The error where each channel is the nearest of the right ones, if every right one is some channel's."""
        y, scale = self.reference.value, self.reference.scale
        if y.shape != self.actual.shape or scale is None or y.shape[1] ** 2 * y.size > MOST_COMPARED:
            return None
        own, right = (np.moveaxis(values, 1, 0).reshape(y.shape[1], -1) for values in (self.actual, y))
        nearest = np.array([int(np.square(right - channel).sum(axis=1).argmin()) for channel in own])
        if len(set(nearest.tolist())) < len(nearest):
            return None
        moved = replace(self.reference, value=y[:, nearest], scale=scale[:, nearest])
        distance = distance_to(self.actual, moved, self.rule)
        return distance if distance.within else None

    def _is_new(self) -> bool:
        """Whether no alternative before it came to the same."""
        size = float(np.abs(self._value).max())
        if any(
            seen.shape == self._value.shape and np.abs(seen - self._value).max() <= SAME * size for seen in self.seen
        ):
            return False
        self.seen.append(self._value)
        return True

    def explanation(self, change: str, after: Distance, said: str) -> Explanation:
        """An explanation by the RMS errors; by the worst elements where those alone are too far off."""
        if self.before is None:
            return Explanation(change, float("inf"), after.error.rms, after.unit, said)
        before = self.before
        if before.unit != after.unit:
            before = distance_to(self.actual, self.reference, self.computing)
        by_rms = self.rule.rms is None or before.over_rms
        was, left = (each.rms if by_rms else each.worst for each in (before.error, after.error))
        return Explanation(change, was, left, after.unit, said)
