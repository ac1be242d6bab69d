"""Holds one output against what may have been computed instead, one alternative after the other."""

from dataclasses import dataclass, replace

import numpy as np

from conformance.caps import Rule
from conformance.checks import Distance, distance_to
from conformance.diagnosis.alternatives import ALL, FIRST, Alternative, Asked, Channels
from conformance.measure import Array
from conformance.reference import LayerReference
from conformance.results import Explanation

#: Two alternatives are one where they are nearer to each other than this, relative to their size.
SAME = 1e-9
#: So many differences at most are looked at to find the order of channels.
MOST_COMPARED = 10**9


@dataclass
class Judge:
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

    def on(self, asked: Asked, actual: Array) -> "Judge":
        """The same rules, for what else was asked and found."""
        own = LayerReference(asked.layer, asked.inputs, asked.value(), asked.scale())
        return Judge(actual, own, self.rule, self.computing)

    def compared(self, alternative: Alternative) -> Distance | None:
        """The error against an alternative; None where there is nothing to compare."""
        return self._against(alternative, ALL, ALL)

    def distance(self, alternative: Alternative) -> Distance | None:
        """The error against an alternative that explains the output; None against one that does not."""
        if not alternative.of_batch:
            few = alternative.few_channels()
            part = self._against(alternative, FIRST, few)
            if part is None or not part.within:
                return None
        whole = self._against(alternative, ALL, ALL)
        if whole is None or not whole.within:
            return None
        return whole if self._is_new() or alternative.told_anyway else None

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
