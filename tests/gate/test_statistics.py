import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gate.statistics import (
    holm,
    limits,
    p_slower,
    smallest_effect,
    spent,
    tails,
    walsh_averages,
)

RANDOM = np.random.default_rng(5)


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_signed_rank_distribution_is_that_of_all_signs(n: int) -> None:
    sums = [sum(itertools.compress(range(1, n + 1), signs)) for signs in itertools.product((0, 1), repeat=n)]
    expected = [sum(value <= w for value in sums) / 2**n for w in range(n * (n + 1) // 2 + 1)]
    assert tails(n) == pytest.approx(expected)


@pytest.mark.parametrize("n", [6, 12, 20, 32])
def test_p_is_that_of_the_exact_wilcoxon_test(n: int) -> None:
    values = RANDOM.normal(0.3, 1.0, n)
    expected = stats.wilcoxon(values, alternative="greater", method="exact").pvalue
    assert p_slower(list(values)) == pytest.approx(float(expected))


def test_walsh_averages_are_all_pairs_with_themselves() -> None:
    assert walsh_averages([1.0, 3.0, 8.0]).tolist() == [1.0, 2.0, 3.0, 4.5, 5.5, 8.0]


@pytest.mark.parametrize(("n", "level"), [(12, 0.025), (12, 0.0005), (20, 0.01), (32, 0.001)])
def test_lower_limit_exceeds_zero_just_when_the_test_rejects(n: int, level: float) -> None:
    seen = set()
    for shift in np.linspace(-0.5, 2.5, 61):
        values = list(RANDOM.normal(shift, 1.0, n))
        rejected = p_slower(values) <= level
        assert (limits(values, level, level).low > 0) == rejected
        seen.add(rejected)
    assert seen == {True, False}


def test_limits_are_mirrored_where_values_are() -> None:
    values = list(RANDOM.normal(0.2, 1.0, 15))
    found, mirrored = limits(values, 0.02, 0.05), limits([-value for value in values], 0.05, 0.02)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))
    assert mirrored.estimate == pytest.approx(-found.estimate)


def test_limits_err_no_more_often_than_their_levels() -> None:
    values = RANDOM.standard_t(3, (4000, 12))
    found = [limits(list(row), 0.05, 0.05) for row in values]
    for errors in (sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)):
        assert 0.03 < errors / len(found) < 0.06


def test_too_few_values_give_no_limit() -> None:
    found = limits([0.1, 0.2, 0.3], 0.05, 0.05)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert smallest_effect(found, 0.05, 1.02) is None


def test_equal_values_are_their_own_limits() -> None:
    found = limits([0.25] * 12, 0.01, 0.01)
    assert (found.estimate, found.low, found.high) == (0.25, 0.25, 0.25)


def test_unchanged_values_are_no_evidence_of_slower() -> None:
    assert p_slower([0.0] * 12) == 1.0
    assert not limits([0.0] * 12, 0.05, 0.05).low > 0


@pytest.mark.parametrize("looks", [(12, 20, 32), (32,), (4, 8)])
def test_levels_of_looks_add_up_to_alpha(looks: tuple[int, ...]) -> None:
    levels = spent(0.05, looks)
    assert sum(levels) == pytest.approx(0.05)
    assert all(level > 0 for level in levels)


def test_first_look_can_decide_with_a_dozen_cells() -> None:
    level = spent(0.05, (12, 20, 32))[0] / 12
    assert tails(12)[0] <= level


def test_holm_rejects_step_by_step_and_stops_at_the_first_that_stays() -> None:
    assert [rejected for rejected, _ in holm([0.01, 0.04, 0.03, 0.005], 0.05, 4)] == [True, False, False, True]
    assert [kept for _, kept in holm([0.01, 0.04, 0.03, 0.005], 0.05, 4)] == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4]
    )


def test_holm_counts_hypotheses_that_are_no_longer_asked() -> None:
    assert [rejected for rejected, _ in holm([0.02], 0.05, 1)] == [True]
    assert [rejected for rejected, _ in holm([0.02], 0.05, 4)] == [False]


@pytest.mark.parametrize("n", [12, 32])
def test_smallest_effect_is_seen_nine_times_of_ten(n: int) -> None:
    level, sd = 0.01, 0.02
    effects = [smallest_effect(limits(list(row), level, level), level, 1.02) for row in RANDOM.normal(0, sd, (400, n))]
    shift = math.log1p(float(np.median([effect for effect in effects if effect is not None])))
    seen = 0
    for row in RANDOM.normal(shift, sd, (2000, n)):
        found = limits(list(row), level, level)
        seen += found.low > 0 and found.estimate >= math.log(1.02)
    assert 0.85 < seen / 2000 < 0.96


def test_smallest_effect_is_never_below_the_threshold() -> None:
    found = limits([1e-6 * place for place in range(12)], 0.01, 0.01)
    assert smallest_effect(found, 0.01, 1.02) == pytest.approx(0.02, abs=1e-4)
