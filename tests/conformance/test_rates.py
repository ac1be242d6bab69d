"""Exact intervals of counted rates."""

import pytest

from conformance.rates import rate_interval, rate_upper_bound


def test_exact_interval_of_a_rate() -> None:
    assert rate_interval(0, 60) == pytest.approx((0.0, 1 - 0.025 ** (1 / 60)))
    assert rate_interval(20, 20) == pytest.approx((0.025 ** (1 / 20), 1.0))
    assert rate_upper_bound(0, 60) == pytest.approx(1 - 0.05 ** (1 / 60))
