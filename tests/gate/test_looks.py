"""What a look says of blocks whose ratios a test chose."""

import math
from dataclasses import replace

import numpy as np
import pytest

from gate.blocks import Sample
from gate.looks import Look, Series, decide, kept, series_of
from gate.plan import THRESHOLDS, Plan
from gate.results import Effect, Quantity, SpeedVerdict

RANDOM = np.random.default_rng(2)
FIRST, LAST = Look(0, (12, 20, 32), 0.05), Look(2, (12, 20, 32), 0.05)


def series(effect: float, sd: float = 0.003, n: int = 12, before: float = 0.01, of: str = "steady state") -> Series:
    spread = np.linspace(-2, 2, n) * sd  # symmetrical, so that the estimate is the effect
    return Series(Quantity(of), tuple(math.log1p(effect) + spread), before, 0)


def one(of: Series, look: Look = FIRST, cells: int = 1) -> Effect | None:
    return decide({0: of}, 0, cells, look)[0]


def verdict(of: Series, look: Look = FIRST, cells: int = 1) -> SpeedVerdict | None:
    found = one(of, look, cells)
    return None if found is None else found.verdict


@pytest.mark.parametrize(
    ("effect", "expected"),
    [
        (0.0, SpeedVerdict.OK),
        (0.015, SpeedVerdict.OK),
        (0.025, SpeedVerdict.SLOWER),
        (0.10, SpeedVerdict.SLOWER),
        (-0.01, SpeedVerdict.OK),
        (-0.05, SpeedVerdict.FASTER),
    ],
)
def test_verdict_follows_from_limits_and_thresholds(effect: float, expected: SpeedVerdict) -> None:
    assert verdict(series(effect)) is expected


def test_wide_limits_go_on_and_are_undecided_at_the_end() -> None:
    assert verdict(series(0.01, sd=0.05)) is None
    assert verdict(series(0.01, sd=0.05, n=32), LAST) is SpeedVerdict.UNDECIDED


def test_change_that_is_certain_and_small_is_not_slower() -> None:
    found = one(series(0.015, sd=0.001))
    assert found is not None
    assert found.low is not None and found.low > 1.0
    assert found.verdict is SpeedVerdict.OK


def test_more_cells_ask_for_more_evidence() -> None:
    assert verdict(series(0.05), cells=200) is None
    assert verdict(series(0.05, n=32), LAST, cells=200) is SpeedVerdict.SLOWER


@pytest.mark.parametrize("quantity", [Quantity.FIRST_CALL, Quantity.BUILD, Quantity.IMPORT])
def test_large_ratio_of_little_time_is_ok_and_of_much_is_slower(quantity: Quantity) -> None:
    assert verdict(series(0.5, before=0.005, of=quantity)) is SpeedVerdict.OK
    assert verdict(series(0.5, before=5.0, of=quantity)) is SpeedVerdict.SLOWER
    assert verdict(series(0.05, before=5.0, of=quantity)) is SpeedVerdict.OK


@pytest.mark.parametrize(
    ("quantity", "before", "sd"),
    [
        ("first call", 0.010, 0.05),  # the least change, 20 ms, is +200%
        ("import", 0.200, 0.05),  # 50 ms are +25%
        ("import", 0.200, 0.15),
        ("peak memory", 10 * 2**20, 0.02),  # 1 MiB is +10%
        ("import", 5.0, 0.05),  # the threshold, +10%, is more than 50 ms
    ],
)
def test_smallest_effect_is_seen_in_nine_of_ten_runs_also_where_the_least_change_decides(
    quantity: str, before: float, sd: float
) -> None:
    """Over many series without an effect, of what each names: how often fresh blocks with it are `SLOWER`."""
    shares = []
    for _ in range(40):
        without = Series(Quantity(quantity), tuple(RANDOM.normal(0.0, sd, 12)), before, 0)
        found = decide({0: without}, 0, 1, Look(0, (12,), 0.025))[0]
        assert found is not None and found.smallest_effect is not None
        fresh = RANDOM.normal(math.log1p(found.smallest_effect), sd, (60, 12))
        again = [decide({0: replace(without, logs=tuple(logs))}, 0, 1, Look(0, (12,), 0.025))[0] for logs in fresh]
        shares.append(sum(own is not None and own.verdict is SpeedVerdict.SLOWER for own in again) / len(fresh))
    assert 0.85 <= np.mean(shares) <= 0.96


def test_every_quantity_has_thresholds_in_order_and_a_reason() -> None:
    assert set(THRESHOLDS) == set(Quantity)
    for threshold in THRESHOLDS.values():
        assert 1.0 < threshold.slower < threshold.ok
        assert threshold.reason


def test_false_alarms_of_a_family_are_no_more_than_alpha() -> None:
    plan, cells, families = Plan(), 5, 600
    alarms = 0
    for _ in range(families):
        values = RANDOM.normal(0.0, 0.05, (cells, plan.looks[-1]))  # so noisy that +2% is no hurdle
        found = False
        for number, look in enumerate(plan.looks):
            open_ones = {cell: Series(Quantity.STEADY, tuple(values[cell][:look]), 1.0, 0) for cell in range(cells)}
            effects = decide(open_ones, 0, cells, Look(number, plan.looks, plan.alpha)).values()
            found |= any(effect is not None and effect.verdict is SpeedVerdict.SLOWER for effect in effects)
        alarms += found
    assert 0 < alarms / families < plan.alpha + 0.02


def sample(control_s: float, log_ratio: float) -> Sample:
    turns = (((1.0,), (math.exp(log_ratio),)),) * 3
    return Sample((1, 1), (1, 1), (1, 1), (1, 1), turns, (control_s,) * 3)


def test_blocks_are_dropped_by_the_control_alone_and_few() -> None:
    samples = [sample(1.0, 0.5) for _ in range(7)] + [sample(2.0, 0.0), sample(3.0, 0.0), sample(1.5, 0.0)]
    assert [one.control_s[0] for one in kept(samples)] == [1.0] * 7 + [1.5]
    found = series_of(samples, Quantity.STEADY)
    assert found is not None
    assert (found.dropped, len(found.logs)) == (2, 8)
    little = [*samples[:7], sample(1.05, 9.0)]
    assert kept(little) == little


def test_dropping_does_not_depend_on_the_sides() -> None:
    samples = [sample(float(RANDOM.lognormal(0, 0.3)), float(RANDOM.normal())) for _ in range(20)]
    swapped = [
        Sample((1, 1), (1, 1), (1, 1), (1, 1), tuple((b, a) for a, b in one.turns), one.control_s) for one in samples
    ]
    places = [samples.index(one) for one in kept(samples)]
    assert 16 <= len(places) < 20
    assert [swapped.index(one) for one in kept(swapped)] == places
