"""Convolutions that add up in one sequence: right, less exact, and held against their like end to end."""

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Chain, end_to_end_results
from conformance.measure import noise
from conformance.one_sequence import one_sequence
from conformance.oracle import conv
from conformance.reference import reference
from conformance.results import Check, Outcome
from spec.inputs import inputs
from spec.network import FORMAT, Network
from spec.operators import Conv
from spec.weights import weights
from tests.conformance.synthetic import subject


def operator(**changes: object) -> Conv:
    stated = {
        "name": "conv",
        "op": "conv",
        "inputs": ["image"],
        "out_channels": 12,
        "kernel": 3,
        "stride": 1,
        "pads": 1,
        "groups": 1,
    }
    return Conv.model_validate(stated | {"bias": True} | changes)


@pytest.mark.parametrize(
    "changes", [{}, {"groups": 2}, {"stride": 2, "pads": [0, 1, 2, 0]}, {"kernel": [1, 5], "bias": False}], ids=str
)
def test_it_is_a_convolution(changes: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conformance.one_sequence.PLACES", 16)
    own, random = operator(**changes), np.random.default_rng(1)
    kernel = random.normal(size=(12, 6 // own.groups, *own.kernel))
    bias = random.normal(size=12) if own.bias else None
    x = random.normal(size=(2, 6, 9, 8))
    np.testing.assert_allclose(
        conv(x, kernel, bias, own, product=one_sequence), conv(x, kernel, bias, own), rtol=0, atol=1e-12
    )


def test_long_sums_stray_three_times_as_far_as_those_of_a_matrix_product_and_stay_within_the_caps() -> None:
    own, random = operator(out_channels=64, bias=False), np.random.default_rng(1)
    kernel, x = random.normal(size=(64, 512, 3, 3)).astype(np.float32), random.random((1, 512, 9, 9), np.float32)
    value, scale = (conv(x.astype(np.float64), kernel, None, own, power) for power in (1, 2))
    units = {
        name: noise(conv(x, kernel, None, own, product=form).astype(np.float64), value, np.sqrt(scale))
        for name, form in (("product", np.matmul), ("sequence", one_sequence))
    }
    rms = {name: float(np.sqrt(np.mean(each**2))) for name, each in units.items()}
    rule = next(rule for rule in caps().rule if rule.algorithm == "one_sequence")
    assert 2 * rms["product"] < rms["sequence"] < 20
    assert rule.rms is not None and rms["sequence"] < rule.rms and np.abs(units["sequence"]).max() < rule.max


def test_end_to_end_a_declared_sequence_may_stray_as_far_as_it_does_and_no_other_may() -> None:
    content = {
        "format": FORMAT,
        "name": "long_sums",
        "title": "One convolution of 4,608 products",
        "source": "none",
        "input": {"name": "image", "shape": (512, 9, 9)},
        "graph": (operator(out_channels=64).model_dump(),),
        "expect": {"shapes": {}, "parameters": 0, "macs": 0, "neurons": 0},
    }
    network = Network.model_validate(content).with_expectations()
    expected = reference(network, weights(network, "scaled", 0), inputs(network, "noise", 0, 1))
    own = Chain.of(expected.simulated(frozenset({"one_sequence"})), expected)
    rules = caps()
    close = rules.end_to_end.model_copy(update={"factor": 1.5})
    found = {
        framework: end_to_end_results(
            subject(network, expected, framework),
            own,
            [],
            Check.END_TO_END,
            rules.model_copy(update={"end_to_end": close}),
        )
        for framework in ("tensorflow", "torch")
    }
    assert [result.outcome for result in found["tensorflow"]] == [Outcome.PASSED]
    assert [result.outcome for result in found["torch"]] == [Outcome.FAILED]
