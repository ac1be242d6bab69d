"""Exact statistics of paired log ratios: limits of their median, levels of sequential looks, Holm.

Verdicts assume no normal distribution. Where both sides are the same program, it is chance which of two processes is
called the candidate, so that the log ratios of blocks lie symmetrically about 0 by design; that is all that the signed
rank test asks for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

#: How often a slow-down of the size that is named as the smallest visible one would be seen.
POWER = 0.9


@dataclass(frozen=True)
class Limits:
    """The Hodges–Lehmann estimate of a median, and its one-sided limits, each at a level of its own."""

    estimate: float
    low: float
    high: float


@cache
def tails(n: int) -> tuple[float, ...]:
    """P(W ≤ w) for w = 0, 1, …: W is the sum of the ranks of positive values, of n without effect (Wilcoxon 1945)."""
    counts = [1]
    for rank in range(1, n + 1):  # every rank is positive or not
        longer = counts + [0] * rank
        for place, count in enumerate(counts):
            longer[place + rank] += count
        counts = longer
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total / 2**n)
    return tuple(sums)


def walsh_averages(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """All averages of two values, each also with itself, in ascending order."""
    array = np.asarray(values, np.float64)
    left, right = np.triu_indices(len(array))
    return np.sort((array[left] + array[right]) / 2.0)


def limits(values: Sequence[float], low_level: float, high_level: float) -> Limits:
    """The estimate and its limits, below or above which the median lies with at most the given probabilities each.

    A limit is infinite where so few values cannot give it (Hodges and Lehmann 1963; Hollander and Wolfe, §3.2–3.3).
    """
    averages = walsh_averages(values)
    below, above = _rank(len(values), low_level), _rank(len(values), high_level)
    return Limits(
        estimate=float(np.median(averages)),
        low=-math.inf if below is None else float(averages[below]),
        high=math.inf if above is None else float(averages[-1 - above]),
    )


def _rank(n: int, level: float) -> int | None:
    """The largest w with P(W ≤ w) ≤ level, which is the place of the limit among the Walsh averages; or none."""
    place = int(np.searchsorted(np.asarray(tails(n)), level, side="right")) - 1
    return place if place >= 0 else None


def p_slower(values: Sequence[float]) -> float:
    """How probable so many positive Walsh averages are where the median is 0; zeros count as not positive."""
    positive = int(np.count_nonzero(walsh_averages(values) > 0))
    return _upper_tail(len(values), positive)


def _upper_tail(n: int, w: int) -> float:
    """P(W ≥ w), by the symmetry of W about half its largest value."""
    largest = n * (n + 1) // 2
    return tails(n)[largest - w] if w else 1.0


def spent(alpha: float, looks: Sequence[int]) -> tuple[float, ...]:
    """The level of each look. They add up to alpha, so that all looks together err at most so often.

    Spent as Lan and DeMets (1983) do in Pocock's manner, α·ln(1 + (e − 1)·t) after a share t of the blocks: much of it
    at the first look, because most runs should end there. Looks are added (Bonferroni) instead of joined by their
    correlation: nothing need be known of that, and a dropped block changes nothing.
    """
    cumulated = [alpha * math.log(1.0 + (math.e - 1.0) * look / looks[-1]) for look in looks]
    return tuple(now - before for before, now in zip([0.0, *cumulated], cumulated, strict=False))


def holm(p_values: Sequence[float], level: float, hypotheses: int) -> tuple[tuple[bool, float], ...]:
    """Whether each is rejected, and the level that it had to keep (Holm 1979).

    `hypotheses` counts those that are not rejected yet, of which `p_values` may lack some that nobody asks any more.
    """
    results: list[tuple[bool, float]] = [(False, 0.0)] * len(p_values)
    left, going = hypotheses, True
    for place in sorted(range(len(p_values)), key=lambda place: p_values[place]):
        kept = level / left
        going = going and p_values[place] <= kept
        results[place] = (going, kept)
        left -= going
    return tuple(results)


def smallest_effect(found: Limits, low_level: float, at_least: float) -> float | None:
    """The slow-down, as a ratio less 1, that blocks like these call by its name in 9 of 10 runs; None: no such.

    The lower limit is as far below the estimate as it is whatever the effect. An effect must exceed that distance, and
    more by what the estimate itself may stray, whose standard error is the distance over the normal quantile.
    """
    distance = found.estimate - found.low
    if not math.isfinite(distance):
        return None
    normal = NormalDist()
    error = distance / normal.inv_cdf(1.0 - low_level)
    stray = normal.inv_cdf(POWER) * error
    return math.expm1(max(distance, math.log(at_least)) + stray)
