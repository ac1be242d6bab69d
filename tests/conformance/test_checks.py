"""What the checks say of traces that are right, and of traces that are wrong in one known way."""

from dataclasses import replace

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Chain, ForwardSubject, end_to_end_results, local_results, observed_precision
from conformance.reference import LayerReference, Reference, reference
from conformance.results import Check, Outcome, Result
from impls.frameworks import Dtype
from spec.operators import Lrn, Relu
from spec.shapes import shaped
from spec.weights import weights
from tests.conformance.second_formulations import Array, rounded, sliding_lrn_float32
from tests.conformance.synthetic import (
    Trace,
    branched_reference,
    changed,
    end_to_end_trace,
    local_trace,
    narrow,
    narrow_reference,
    subject,
)
from tests.spec.networks import branches

CAPS_FILE = "conformance/caps.toml"


def local(trace: Trace, of: ForwardSubject | None = None) -> dict[str, Result]:
    return {result.tap: result for result in local_results(of or subject(), trace, caps())}


def failures(results: dict[str, Result]) -> dict[str, str]:
    return {tap: result.message for tap, result in results.items() if result.outcome is not Outcome.PASSED}


def clean() -> Trace:
    return local_trace(narrow_reference(), noise=5.0)


# --- By itself -------------------------------------------------------------------------------------------------------


def test_oracle_values_with_the_noise_of_float32_pass_at_every_tap() -> None:
    results = local(clean())
    assert list(results) == [layer.name for layer in narrow().layers]
    assert failures(results) == {}
    assert results["conv2"].noise_rms == pytest.approx(5.0, rel=0.1)
    assert results["relu1"].effective_bits == np.inf
    assert observed_precision(results.values()) == "float32"


def test_every_operator_that_the_alexnets_lack_passes_too() -> None:
    of = subject(branches(), branched_reference())
    assert failures(local(local_trace(branched_reference(), noise=5.0), of)) == {}


def test_missing_tap_fails_by_name_and_no_other_does() -> None:
    trace = clean()
    del trace["norm2"]
    assert failures(local(trace)) == {"norm2": "missing tap: expected a tensor of that name in the trace, found none"}


def test_an_empty_trace_fails_everywhere() -> None:
    assert len(failures(local({}))) == len(narrow().layers)


def test_wrong_shape_fails_with_both_shapes() -> None:
    trace = changed(clean(), "conv1", lambda value: value.transpose(0, 1, 3, 2))
    assert failures(local(trace)) == {"conv1": "expected shape [2, 8, 32, 23], found [2, 8, 23, 32]"}


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint16"])
def test_wrong_dtype_fails_by_name(dtype: str) -> None:
    trace = changed(clean(), "relu3", lambda value: value.astype(dtype))
    assert failures(local(trace)) == {"relu3": f"expected float32, found {dtype}"}


@pytest.mark.parametrize("constant", [0.0, 3.5, np.inf])
def test_constant_output_fails(constant: float) -> None:
    trace = changed(clean(), "fc7", lambda value: np.full_like(value, constant))
    (message,) = failures(local(trace)).values()
    assert message.startswith(f"constant output {constant:g}, expected values from ")


@pytest.mark.parametrize("tap", [layer.name for layer in narrow().layers])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_nan_or_infinity_fails_at_its_own_tap(tap: str, value: float) -> None:
    trace = clean()
    place = tuple(extent // 2 for extent in trace[tap].shape)
    trace[tap][place] = value
    (failed, message), = failures(local(trace)).items()  # fmt: skip
    assert failed == tap
    assert f"at [{', '.join(map(str, place))}] actual {value:g}, expected" in message


def test_all_nan_fails_and_is_no_constant() -> None:
    trace = changed(clean(), "conv3", lambda value: np.full_like(value, np.nan))
    (message,) = failures(local(trace)).values()
    assert "actual nan" in message


def test_a_divergence_names_index_actual_expected_unit_cap_and_where_it_is_set() -> None:
    trace = clean()
    own = narrow_reference().local["conv4"]
    assert own.scale is not None
    index = (1, 17, 3, 2)
    wrong = own.value[index] + 1000 * 2.0**-24 * own.scale[index]
    trace["conv4"][index] = wrong
    result = local(trace)["conv4"]
    assert result.outcome is Outcome.FAILED
    divergence = result.divergence
    assert divergence is not None
    assert divergence.index == index
    assert divergence.actual == pytest.approx(wrong, rel=1e-6)
    assert divergence.expected == own.value[index]
    assert divergence.found == pytest.approx(1000, rel=0.01)
    assert (divergence.unit, divergence.cap) == ("noise units", 512.0)
    assert divergence.place == f"{CAPS_FILE}, rule sum_of_products.float32"
    assert result.message == (
        f"at [1, 17, 3, 2] actual {divergence.actual:.9g}, expected {divergence.expected:.9g}: "
        f"{divergence.found:.4g} noise units, cap 512 ({CAPS_FILE}, rule sum_of_products.float32)"
    )


def test_too_much_noise_everywhere_fails_by_its_rms() -> None:
    results = local(local_trace(narrow_reference(), noise=100.0))
    sums = {layer.name for layer in narrow().layers if layer.operator.op in ("conv", "dense")}
    assert failures(results).keys() == sums
    assert all(
        "; RMS " in result.message and ", cap 64" in result.message for result in map(results.get, sums) if result
    )


def test_one_wrong_element_among_a_million_fails() -> None:
    operator = Relu(name="relu1", op="relu", inputs=("image",))
    x = np.random.default_rng(0).standard_normal((1, 10, 400, 250))
    value = np.maximum(x.astype(np.float32), 0).astype(np.float64)
    own = LayerReference(shaped(operator, (x.shape[1:],)), (x,), value, None)
    expected = replace(narrow_reference(), local=narrow_reference().local | {"relu1": own})
    index = (0, 7, 123, 45)
    trace = clean() | {"relu1": value.astype(np.float32)}
    assert failures(local(trace, subject(expected=expected))) == {}
    trace["relu1"][index] = np.nextafter(trace["relu1"][index], np.float32(9))
    assert value.size == 10**6
    (message,) = failures(local(trace, subject(expected=expected))).values()
    assert message.startswith("at [0, 7, 123, 45] actual ")
    assert f"({CAPS_FILE}, rule exact)" in message


def test_a_runner_that_returns_what_it_was_given_fails_at_every_tap() -> None:
    given = {name: value.copy() for name, value in narrow_reference().substitutes.items()}
    assert failures(local(given)).keys() == given.keys()


@pytest.mark.parametrize("by", [-1, 1])
def test_right_values_at_the_wrong_place_fail_at_every_tap(by: int) -> None:
    moved = {name: np.roll(value, by) for name, value in clean().items()}
    assert failures(local(moved)).keys() == moved.keys()


def test_plus_and_minus_zero_are_equal() -> None:
    trace = changed(clean(), "relu1", lambda value: np.where(value == 0, np.float32(-0.0), value))
    assert np.signbit(trace["relu1"]).any()
    assert failures(local(trace)) == {}


def test_one_bit_of_relu_pool_or_flatten_is_too_much() -> None:
    trace = clean()
    for tap in ("relu1", "pool2", "flatten"):
        trace[tap].flat[-1] = np.nextafter(trace[tap].flat[-1], np.float32(np.inf))
    assert failures(local(trace)).keys() == {"relu1", "pool2", "flatten"}


def with_tensors_times(factor: float) -> Reference:
    """The reference of a case whose first activations are `factor` times as large."""
    tensors = weights(narrow(), "scaled", 0)
    tensors |= {name: tensors[name] * np.float32(factor) for name in ("conv1.weight", "conv1.bias")}
    x = np.random.default_rng(3).standard_normal((2, 3, 135, 99)).astype(np.float32)
    return reference(narrow(), tensors, x)


def test_an_input_that_excites_no_lrn_fails_at_lrn_though_every_value_is_right() -> None:
    expected = with_tensors_times(1e-3)
    messages = failures(local(local_trace(expected), subject(expected=expected)))
    assert "norm1" in messages
    assert messages["norm1"] == (
        "vacuous: α·Σx² moves 0.00% of the elements by more than 160 ULP, expected 1% "
        f"({CAPS_FILE}, excitation); use larger inputs"
    )


def test_leaving_lrn_out_would_pass_where_no_input_excites_it() -> None:
    expected = with_tensors_times(1e-3)
    own = expected.local["norm1"]
    operator = own.layer.operator
    assert isinstance(operator, Lrn)
    without = own.inputs[0] / operator.k**operator.beta
    assert np.abs(without / np.where(own.value == 0, 1, own.value) - 1)[own.value != 0].max() < 16 * 2.0**-24


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_oracle_that_is_not_finite_proves_nothing(bad: float) -> None:
    tensors = weights(narrow(), "scaled", 0)
    tensors["conv2.bias"] = tensors["conv2.bias"].copy()
    tensors["conv2.bias"][3] = bad
    expected = reference(narrow(), tensors, np.full((2, 3, 135, 99), 50, np.float32))
    messages = failures(local(local_trace(expected), subject(expected=expected)))
    assert messages["conv2"] == f"vacuous: the case gives {bad:g} at [0, 3, 0, 0]; use other weights or inputs"


def test_a_tap_that_the_oracle_has_constant_is_vacuous() -> None:
    tensors = weights(narrow(), "scaled", 0)
    tensors["fc6.bias"] = np.full_like(tensors["fc6.bias"], -1e9)
    expected = reference(narrow(), tensors, np.random.default_rng(0).normal(0, 50, (2, 3, 135, 99)).astype(np.float32))
    messages = failures(local(local_trace(expected), subject(expected=expected)))
    assert messages["relu6"] == "vacuous: the case gives the constant 0 here; use other weights or inputs"


# --- Precision and algorithms ----------------------------------------------------------------------------------------


def coarse(kind: str) -> Trace:
    """A clean trace whose conv4 multiplied rounded inputs."""
    own = narrow_reference().local["conv4"]
    noise = {"tf32": 4_900, "bfloat16": 39_500}[kind]
    assert own.scale is not None
    error = np.random.default_rng(0).standard_normal(own.value.shape) * noise * 2.0**-24 * own.scale
    return clean() | {"conv4": (own.value + error).astype(np.float32)}


@pytest.mark.parametrize("kind", ["tf32", "bfloat16"])
def test_lower_precision_than_declared_fails_and_is_named(kind: str) -> None:
    results = local(coarse(kind))
    assert failures(results).keys() == {"conv4"}
    assert observed_precision(results.values()) == kind


def test_declared_tf32_passes_and_bfloat16_does_not() -> None:
    declared = subject(dtype="tf32")
    assert failures(local(coarse("tf32"), declared)) == {}
    assert failures(local(coarse("bfloat16"), declared)).keys() == {"conv4"}


def test_tf32_is_seen_in_real_products_of_rounded_inputs() -> None:
    own = narrow_reference().local["fc6"]
    tensors = weights(narrow(), "scaled", 0)
    x, w = rounded(own.inputs[0], "tf32"), rounded(tensors["fc6.weight"], "tf32")
    trace = clean() | {"fc6": x @ w.T + tensors["fc6.bias"]}
    results = local(trace)
    assert failures(results).keys() == {"fc6"}
    assert observed_precision(results.values()) == "tf32"


def test_precision_is_unknown_without_a_local_sum_of_products() -> None:
    assert observed_precision([]) == "unknown"
    assert observed_precision([local(clean())["relu1"]]) == "unknown"


def wide_lrn() -> Reference:
    """The reference with 96 channels of large activations in norm2, where a sliding sum loses many bits."""
    x = np.maximum(np.random.default_rng(7).normal(0, 300, (2, 96, 7, 5)), 0).astype(np.float32).astype(np.float64)
    operator = narrow_reference().local["norm2"].layer.operator
    assert isinstance(operator, Lrn)
    value = x / (2.0 + 1e-4 * windows(x)) ** 0.75
    own = LayerReference(shaped(operator, (x.shape[1:],)), (x,), value, None)
    return replace(narrow_reference(), local=narrow_reference().local | {"norm2": own})


def windows(x: Array) -> Array:
    """Σ x² over five channels."""
    squares = np.pad(x**2, ((0, 0), (2, 2), (0, 0), (0, 0)))
    return np.asarray(sum(squares[:, step : step + x.shape[1]] for step in range(5)))


def sliding(expected: Reference) -> Array:
    return sliding_lrn_float32(expected.local["norm2"].inputs[0], 5, 2.0, 1e-4, 0.75)


def test_a_sliding_sum_is_allowed_to_the_framework_that_declares_it_only() -> None:
    expected = wide_lrn()
    trace = clean() | {"norm2": sliding(expected)}
    assert failures(local(trace, subject(expected=expected))).keys() == {"norm2"}
    assert failures(local(trace, subject(expected=expected, framework="onnx"))) == {}


def test_the_cap_of_a_sliding_sum_is_that_of_its_element() -> None:
    expected = wide_lrn()
    trace = clean() | {"norm2": sliding(expected) * np.float32(1.001)}
    result = local(trace, subject(expected=expected, framework="onnx"))["norm2"]
    assert result.divergence is not None
    assert result.divergence.found > result.divergence.cap > 16
    assert result.divergence.place == f"{CAPS_FILE}, rule lrn.running_sum"


def test_a_power_by_its_logarithm_is_right_though_both_are_rounded_and_no_constant_may_be_off() -> None:
    x = np.random.default_rng(7).normal(0, 3000, (2, 96, 31, 31)).astype(np.float32)
    values = {"k": 3.7, "alpha": 0.7, "beta": 1.3}
    operator = narrow_reference().local["norm2"].layer.operator.model_copy(update=values)
    wide = x.astype(np.float64)
    right = LayerReference(
        shaped(operator, (x.shape[1:],)), (wide,), wide / (3.7 + 0.7 * windows(wide)) ** 1.3, None
    )  # fmt: skip
    expected = replace(narrow_reference(), local=narrow_reference().local | {"norm2": right})
    denominator = np.float32(3.7) + np.float32(0.7) * windows(x)
    power = x * np.exp(np.float32(-1.3) * np.log(denominator))
    assert power.dtype == np.float32
    result = local(clean() | {"norm2": power}, subject(expected=expected))["norm2"]
    assert result.outcome is Outcome.PASSED
    assert result.worst is not None and result.worst > 16
    off = local(clean() | {"norm2": power * np.float32(1 + 1e-5)}, subject(expected=expected))["norm2"]
    assert off.outcome is Outcome.FAILED


# --- End to end ------------------------------------------------------------------------------------------------------


def end_to_end(trace: Trace, others: list[Trace], of: ForwardSubject, check: Check = Check.END_TO_END) -> list[Result]:
    chains = [Chain.of(each, of.reference) for each in (trace, *others)]
    return end_to_end_results(of, chains[0], chains[1:], check, caps())


def with_yardstick(relative: float, dtype: Dtype = "float32") -> ForwardSubject:
    """A subject whose NumPy float32 is off by `relative` at every tap."""
    expected = narrow_reference()
    return subject(expected=replace(expected, yardstick=dict(end_to_end_trace(expected, relative))), dtype=dtype)


def cap_of(value: Array) -> float:
    """How often the usual error is allowed where all of its elements are off alike: 3·exp(5 / √n)."""
    return 3.0 * float(np.exp(5.0 / np.sqrt(value.size)))


def times_cap(share: float, usual: float) -> Trace:
    """What is off by a share of what is allowed beside peers that are off by `usual`."""
    return end_to_end_trace(narrow_reference(), share * usual, cap_of)


def outcomes(results: list[Result]) -> set[Outcome]:
    return {result.outcome for result in results}


@pytest.mark.parametrize(
    ("yardstick", "others"),
    [(4e-6, []), (2e-6, [8e-6]), (4e-6, [1e-6, 1e-2]), (8e-6, [1e-6, 2e-6, 1e-2])],
    ids=["one variant", "two variants", "three variants", "four variants"],
)
def test_three_times_the_median_of_the_others_is_allowed_and_more_only_on_few_elements(
    yardstick: float, others: list[float]
) -> None:
    of = with_yardstick(yardstick)
    usual = 4e-6  # the middle one, or the geometric mean of the two in the middle
    peers = [end_to_end_trace(narrow_reference(), relative) for relative in others]
    assert outcomes(end_to_end(times_cap(0.97, usual), peers, of)) == {Outcome.PASSED}
    wrong = end_to_end(times_cap(1.03, usual), peers, of)
    assert outcomes(wrong) == {Outcome.FAILED}
    assert all(result.divergence and result.divergence.cap >= 3.0 for result in wrong)
    assert f"cap {cap_of(np.zeros((2, 10))):g} ({CAPS_FILE}, end_to_end)" in wrong[-1].message
    assert "times the usual relative RMS error" in wrong[-1].message


@pytest.mark.parametrize(("wrong_peers", "right_peers"), [(1, 0), (1, 1), (1, 2), (2, 1)])
def test_variants_that_are_wrong_alike_do_not_excuse_each_other(wrong_peers: int, right_peers: int) -> None:
    right = end_to_end_trace(narrow_reference(), 1e-6)
    wrong = end_to_end_trace(narrow_reference(), 1e-2)
    peers = [wrong] * wrong_peers + [right] * right_peers
    assert outcomes(end_to_end(wrong, peers, with_yardstick(1e-6))) == {Outcome.FAILED}


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_variants_that_are_not_finite_do_not_excuse_each_other(bad: float, dtype: Dtype) -> None:
    trace = end_to_end_trace(narrow_reference(), 0.0)
    trace["fc8"][0, 3] = bad
    (result,) = end_to_end({"fc8": trace["fc8"]}, [trace] * 3, with_yardstick(1e-6, dtype), Check.UNTAPPED)
    assert result.outcome is Outcome.FAILED
    assert result.message.startswith(f"at [0, 3] actual {bad:g}, expected ")
    wrong = end_to_end_trace(narrow_reference(), 1e-2)
    expected = Outcome.FAILED if dtype == "float32" else Outcome.SKIPPED
    (other,) = end_to_end({"fc8": wrong["fc8"]}, [trace] * 3, with_yardstick(1e-6, dtype), Check.UNTAPPED)
    assert other.outcome is expected


def test_one_variant_alone_is_compared_with_float32_in_numpy() -> None:
    own = subject()
    right = dict(narrow_reference().yardstick)
    assert outcomes(end_to_end(right, [], own)) == {Outcome.PASSED}
    assert outcomes(end_to_end(end_to_end_trace(narrow_reference(), 1e-4), [], own)) == {Outcome.FAILED}


def test_the_best_possible_rounding_passes_however_good_the_others_are() -> None:
    of = with_yardstick(0.0)
    exact = end_to_end_trace(narrow_reference(), 0.0)
    assert outcomes(end_to_end(exact, [exact], of)) == {Outcome.PASSED}


def test_tf32_without_another_variant_is_skipped_with_a_reason() -> None:
    results = end_to_end(end_to_end_trace(narrow_reference(), 1e-4), [], subject(dtype="tf32"))
    assert outcomes(results) == {Outcome.SKIPPED}
    assert {result.message for result in results} == {"no other variant in tf32 to compare with"}


def test_tf32_is_compared_with_other_variants_in_tf32_and_not_with_numpy() -> None:
    of, peer = subject(dtype="tf32"), end_to_end_trace(narrow_reference(), 1e-4)
    assert outcomes(end_to_end(times_cap(0.97, 1e-4), [peer], of)) == {Outcome.PASSED}
    assert outcomes(end_to_end(times_cap(1.03, 1e-4), [peer], of)) == {Outcome.FAILED}


def test_a_missing_tap_or_a_nan_fails_end_to_end_even_without_others() -> None:
    trace = end_to_end_trace(narrow_reference(), 0.0)
    del trace["conv1"]
    trace["fc8"][1, 2] = np.nan
    by_tap = {result.tap: result for result in end_to_end(trace, [], subject())}
    failed = {tap for tap, result in by_tap.items() if result.outcome is Outcome.FAILED}
    assert failed == {"conv1", "fc8"}
    assert by_tap["conv1"].message.startswith("missing tap")
    assert by_tap["fc8"].message.startswith("at [1, 2] actual nan")


def test_a_peer_that_lacks_a_tap_or_has_another_shape_does_not_count() -> None:
    of = with_yardstick(1e-6)
    peer = end_to_end_trace(narrow_reference(), 1e-2)
    del peer["conv1"]
    peer = {tap: value[:1] for tap, value in peer.items()}
    results = end_to_end(end_to_end_trace(narrow_reference(), 1e-4), [peer], of)
    assert outcomes(results) == {Outcome.FAILED}


def test_untapped_compares_the_output_alone() -> None:
    trace = {"fc8": end_to_end_trace(narrow_reference(), 0.0)["fc8"]}
    (result,) = end_to_end(trace, [], subject(), Check.UNTAPPED)
    assert (result.tap, result.check, result.outcome) == ("fc8", Check.UNTAPPED, Outcome.PASSED)
    (missing,) = end_to_end({}, [], subject(), Check.UNTAPPED)
    assert missing.outcome is Outcome.FAILED


def test_a_tap_that_is_constant_in_float32_alone_is_vacuous_and_no_fault_of_a_variant() -> None:
    expected = branched_reference()
    own = expected.local["bent"]
    nearly = 1.0 - np.linspace(1e-12, 2e-12, own.value.size).reshape(own.value.shape)
    changed_one = replace(expected, local={**expected.local, "bent": replace(own, value=nearly)})
    trace = local_trace(changed_one)
    assert len(np.unique(trace["bent"])) == 1
    results = {result.tap: result for result in local_results(subject(branches(), changed_one), trace, caps())}
    assert (results["bent"].outcome, results["bent"].message.partition(":")[0]) == (Outcome.FAILED, "vacuous")
