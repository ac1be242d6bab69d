"""What may be said of durations: medians, and ratios with the range in which they lie."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians, with its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    @property
    def is_certain(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.low <= 1.0 <= self.high


def ratio(
    numerator: Sequence[Sequence[float]], denominator: Sequence[Sequence[float]], paired: bool = True, seed: int = 0
) -> Ratio:
    """Ratio of the medians of two variants' durations, each given round by round.

    The interval comes from resampling rounds, not samples: what a round's samples share (the machine's mood) is no
    independent evidence. Rounds of one run are pairs and are resampled together; those of two runs (`paired=False`), or
    of a run that was stopped within a round, are not.
    """
    random = np.random.default_rng(seed)
    above, below = _medians(numerator), _medians(denominator)
    if paired and len(above) == len(below):
        logs = np.log(above) - np.log(below)
        picks = random.integers(len(logs), size=(RESAMPLES, len(logs)))
        values = np.exp(np.median(logs[picks], axis=1))
        value = float(np.exp(np.median(logs)))
    else:
        values = _resampled(above, random) / _resampled(below, random)
        value = float(np.median(above) / np.median(below))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(values, (tail, 1.0 - tail))
    return Ratio(value, float(low), float(high))


def _medians(rounds: Sequence[Sequence[float]]) -> npt.NDArray[np.float64]:
    return np.array([np.median(samples) for samples in rounds if len(samples)])


def _resampled(medians: npt.NDArray[np.float64], random: np.random.Generator) -> npt.NDArray[np.float64]:
    picks = random.integers(len(medians), size=(RESAMPLES, len(medians)))
    values: npt.NDArray[np.float64] = np.median(medians[picks], axis=1)
    return values


#: Of fewer calls it cannot be said that they have settled.
FEWEST_TO_CONVERGE = 4


def has_converged(durations_s: Sequence[float]) -> bool:
    """Whether a warm-up is over: the last three calls are within 5% of each other, and of the quickest one."""
    if len(durations_s) < FEWEST_TO_CONVERGE:
        return False
    last = np.array(durations_s[-3:])
    return bool(last.max() <= 1.05 * last.min() and np.median(last) <= 1.05 * min(durations_s))
