"""Noise units, ULP, bits and precision classes: by their definitions, and on sums whose precision is known."""

from math import inf, nan, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance import measure
from tests.conformance.second_formulations import Array, rounded

U = 2.0**-24


def column(*values: float) -> Array:
    return np.array(values, np.float64)


def random_sum(terms: int, scale_x: float = 1.0, scale_w: float = 1.0) -> tuple[Array, Array, Array, Array]:
    """Float32 rows of x (64, terms) and w (48, terms), their products' sums in float64, and S."""
    random = np.random.default_rng(terms)
    x = (random.standard_normal((64, terms)) * scale_x).astype(np.float32)
    w = (random.standard_normal((48, terms)) * scale_w).astype(np.float32)
    x64, w64 = x.astype(np.float64), w.astype(np.float64)
    return x, w, x64 @ w64.T, np.sqrt((x64**2) @ (w64**2).T)


def sequential(x: Array, w: Array) -> Array:
    """The sums in float32, one product after the other."""
    y = np.zeros((len(x), len(w)), np.float32)
    for term in range(x.shape[1]):
        y += np.outer(x[:, term], w[:, term])
    return y


def noise_rms(actual: Array, expected: Array, scale: Array) -> float:
    return measure.error_in(measure.noise(actual.astype(np.float64), expected, scale)).rms


@settings(deadline=None)
@given(st.floats(1e-3, 1e3), st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_noise_is_the_error_over_u_and_s(error: float, expected: float, scale: float) -> None:
    actual = expected + error * U * scale
    found = measure.noise(column(actual), column(expected), column(scale))[0]
    assert found == pytest.approx((actual - expected) / (U * scale), rel=1e-12)


@pytest.mark.parametrize("scale", [2.0**-40, 2.0**-3, 2.0**17])
def test_noise_does_not_depend_on_the_scale_of_weights_or_data(scale: float) -> None:
    x, w, expected, size = random_sum(1000)
    before = noise_rms(sequential(x, w), expected, size)
    for x_scale, w_scale in ((scale, 1.0), (1.0, scale), (scale, scale)):
        factor = x_scale * w_scale
        actual = sequential(x * np.float32(x_scale), w * np.float32(w_scale))
        assert noise_rms(actual, expected * factor, size * factor) == pytest.approx(before, rel=1e-9)


@pytest.mark.parametrize("terms", [363, 1728, 4096])
def test_correct_float32_sums_have_a_noise_of_two_to_twenty_units_in_any_order(terms: int) -> None:
    x, w, expected, scale = random_sum(terms)
    for actual in (sequential(x, w), x @ w.T):
        found = noise_rms(actual, expected, scale)
        assert 2 <= found <= 20
        assert measure.precision_class(found) == "float32"


def test_the_longest_sum_of_alexnet_in_one_sequence_is_still_float32() -> None:
    x, w, expected, scale = random_sum(9216)
    found = noise_rms(sequential(x, w), expected, scale)
    assert 20 <= found <= 40  # grows as the root of the length; the cap is 64
    assert measure.precision_class(found) == "float32"


@pytest.mark.parametrize("terms", [363, 2304, 9216])
@pytest.mark.parametrize(("kind", "about"), [("tf32", 4_900), ("bfloat16", 39_500)])
def test_products_of_rounded_inputs_have_the_noise_of_their_class(kind: str, about: float, terms: int) -> None:
    x, w, expected, scale = random_sum(terms)
    coarse = [rounded(values, "tf32" if kind == "tf32" else "bfloat16") for values in (x, w)]
    found = noise_rms(sequential(*coarse), expected, scale)
    assert about / 2 <= found <= about * 2
    assert measure.precision_class(found) == kind


def test_rounding_to_tf32_and_bfloat16_keeps_ten_and_seven_bits() -> None:
    x = np.array([1 + 2.0**-10, 1 + 2.0**-11, 1 + 3 * 2.0**-11, 1 + 2.0**-7, 1 + 2.0**-8, -1 - 2.0**-8 - 2.0**-20])
    assert rounded(x, "tf32").tolist() == [1 + 2.0**-10, 1.0, 1 + 2.0**-9, 1 + 2.0**-7, 1 + 2.0**-8, -1 - 2.0**-8]
    assert rounded(x, "bfloat16").tolist() == [1.0, 1.0, 1.0, 1 + 2.0**-7, 1.0, -1 - 2.0**-7]


def test_noise_that_no_precision_explains_has_no_class() -> None:
    assert measure.precision_class(1e6) == "none"
    assert measure.precision_class(inf) == "none"
    assert measure.precision_class(nan) == "none"
    assert measure.precision_class(0.0) == "float32"


def test_noise_without_scale_allows_no_error() -> None:
    assert measure.noise(column(0.0, 1e-30), column(0.0, 0.0), column(0.0, 0.0)).tolist() == [0.0, inf]


@pytest.mark.parametrize("actual", [nan, inf, -inf])
def test_what_is_no_number_is_infinitely_wrong_in_every_unit(actual: float) -> None:
    y, expected = column(1.0, actual), column(1.0, 1.5)
    for units in (
        measure.noise(y, expected, column(1.0, 1.0)),
        measure.ulp(y, expected),
        measure.differences(y, expected),
        measure.log_units(y[None], expected[None], expected[None])[0],
    ):
        found = measure.error_in(units)
        assert (found.worst, found.rms, found.index) == (inf, inf, (1,))
    assert measure.relative_rms(y, expected) == inf


@pytest.mark.parametrize("expected", [nan, inf])
def test_nothing_is_near_an_oracle_that_is_no_number(expected: float) -> None:
    for actual in (1.0, nan, inf):
        y, y64 = column(1.0, actual), column(1.0, expected)
        assert measure.error_in(measure.noise(y, y64, column(1.0, 1.0))).worst == inf
        assert measure.error_in(measure.ulp(y, y64)).worst == inf
        assert measure.relative_rms(y, y64) == inf


def test_the_worst_error_is_found_where_it_is() -> None:
    units = np.zeros((2, 3, 5))
    units[1, 0, 4] = -7.0
    units[0, 2, 1] = 6.0
    found = measure.error_in(units)
    assert (found.worst, found.index) == (7.0, (1, 0, 4))
    assert found.rms == pytest.approx(sqrt((49 + 36) / 30))


@pytest.mark.parametrize(
    ("expected", "next_up"),
    [
        (1.0, 1.0 + 2.0**-23),
        (2.0, 2.0 + 2.0**-22),
        (1.5, 1.5 + 2.0**-23),
        (-4.0, -4.0 - 2.0**-21),
        (2.0**100, 2.0**100 + 2.0**77),
        (2.0**127 * 1.5, 2.0**127 * 1.5 + 2.0**104),
        (2.0**-100, 2.0**-100 + 2.0**-123),
    ],
)
def test_the_next_float32_away_from_zero_is_one_ulp_off(expected: float, next_up: float) -> None:
    assert abs(measure.ulp(column(next_up), column(expected))[0]) == 1.0


def test_below_a_power_of_two_the_next_float32_is_half_an_ulp_off() -> None:
    assert measure.ulp(column(1.0 - 2.0**-24), column(1.0))[0] == -0.5


def test_ulp_are_those_of_the_float32_nearest_to_the_oracle() -> None:
    assert measure.ulp(column(1.0 + 2.0**-23), column(1.0 - 2.0**-30))[0] == pytest.approx(1.0, rel=1e-2)


def test_the_largest_float32_has_an_ulp_too() -> None:
    largest = float(np.finfo(np.float32).max)
    assert measure.ulp(column(largest - 2.0**105), column(largest))[0] == -2.0
    assert measure.error_in(measure.ulp(column(inf), column(1e39))).worst == inf


@given(st.floats(-(2.0**-127), 2.0**-127))
def test_denormals_may_be_flushed_to_zero(expected: float) -> None:
    assert measure.ulp(column(0.0), column(expected))[0] == 0.0


def test_what_is_larger_than_denormals_may_not_be_flushed() -> None:
    assert abs(measure.ulp(column(0.0), column(2.0**-124))[0]) == 2.0**23
    assert abs(measure.ulp(column(1e-30), column(0.0))[0]) > 1e10


def test_log_units_scale_with_the_largest_logit() -> None:
    expected = np.array([[0.25, 0.75]])
    actual = expected * np.exp(np.array([[8 * U * 100, -3 * U * 100]]))
    logits = np.array([[3.0, -100.0]])
    np.testing.assert_allclose(measure.log_units(actual, expected, logits), [[8.0, -3.0]], rtol=1e-6)


def test_log_units_of_small_logits_are_those_of_one() -> None:
    expected = np.array([[0.5, 0.5]])
    found = measure.log_units(expected * np.exp(4 * U), expected, np.array([[0.1, 0.1]]))
    np.testing.assert_allclose(found, [[4.0, 4.0]], rtol=1e-6)


def test_log_units_let_a_probability_vanish_only_if_float32_cannot_say_it() -> None:
    logits = np.array([[200.0, -200.0]])
    expected = np.array([[1.0, 1e-170]])
    for right in (0.0, 1e-44):
        assert measure.log_units(np.array([[1.0, right]]), expected, logits).tolist() == [[0.0, 0.0]]
    # TensorFlow's softmax gives 0 for exp(-86.7), which is just above the smallest normal number; never for twice that.
    assert measure.log_units(np.array([[1.0, 0.0]]), np.array([[1.0, 2.3e-38]]), logits).tolist() == [[0.0, 0.0]]
    assert measure.error_in(measure.log_units(np.array([[1.0, 0.0]]), np.array([[1.0, 2.4e-38]]), logits)).worst == inf
    for wrong in (1e-30, -1e-30, -1.0, nan):
        assert measure.error_in(measure.log_units(np.array([[1.0, wrong]]), expected, logits)).worst > 16
    assert measure.error_in(measure.log_units(np.array([[0.0, 1.0]]), np.array([[0.5, 0.5]]), logits)).worst == inf


def test_differences_see_no_sign_of_zero_and_equal_infinities() -> None:
    expected, actual = column(0.0, -0.0, inf, -inf, 1.0), column(-0.0, 0.0, inf, -inf, 1.5)
    assert measure.differences(actual, expected).tolist() == [0.0, 0.0, 0.0, 0.0, 0.5]
    assert measure.error_in(measure.differences(column(inf), column(-inf))).worst == inf


@pytest.mark.parametrize(
    ("actual", "expected", "relative"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([0.0, 1e-30], [0.0, 0.0], inf),
        ([0.0, 0.0], [3.0, 4.0], 1.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([nan, 4.0], [3.0, 4.0], inf),
        ([-inf, 4.0], [3.0, 4.0], inf),
    ],
)
def test_relative_rms_is_the_distance_over_the_size(
    actual: list[float], expected: list[float], relative: float
) -> None:
    assert measure.relative_rms(column(*actual), column(*expected)) == pytest.approx(relative, rel=1e-12)


@pytest.mark.parametrize(
    ("relative", "bits"), [(0.0, inf), (2.0**-24, 24.0), (2.0**-11, 11.0), (1.0, 0.0), (8.0, 0.0), (inf, 0.0)]
)
def test_effective_bits_count_the_halvings(relative: float, bits: float) -> None:
    assert measure.effective_bits(relative) == bits


def test_rounding_to_float32_leaves_about_25_bits_and_to_tf32_about_12() -> None:
    x = np.random.default_rng(0).standard_normal(10_000)
    for kind, least, most in (("float32", 24.5, 26.0), ("tf32", 11.5, 13.0), ("bfloat16", 8.5, 10.0)):
        narrow = x.astype(np.float32) if kind == "float32" else rounded(x, "tf32" if kind == "tf32" else "bfloat16")
        assert least <= measure.effective_bits(measure.relative_rms(narrow.astype(np.float64), x)) <= most


def test_effective_elements_count_those_that_share_the_error() -> None:
    normal = np.random.default_rng(0).standard_normal(100_000)
    assert measure.effective_elements(normal) == pytest.approx(100_000, rel=0.05)
    few = np.where(np.arange(100_000) < 1000, normal, 0.0)
    assert measure.effective_elements(few) == pytest.approx(1000, rel=0.2)
    assert measure.effective_elements(few * 1e-200) == pytest.approx(measure.effective_elements(few), rel=1e-9)
    assert measure.effective_elements(np.array([0.0] * 99 + [1.0])) == pytest.approx(3.0)
    assert measure.effective_elements(np.zeros(7)) == 7.0
