"""Errors of a tensor in one pass, against the plain formulas."""

import numpy as np
import pytest

from conformance.caps import caps
from conformance.measure import BLOCK, effective_elements
from conformance.strays import Stray, rms, stray
from conformance.usual import judged, usual_error

RANDOM = np.random.default_rng(0)


class Rule:
    factor, sigmas, floor, least, most = 3.0, 5.0, 4e-8, 3.4, 4.0


@pytest.mark.parametrize("shape", [(3,), (7, 5), (BLOCK,), (3, BLOCK + 1)])
def test_error_and_its_spread_are_those_of_the_formulas(shape: tuple[int, ...]) -> None:
    expected = RANDOM.standard_normal(shape)
    actual = (expected + 1e-6 * RANDOM.standard_normal(shape)).astype(np.float32)
    errors = actual - expected
    found = stray(actual, expected)
    assert found.rms == pytest.approx(np.sqrt(np.mean(errors**2)), rel=1e-12)
    assert found.elements == pytest.approx(effective_elements(errors), rel=1e-9)
    assert np.abs(errors)[found.index] == np.abs(errors).max()
    assert (found.actual, found.expected) == (actual[found.index], expected[found.index])
    assert rms(expected) == pytest.approx(np.sqrt(np.mean(expected**2)), rel=1e-12)


def test_equal_tensors_have_no_error_on_all_their_elements() -> None:
    expected = np.arange(12.0).reshape(3, 4)
    found = stray(expected.astype(np.float32), expected)
    assert (found.rms, found.elements) == (0.0, 12.0)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_infinitely_wrong_where_it_stands(wrong: float) -> None:
    expected = RANDOM.standard_normal((3, BLOCK))
    actual = expected.astype(np.float32)
    actual[1, 7] = wrong
    found = stray(actual, expected)
    assert (found.rms, found.index) == (np.inf, (1, 7))


def test_what_cannot_be_compared_says_why() -> None:
    expected = np.zeros((2, 3))
    assert stray(None, expected).unusable == "expected a tensor of that name, found none"
    assert stray(np.zeros((3, 2), np.float32), expected).unusable == "expected shape [2, 3], found [3, 2]"
    assert stray(expected, expected).unusable == "expected float32, found float64"
    assert stray(None, expected).rms == np.inf


def of(error: float, elements: float = 1e6) -> Stray:
    return Stray(error, elements)


def test_usual_is_the_median_of_the_peers_and_never_below_one_rounding() -> None:
    peers = [of(1e-7), of(2e-7), of(9e-7)]
    assert judged(of(5e-7), peers, None, 1.0, Rule()).usual == pytest.approx(2e-7)
    assert judged(of(5e-7), [of(0.0)], None, 2.0, Rule()).usual == pytest.approx(8e-8)
    assert judged(of(5e-7), [], None, 2.0, Rule()).usual == pytest.approx(8e-8)
    assert judged(of(5e-7), [of(np.inf), of(1e-7)], None, 1.0, Rule()).usual == pytest.approx(1e-7)


def test_three_times_the_usual_error_is_allowed_and_more_where_few_elements_have_it() -> None:
    assert not judged(of(2.9e-7), [of(1e-7)], None, 1.0, Rule()).diverged
    assert judged(of(3.2e-7), [of(1e-7)], None, 1.0, Rule()).diverged
    assert not judged(of(3.2e-7), [of(1e-7, 25)], None, 1.0, Rule()).diverged
    assert judged(of(9e-7, 25), [of(1e-7)], None, 1.0, Rule()).diverged, "its own spread must not widen its cap"
    assert judged(of(9e-7), [of(1e-7, 25)], None, 1.0, Rule()).diverged


def test_a_tensor_that_must_be_zero_may_have_no_error() -> None:
    assert not judged(of(0.0), [of(0.0)], None, 0.0, Rule()).diverged
    assert judged(of(1e-30), [of(0.0)], None, 0.0, Rule()).diverged


def test_a_wrong_peer_beside_a_right_one_does_not_make_everything_usual() -> None:
    assert usual_error([1e-7, 1e-1]) == pytest.approx(1e-4)
    assert usual_error([1e-7, 1e-7, 1e-1]) == pytest.approx(1e-7)


def test_peers_that_are_wrong_alike_make_nothing_usual_beside_the_yardstick() -> None:
    peers = [of(1e-3)] * 5
    assert judged(of(1e-3), peers, None, 1.0, Rule()).usual == pytest.approx(1e-3)
    assert judged(of(1e-3), peers, of(1e-7), 1.0, Rule()).usual == pytest.approx(4e-7)
    assert judged(of(1e-3), peers, of(0.0), 1.0, Rule()).usual == pytest.approx(1.6e-7)


def test_a_variant_beside_the_yardstick_alone_has_the_factor_of_timed_outputs() -> None:
    for peers in ([], [of(1e-7)], [of(2e-7)] * 3):
        assert judged(of(9.5e-7), peers, of(1e-7), 1.0, Rule()).usual == pytest.approx(3.4e-7)
        assert not judged(of(9.5e-7), peers, of(1e-7), 1.0, Rule()).diverged
        assert judged(of(1.1e-6), peers, of(1e-7), 1.0, Rule()).diverged
    for rule in (caps().trajectory, caps().evaluation):
        assert rule.factor * rule.least == pytest.approx(caps().timed_output.factor, rel=0.05)
        assert rule.least <= rule.most
