"""What blocks say: at each look every quantity of every cell is slower, fine, or not decided yet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from gate.blocks import Sample
from gate.plan import THRESHOLDS, Threshold
from gate.results import Effect, Quantity, SpeedVerdict
from gate.statistics import Limits, holm, limits, p_slower, smallest_effect, spent

#: A block is dropped where the control took so much longer than it usually does …
CONTROL_RATIO = 1.1
#: … but no more than this share of blocks, the worst first.
MOST_DROPPED = 0.2


@dataclass(frozen=True)
class Look:
    """One look at the blocks so far."""

    number: int
    looks: tuple[int, ...]
    alpha: float

    @property
    def level(self) -> float:
        """How often this look may err."""
        return spent(self.alpha, self.looks)[self.number]

    @property
    def is_last(self) -> bool:
        """Whether there is none after it."""
        return self.number == len(self.looks) - 1


@dataclass(frozen=True)
class Series:
    """The log ratios of one quantity of one cell, of the blocks that were kept."""

    quantity: Quantity
    logs: tuple[float, ...]
    before: float
    """What the baseline usually costs, in seconds or bytes."""
    dropped: int

    @property
    def threshold(self) -> Threshold:
        """From where on a change counts."""
        return THRESHOLDS[self.quantity]

    @property
    def counts_from(self) -> float:
        """The ratio from which on a slow-down counts: that of the threshold, or of the least change if more."""
        return max(self.threshold.slower, 1.0 + self.threshold.least / self.before)

    def is_little(self, log_ratio: float) -> bool:
        """Whether a change is too small to count, whatever its ratio."""
        return abs(math.expm1(log_ratio)) * self.before < self.threshold.least

    def is_large(self, log_ratio: float) -> bool:
        """Whether a change, up or down, is large enough to be named."""
        return abs(log_ratio) >= math.log(self.threshold.slower) and not self.is_little(log_ratio)


def kept(samples: Sequence[Sample]) -> list[Sample]:
    """The blocks in which the machine was as it usually is. Only the control decides, which knows of no side."""
    levels = [median(sample.control_s) for sample in samples]
    usual = median(levels)
    noisy = [place for place, level in enumerate(levels) if level > CONTROL_RATIO * usual]
    worst = sorted(noisy, key=lambda place: -levels[place])[: int(MOST_DROPPED * len(samples))]
    return [sample for place, sample in enumerate(samples) if place not in worst]


def series_of(samples: Sequence[Sample], quantity: Quantity) -> Series | None:
    """The log ratios of a quantity; None where a worker does not tell it."""
    told = [sample for sample in samples if sample.log_ratio(quantity) is not None]
    if not told:
        return None
    used = kept(told)
    logs = [log for sample in used if (log := sample.log_ratio(quantity)) is not None]
    costs = [pair[0] for sample in used if (pair := sample.pair(quantity)) is not None]
    return Series(quantity, tuple(logs), median(costs), len(told) - len(used))


def decide(series: Mapping[int, Series], slower_before: int, cells: int, look: Look) -> dict[int, Effect | None]:
    """The effect of each cell that is still open, for one quantity; None where the look decides nothing.

    Holm's levels are those of all `cells`, less the `slower_before` that earlier looks found slower (Maurer and Bretz
    2013); those that were found fine count on.
    """
    places = list(series)
    p_values = [p_slower(series[place].logs) for place in places]
    tested = holm(p_values, look.level, cells - slower_before)
    effects: dict[int, Effect | None] = {}
    for place, p, (rejected, level) in zip(places, p_values, tested, strict=True):
        one = series[place]
        found = limits(one.logs, level, look.level)
        verdict = _verdict(one, found, rejected, look.is_last)
        effects[place] = None if verdict is None else _effect(one, found, verdict, p, level)
    return effects


def _verdict(series: Series, found: Limits, rejected: bool, is_last: bool) -> SpeedVerdict | None:
    if rejected and series.is_large(found.estimate):
        return SpeedVerdict.SLOWER
    if found.high < math.log(series.threshold.ok) or (math.isfinite(found.high) and series.is_little(found.high)):
        is_faster = found.high < 0 and series.is_large(found.estimate)
        return SpeedVerdict.FASTER if is_faster else SpeedVerdict.OK
    return SpeedVerdict.UNDECIDED if is_last else None


def _effect(series: Series, found: Limits, verdict: SpeedVerdict, p: float, level: float) -> Effect:
    undecided = verdict is SpeedVerdict.UNDECIDED
    return Effect(
        quantity=series.quantity,
        verdict=verdict,
        estimate=math.exp(found.estimate),
        low=math.exp(found.low) if math.isfinite(found.low) else None,
        high=math.exp(found.high) if math.isfinite(found.high) else None,
        blocks=len(series.logs) + series.dropped,
        dropped=series.dropped,
        smallest_effect=smallest_effect(found, level, series.counts_from),
        p_slower=p,
        reason=f"the limits exclude neither no change nor {series.threshold.ok - 1:+.0%}" if undecided else "",
    )
