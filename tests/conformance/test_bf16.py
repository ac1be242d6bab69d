"""Variants that store bfloat16: what is right passes everywhere, and planted faults are caught where they are."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Chain, ForwardSubject, end_to_end_results, local_results, observed_precision
from conformance.expected import write_expected
from conformance.measure import relative_rms
from conformance.oracle import evaluate
from conformance.power.catalogue import FAULTS
from conformance.power.fault import NARROW, Fault, Tensors
from conformance.reference import Reference, reference
from conformance.results import Check, Outcome, Result
from conformance.storage import is_stored, operand, stored
from impls.frameworks import Dtype
from spec import tensors as files
from spec.inputs import inputs
from spec.network import Network
from spec.weights import weights
from tests.conformance.second_formulations import Array
from tests.conformance.synthetic import Trace, branched_reference, narrow, subject
from tests.spec.networks import branches

SPREAD = np.random.default_rng(5).standard_normal(10_000).astype(np.float32)


def kept_bits(values: Array) -> int:
    """How many bits of the mantissas are used, the first one included."""
    mantissas, _ = np.frexp(values.astype(np.float64))
    return next(bits for bits in range(1, 54) if np.array_equal(np.ldexp(mantissas, bits) % 1, np.zeros(values.shape)))


@pytest.mark.parametrize(("round_to", "dtype", "bits"), [(stored, "bf16", 8), (operand, "tf32", 11)])
def test_rounding_keeps_the_bits_of_its_format_and_takes_the_nearest(
    round_to: Callable[[Array, Dtype], Array], dtype: Dtype, bits: int
) -> None:
    rounded = round_to(SPREAD, dtype)
    assert kept_bits(rounded) == bits
    assert np.max(np.abs(rounded - SPREAD) / np.abs(SPREAD)) <= 2.0**-bits
    assert np.array_equal(round_to(rounded, dtype), rounded)
    assert np.array_equal(round_to(SPREAD, "float32"), SPREAD)


def test_rounding_takes_the_even_one_of_two_neighbours_and_leaves_what_is_not_finite() -> None:
    ties = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, np.inf, -np.inf, np.nan, -0.0], np.float32)
    expected = np.array([1, 1 + 2.0**-6, -1, np.inf, -np.inf, np.nan, -0.0], np.float32)
    assert np.array_equal(stored(ties, "bf16"), expected, equal_nan=True)
    assert is_stored(expected, "bf16")
    assert not is_stored(ties, "bf16")


@cache
def given() -> tuple[Tensors, Array]:
    return weights(narrow(), "scaled", 0), inputs(narrow(), "photographs", 0, 2)


@cache
def expected() -> Reference:
    return reference(narrow(), *given(), "bf16")


def of(framework: str = "torch") -> ForwardSubject:
    return subject(expected=expected(), framework=framework, dtype="bf16")


def trace_of(network: Network, tensors: Tensors) -> Trace:
    """What a worker returns that stores bfloat16, computes in float32, and was given `network` and `tensors`."""
    held = {name: stored(value, "bf16") for name, value in tensors.items()}
    trace = {}
    for layer in network.layers:
        own = expected().local.get(layer.name)
        assert own is not None
        read = tuple(value.astype(np.float32) for value in own.inputs)
        if [value.shape[1:] for value in read] == [tuple(shape) for shape in layer.input_shapes]:
            trace[layer.name] = stored(evaluate(layer, read, held), "bf16")
    return trace


def failed(results: list[Result]) -> dict[str, str]:
    return {result.tap: result.message for result in results if result.outcome is not Outcome.PASSED}


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_float32_sums_that_are_stored_in_bfloat16_pass_at_every_tap(framework: str) -> None:
    results = local_results(of(framework), trace_of(narrow(), given()[0]), caps())
    assert [result.tap for result in results] == [layer.name for layer in narrow().layers]
    assert failed(results) == {}
    assert observed_precision(results) == "bfloat16"


PLANTED = [
    fault
    for fault in FAULTS
    if fault.spec == NARROW
    and fault.check is None
    and fault.field != "precision"
    and not (fault.instead or fault.lines or fault.runner)
]


@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.id)
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_planted_fault_is_caught_at_its_tap(fault: Fault, framework: str) -> None:
    network = fault.network(narrow()) if fault.network else narrow()
    tensors = fault.tensors(given()[0]) if fault.tensors else given()[0]
    results = local_results(of(framework), trace_of(network, tensors), caps())
    assert fault.tap in failed(results)


def test_enough_faults_are_planted() -> None:
    assert len(PLANTED) >= 12


def test_float32_values_under_the_name_of_bfloat16_fail() -> None:
    right = trace_of(narrow(), given()[0])
    right["conv3"] = expected().local["conv3"].value.astype(np.float32)
    message = failed(local_results(of(), right, caps()))
    assert message == {"conv3": "expected tensors stored as bf16, found values that it cannot hold"}


def test_a_sum_that_is_rounded_before_its_bias_is_added_passes_only_where_that_is_declared() -> None:
    own = expected().local["conv2"]
    assert own.scale is not None
    bias = stored(np.array([8 * np.abs(own.value).max()], np.float32), "bf16").astype(np.float64)
    trace = trace_of(narrow(), given()[0])
    before = stored((own.value - bias).astype(np.float32), "bf16")
    trace["conv2"] = stored((before + bias).astype(np.float32), "bf16")
    with_bias = replace(own, scale=np.hypot(own.scale, bias))
    apart = replace(expected(), local=expected().local | {"conv2": with_bias})
    for framework, fails in (("torch", {"conv2"}), ("jax", set())):
        judged = subject(expected=apart, framework=framework, dtype="bf16")
        assert failed(local_results(judged, trace, caps())).keys() == fails


def test_end_to_end_a_chain_of_bfloat16_is_the_usual_and_ten_times_its_error_is_not() -> None:
    right = expected().yardstick
    assert failed(end_to_end_results(of(), Chain.of(right, expected()), [], Check.END_TO_END, caps())) == {}
    exact = expected().end_to_end["fc8"]
    wrong = right | {"fc8": stored((exact + 10 * (right["fc8"] - exact)).astype(np.float32), "bf16")}
    assert set(failed(end_to_end_results(of(), Chain.of(wrong, expected()), [], Check.END_TO_END, caps()))) == {"fc8"}


def test_every_operator_that_the_alexnets_lack_passes_too() -> None:
    tensors, x = weights(branches(), "scaled", 0), inputs(branches(), "noise", 0, 2)
    branched = reference(branches(), tensors, x, "bf16")
    trace = {name: stored(own.value.astype(np.float32), "bf16") for name, own in branched.local.items()}
    judged = subject(branches(), branched, dtype="bf16")
    assert failed(local_results(judged, trace, caps())) == {}
    assert branched_reference().local.keys() == trace.keys()


def test_a_timed_output_has_a_cap_of_its_own_in_each_precision(tmp_path: Path) -> None:
    tensors, x = given()
    write_expected(narrow(), tensors, x, tmp_path / "expected", ("float32", "tf32", "bf16"))
    words = files.metadata(tmp_path / "expected")
    float32, tf32, bf16 = (float(words[f"relative_rms_cap.{dtype}"]) for dtype in ("float32", "tf32", "bf16"))
    assert float32 < 1e-4 < tf32 < bf16 < 0.1
    exact = files.read(tmp_path / "expected")["expected"]
    assert relative_rms(expected().yardstick["fc8"].astype(np.float64), exact) < bf16
