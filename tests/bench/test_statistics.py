"""Ratios and their ranges, and when a warm-up is over."""

import numpy as np
import pytest

from bench.statistics import has_converged, ratio


def rounds(random: np.random.Generator, mean: float, mood: float, count: int = 12) -> list[list[float]]:
    """Durations around `mean`, whose rounds share a mood of the machine."""
    return [
        list(mean * np.exp(mood * random.standard_normal() + 0.02 * random.standard_normal(5))) for _ in range(count)
    ]


def test_interval_covers_the_true_ratio_in_nearly_all_of_200_runs() -> None:
    random = np.random.default_rng(7)
    covered = 0
    for seed in range(200):
        found = ratio(rounds(random, 2.0, 0.05), rounds(random, 1.0, 0.05), paired=False, seed=seed)
        covered += found.low <= 2.0 <= found.high
    assert covered >= 176  # 95% of 200, less what resampling of 12 rounds is known to miss


def test_a_difference_of_ten_percent_is_seen_and_none_is_not_invented() -> None:
    random = np.random.default_rng(8)
    slow, fast = rounds(random, 1.1, 0.01), rounds(random, 1.0, 0.01)
    assert ratio(slow, fast).is_certain
    assert ratio(slow, fast).value == pytest.approx(1.1, rel=0.03)
    assert not ratio(fast, rounds(random, 1.0, 0.01)).is_certain


def test_rounds_of_one_run_are_pairs_so_that_the_mood_of_the_machine_cancels() -> None:
    random = np.random.default_rng(9)
    moods = np.exp(0.3 * random.standard_normal(12))
    slow, fast = [[1.05 * mood] for mood in moods], [[1.0 * mood] for mood in moods]
    paired, unpaired = ratio(slow, fast), ratio(slow, fast, paired=False)
    assert paired.value == pytest.approx(1.05)
    assert paired.high - paired.low < 0.01 * (unpaired.high - unpaired.low)


@pytest.mark.parametrize(
    ("durations", "over"),
    [
        ([9.0, 1.0, 1.0, 1.01], True),
        ([9.0, 5.0, 3.0, 2.0], False),
        ([1.0, 1.0, 1.0], False),
        ([1.0, 1.2, 1.21, 1.22], False),
    ],
)
def test_warm_up_is_over_when_calls_have_settled(durations: list[float], over: bool) -> None:
    assert has_converged(durations) is over
