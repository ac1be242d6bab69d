"""What fails end to end alone is diagnosed from what the runner itself recorded, or it is said why not."""

from typing import Any

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Chain
from conformance.diagnosis.chain import RIGHT_BY_ITSELF, RIGHT_WITH_TAPS, diagnosed_in_chain
from conformance.diagnosis.words import sentences
from conformance.forward import NO_SUBSTITUTES, OUTPUT_ALONE, Traces, compared
from conformance.oracle import evaluate
from conformance.results import Check, Outcome, Result
from tests.conformance.synthetic import Trace, changed, local_trace, narrow, narrow_reference, subject

OUTPUT = narrow().layers[-1].name


def chain(tap: str = "", **fields: Any) -> Trace:
    """A float32 run from the input to the output; one operator may have other fields."""
    expected = narrow_reference()
    network = narrow().with_operator(tap, **fields) if tap else narrow()
    values: Trace = {network.input.name: expected.local["conv1"].inputs[0].astype(np.float32)}
    for layer in network.layers:
        inputs = tuple(values[read] for read in layer.operator.reads)
        values[layer.name] = evaluate(layer, inputs, expected.tensors).astype(np.float32)
    del values[network.input.name]
    return values


def first_failure(taps: Trace | None, untapped: Trace, local: Trace | None = None, skipped: str = "") -> Result:
    """The first failure of a runner that answered with these traces."""
    expected = narrow_reference()
    output = Chain.of({OUTPUT: untapped[OUTPUT]}, expected)
    own = Traces(local, Chain.of(taps, expected) if taps is not None else None, output, skipped=skipped)
    return next(each for each in compared(subject(), own, []) if each.outcome is Outcome.FAILED)


def test_a_runner_without_substitutes_is_diagnosed_from_what_it_read_itself() -> None:
    wrong = chain("norm2", alpha_convention="mean", k=1.0)
    found = first_failure(wrong, wrong, skipped=NO_SUBSTITUTES)
    assert (found.tap, found.check) == ("norm2", Check.END_TO_END)
    assert found.explanations[0].change == "alpha_convention: mean and k: 1"


def test_what_is_right_by_itself_and_wrong_in_the_chain_is_diagnosed_there() -> None:
    wrong = chain("conv2", bias=False)
    found = first_failure(wrong, wrong, local_trace(narrow_reference(), noise=2.0))
    assert (found.tap, found.explanations[0].change) == ("conv2", "bias: false")


def test_an_output_alone_is_not_diagnosed_and_says_so() -> None:
    found = first_failure(None, chain("norm2", k=1.0), skipped=OUTPUT_ALONE)
    assert sentences(found.fields()) == [f"{OUTPUT}: not diagnosed: {OUTPUT_ALONE}"]


def test_what_is_wrong_without_taps_alone_says_so() -> None:
    found = first_failure(chain(), chain("norm2", k=1.0), local_trace(narrow_reference()))
    assert (found.check, found.remark) == (Check.UNTAPPED, RIGHT_WITH_TAPS)


def test_an_operator_that_only_passes_errors_on_is_not_blamed() -> None:
    own = subject()
    failed = own.result("relu1", Check.END_TO_END, Outcome.FAILED, "too far off")
    (found,) = diagnosed_in_chain(own, [failed], chain(), "", caps())
    assert (found.remark, found.tried) == (RIGHT_BY_ITSELF, None)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_that_is_none_is_named_in_the_chain_too(value: float) -> None:
    taps = changed(chain(), "conv3", lambda y: np.where(np.arange(y.size).reshape(y.shape) == 0, value, y))
    found = first_failure(taps, chain(), skipped=NO_SUBSTITUTES)
    assert found.remark.endswith("the first at [0, 0, 0, 0]; all others are right")
