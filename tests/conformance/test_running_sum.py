"""LRN whose sum slides over the channels, simulated in float32: within its own bound, and nothing wrong is."""

from functools import cache
from typing import Any

import numpy as np
import pytest

from conformance import measure
from conformance.caps import Rule, caps
from conformance.checks import Chain, end_to_end_results
from conformance.oracle import lrn
from conformance.reference import reference
from conformance.results import Check, Outcome
from conformance.running_sum import running_sum_bound, running_sum_lrn
from spec.inputs import inputs
from spec.load import load
from spec.operators import Lrn
from spec.weights import weights
from tests.conformance import second_formulations as second
from tests.conformance.second_formulations import Array
from tests.conformance.synthetic import subject

PAPER: dict[str, Any] = {"n": 5, "k": 2.0, "alpha": 1e-4, "beta": 0.75}
SCALES = [1.0, 30.0, 300.0, 3000.0]


def operator(**changes: Any) -> Lrn:
    values = {"name": "norm", "op": "lrn", "alpha_convention": "sum", "scope": "whole"}
    return Lrn.model_validate(values | PAPER | changes)


def rule(name: str) -> Rule:
    (found,) = (rule for rule in caps().rule if rule.name == name)
    return found


@cache
def activations(scale: float) -> Array:
    """What a ReLU leaves of normal values: (2, 96, 13, 11), exact in float32."""
    x = np.random.default_rng(7).standard_normal((2, 96, 13, 11)) * scale
    return np.maximum(x, 0).astype(np.float32).astype(np.float64)


def worst(actual: Array, x: Array) -> float:
    """The largest error in ULP."""
    return measure.error_in(measure.ulp(actual.astype(np.float64), lrn(x, operator()))).worst


def excess(actual: Array, x: Array) -> float:
    """The largest error in ULP beyond the bound."""
    units = measure.ulp(actual.astype(np.float64), lrn(x, operator()))
    return measure.error_in(np.maximum(np.abs(units) - running_sum_bound(x, operator()), 0.0)).worst


def sliding(x: Array, **changes: Any) -> Array:
    values = PAPER | changes
    return second.sliding_lrn_float32(x, values["n"], values["k"], values["alpha"], values["beta"])


@pytest.mark.parametrize("scale", SCALES)
def test_a_sliding_sum_stays_within_its_bound(scale: float) -> None:
    x = activations(scale)
    assert worst(sliding(x), x) > 0
    assert excess(sliding(x), x) <= rule("lrn.running_sum").max


@pytest.mark.parametrize("scale", [300.0, 3000.0])
def test_a_sliding_sum_exceeds_the_cap_of_other_algorithms_where_activations_are_large(scale: float) -> None:
    x = activations(scale)
    assert worst(sliding(x), x) > rule("lrn").max


@pytest.mark.parametrize("scale", SCALES)
def test_summing_each_window_anew_stays_within_the_cap_of_lrn(scale: float) -> None:
    x = activations(scale)
    assert worst(lrn(x.astype(np.float32), operator()), x) <= rule("lrn").max


WRONG: dict[str, dict[str, Any]] = {
    "alpha of the other convention": {"alpha": 5e-4},
    "alpha of the other convention, the other way": {"alpha": 2e-5},
    "k": {"k": 1.0},
    "beta": {"beta": 0.5},
    "beta by a little": {"beta": 0.76},
    "narrower window": {"n": 3},
    "wider window": {"n": 7},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("scale", SCALES[1:])
def test_the_bound_catches_a_wrong_constant(changes: dict[str, Any], scale: float) -> None:
    x = activations(scale)
    assert excess(sliding(x, **changes), x) > 10 * rule("lrn.running_sum").max


@pytest.mark.parametrize("by", [-1, 1])
@pytest.mark.parametrize("scale", SCALES[1:])
def test_the_bound_catches_a_shifted_window(by: int, scale: float) -> None:
    x = activations(scale)
    squares = np.pad(x**2, ((0, 0), (3, 3), (0, 0), (0, 0)))
    shifted = sum(squares[:, 1 + by + step : 97 + by + step] for step in range(5))
    actual = x / (PAPER["k"] + PAPER["alpha"] * shifted) ** PAPER["beta"]
    assert excess(actual, x) > 10 * rule("lrn.running_sum").max


def test_the_bound_catches_normalisation_that_was_left_out() -> None:
    x = activations(30.0)
    assert excess(x / 2**1.5, x) > 10 * rule("lrn.running_sum").max


@pytest.mark.parametrize("towers", [2, 3])
def test_the_bound_starts_anew_in_each_tower(towers: int) -> None:
    x = activations(300.0)
    per_group = operator(scope="per_group", groups=towers)
    channels = 96 // towers
    whole = running_sum_bound(x, per_group)
    for tower in range(towers):
        own = slice(tower * channels, (tower + 1) * channels)
        np.testing.assert_array_equal(whole[:, own], running_sum_bound(np.ascontiguousarray(x[:, own]), operator()))


def test_the_bound_by_hand() -> None:
    # n = 3, k = 1, α = 1, β = 1 on x = 1, 2, 3: α·x² is 1, 4, 9; d is 6, 15, 14; what enters is 4, 9, 0.
    x = np.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    found = running_sum_bound(x, operator(n=3, k=1.0, alpha=1.0, beta=1.0)).ravel()
    np.testing.assert_allclose(found, [2 * 10 / 6, 2 * (10 + 24) / 15, 2 * (10 + 24 + 14) / 14], rtol=1e-15)


def test_a_window_that_reaches_beyond_all_channels_has_its_bound() -> None:
    x = activations(300.0)[:, :2]
    found = running_sum_bound(x, operator(n=7))
    np.testing.assert_array_equal(found, running_sum_bound(x, operator(n=5)))
    assert np.isfinite(found).all()


@pytest.mark.parametrize("scope", [{"scope": "whole"}, {"scope": "per_group", "groups": 4}])
@pytest.mark.parametrize("n", [1, 5, 15])
def test_the_simulated_sum_is_lrn_and_strays_as_a_sliding_sum_does(n: int, scope: dict[str, Any]) -> None:
    x, stated = activations(300.0), operator(n=n, **scope)
    assert running_sum_lrn(x, stated) == pytest.approx(lrn(x, stated), rel=1e-12)
    units = measure.ulp(running_sum_lrn(x.astype(np.float32), stated).astype(np.float64), lrn(x, stated))
    assert np.all(np.abs(units) <= running_sum_bound(x, stated) + rule("lrn.running_sum").max)


def test_end_to_end_a_declared_sliding_sum_may_stray_as_far_as_it_does_and_no_other_may() -> None:
    network = load("alexnet_narrow").with_operator("norm1", alpha=0.7, n=1, k=0.5)
    tensors, x = weights(network, "scaled", 0), inputs(network, "noise", 0, 2)
    expected = reference(network, tensors, x)
    own = Chain.of(expected.simulated(frozenset({"running_sum"})), expected)
    found = {
        framework: end_to_end_results(subject(network, expected, framework), own, [], Check.END_TO_END, caps())
        for framework in ("onnx", "torch")
    }
    assert {result.outcome for result in found["onnx"]} == {Outcome.PASSED}
    assert [result.tap for result in found["torch"] if result.outcome is Outcome.FAILED][:1] == ["norm1"]
