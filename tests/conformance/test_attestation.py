"""The precision that outputs show, beside the declared one: both may be wrong, each way, and it is told."""

from functools import cache

import numpy as np
import pytest

from conformance.attestation import FEWEST, attested
from conformance.caps import caps
from conformance.checks import Chain, local_results
from conformance.forward import Traces, compared
from conformance.oracle import evaluate
from conformance.reference import Reference, reference
from conformance.report import Report
from conformance.results import Check, Column, Outcome, Result
from conformance.storage import operand, stored
from impls.frameworks import Dtype
from spec.exits import Exit
from spec.inputs import inputs
from spec.weights import weights
from tests.conformance.second_formulations import Array
from tests.conformance.synthetic import narrow, subject

PRODUCTS = ("conv", "dense")


@cache
def expected(dtype: Dtype) -> Reference:
    return reference(narrow(), weights(narrow(), "scaled", 0), inputs(narrow(), "photographs", 0, 2), dtype)


def ran_in(found: Dtype, declared: Dtype) -> dict[str, Array]:
    """The local trace of a runner that computes in the precision `found`, on what a variant of `declared` is fed."""
    tensors = {name: stored(value, declared) for name, value in weights(narrow(), "scaled", 0).items()}
    trace = {}
    for name, own in expected(declared).local.items():
        is_product = own.layer.operator.op in PRODUCTS
        cast = (lambda value: stored(operand(value, found), found)) if is_product else (lambda value: value)
        given = tuple(cast(value.astype(np.float32)) for value in own.inputs)
        value = evaluate(own.layer, given, {key: cast(tensor) for key, tensor in tensors.items()})
        trace[name] = stored(stored(value, found), declared)
    return trace


def judged(found: Dtype, declared: Dtype) -> Result:
    own = subject(narrow(), expected(declared), dtype=declared)
    trace = ran_in(found, declared)
    return attested(own, local_results(own, trace, caps()), trace)


@pytest.mark.parametrize("dtype", ["float32", "tf32", "bf16"])
def test_what_is_declared_and_observed_passes(dtype: Dtype) -> None:
    assert judged(dtype, dtype).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("declared", "found", "observed"),
    [
        ("float32", "tf32", "tf32"),
        ("float32", "bf16", "bfloat16"),
        ("tf32", "bf16", "bfloat16"),
        ("tf32", "float32", "float32"),
    ],
)
def test_another_precision_than_the_declared_one_fails_by_name(declared: Dtype, found: Dtype, observed: str) -> None:
    result = judged(found, declared)
    assert (result.check, result.outcome) == (Check.PRECISION, Outcome.FAILED)
    assert result.message.startswith(f"declared {declared}, observed {observed}: ")
    assert "noise units" in result.message


def one(results: list[Result]) -> Result:
    (found,) = (result for result in results if result.check is Check.PRECISION)
    return found


def test_the_forward_lane_attests_every_case_and_a_mismatch_alone_ends_with_exit_code_1() -> None:
    own = subject(narrow(), expected("tf32"), dtype="tf32")
    trace = ran_in("float32", "tf32")
    untapped = {narrow().output: trace[narrow().output]}
    results = compared(own, Traces(local=trace, untapped=Chain.of(untapped, expected("tf32"))), [])
    assert one(results).outcome is Outcome.FAILED
    others = [result for result in results if result.check is Check.LOCAL]
    assert {result.outcome for result in others} == {Outcome.PASSED}
    column = Column(own.variant, "1.0", results=[*others, one(results)])
    assert Report(narrow(), [column], 1).exit is Exit.DIVERGED


def test_a_variant_without_a_local_trace_is_skipped_with_the_reason() -> None:
    own = subject(narrow(), expected("float32"))
    result = one(compared(own, Traces(skipped="shows its output alone"), []))
    assert (result.outcome, result.message) == (Outcome.SKIPPED, "shows its output alone")


def test_one_layer_of_another_precision_is_enough() -> None:
    own = subject(narrow(), expected("float32"))
    trace = ran_in("float32", "float32") | {"fc6": ran_in("tf32", "float32")["fc6"]}
    result = attested(own, local_results(own, trace, caps()), trace)
    assert result.outcome is Outcome.FAILED
    assert "fc6" in result.message


def test_few_elements_do_not_look_finer_than_they_are() -> None:
    own = subject(narrow(), expected("tf32"), dtype="tf32")
    trace = ran_in("float32", "tf32")
    few = [result for result in local_results(own, trace, caps()) if result.operator not in PRODUCTS]
    product = next(result for result in local_results(own, trace, caps()) if result.tap == "fc8")
    small = {"fc8": trace["fc8"].reshape(-1)[: FEWEST - 1]}
    assert attested(own, [*few, product], small).outcome is Outcome.SKIPPED
    assert attested(own, few, trace).outcome is Outcome.SKIPPED
