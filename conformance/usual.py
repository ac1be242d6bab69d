"""How far is too far where rounding errors of many operators add up: so many times what is usual among correct ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, sqrt
from statistics import geometric_mean, median_high, median_low
from typing import Protocol

from conformance.results import Divergence
from conformance.strays import Stray


class Spread(Protocol):
    """A rule of caps.toml that allows so many times the usual error."""

    @property
    def factor(self) -> float:
        """How many times."""

    @property
    def sigmas(self) -> float:
        """The factor grows by exp(sigmas / √n) where errors are spread over n elements only."""


class Factor(Spread, Protocol):
    """One that says besides what error is usual."""

    @property
    def floor(self) -> float:
        """One rounding, over the size of the tensor: nothing is wrong, however good the others are."""

    @property
    def least(self) -> float:
        """How many times the error of NumPy's float32 is usual at least, however near to it the others are."""

    @property
    def most(self) -> float:
        """How many times the error of NumPy's float32 is usual at most, however far from it the others are."""


@dataclass(frozen=True)
class Judged:
    """An error beside what it may be."""

    stray: Stray
    usual: float
    """RMS error of those it is compared with."""
    factor: float
    """How many times that it may be."""

    @property
    def ratio(self) -> float:
        """How many times the usual error it is."""
        if self.stray.rms == 0:
            return 0.0
        return self.stray.rms / self.usual if self.usual > 0 else inf

    @property
    def diverged(self) -> bool:
        """Whether it is more than it may be."""
        return self.ratio > self.factor

    def divergence(self, place: str) -> Divergence | None:
        """Where it is furthest from what was expected, if it could be compared."""
        if self.stray.unusable:
            return None
        return Divergence(
            index=self.stray.index,
            actual=self.stray.actual,
            expected=self.stray.expected,
            found=self.ratio,
            unit=f"times the usual RMS error {self.usual:.3g}",
            cap=self.factor,
            place=place,
        )


def judged(own: Stray, peers: Sequence[Stray], yardstick: Stray | None, size: float, rule: Factor) -> Judged:
    """The error `own` of a tensor of that size (RMS) beside those of its peers, and of NumPy's float32 if given."""
    usual = usual_among([peer.rms for peer in peers], yardstick.rms if yardstick else None, rule.floor * size, rule)
    # The peers' errors, not its own, say over how many elements errors are spread: no fault may widen its own cap.
    spread = [each.elements for each in (*peers, yardstick) if each and isfinite(each.rms)]
    return Judged(own, usual, widened(rule, median_low(spread or [own.elements])))


def usual_among(peers: Sequence[float], yardstick: float | None, floor: float, rule: Factor) -> float:
    """The usual one of RMS errors, of which none counts as less than `floor`.

    NumPy's sums are among the best that there are, and right ones of another order stray several times as far. But all
    peers may be wrong in the same way, since they share a spec and what writes their sources; NumPy is not.
    """
    errors = [error for error in (*peers, yardstick) if error is not None and isfinite(error)]
    usual = usual_error([max(error, floor) for error in errors] or [floor])
    if yardstick is None:
        return usual
    own = max(yardstick, floor)
    return min(max(usual, rule.least * own), rule.most * own)


def usual_error(errors: Sequence[float]) -> float:
    """The median of bits: a wrong peer beside one right one must not make everything usual."""
    low, high = median_low(errors), median_high(errors)
    return geometric_mean((low, high)) if low > 0 else low


def widened(rule: Spread, elements: float) -> float:
    """How many times the usual error is allowed to errors that are spread over so many elements."""
    return rule.factor * exp(rule.sigmas / sqrt(elements))
