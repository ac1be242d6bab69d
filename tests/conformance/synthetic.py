"""Subjects and traces that no framework made: the oracle's values in float32, to be made wrong on purpose."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from conformance.checks import ForwardSubject
from conformance.reference import Reference, reference
from conformance.results import Case, Check, Column, Outcome, Result
from impls.frameworks import Dtype, Variant
from spec.inputs import inputs
from spec.load import load
from spec.network import Network
from spec.weights import weights
from tests.conformance.second_formulations import Array
from tests.spec.networks import branches

CASE = Case("scaled", "photographs", 0, 2)

Trace = dict[str, Array]


@cache
def narrow() -> Network:
    return load("alexnet_narrow")


@cache
def narrow_reference() -> Reference:
    tensors = weights(narrow(), "scaled", 0)
    return reference(narrow(), tensors, inputs(narrow(), "photographs", 0, 2))


@cache
def branched_reference() -> Reference:
    tensors = weights(branches(), "scaled", 0)
    return reference(branches(), tensors, inputs(branches(), "noise", 0, 2))


def variant(framework: str = "torch", dtype: Dtype = "float32") -> Variant:
    return Variant(framework, "cpu", dtype, "compiled" if framework == "onnx" else "eager", "native")


def subject(
    network: Network | None = None,
    expected: Reference | None = None,
    framework: str = "torch",
    dtype: Dtype = "float32",
) -> ForwardSubject:
    return ForwardSubject(network or narrow(), variant(framework, dtype), "2.9.0", CASE, expected or narrow_reference())


def local_trace(expected: Reference, noise: float = 0.0) -> Trace:
    """What a right runner returns in layer-local checks; sums of products are off by `noise` units of noise."""
    random = np.random.default_rng(1)
    trace = {}
    for name, own in expected.local.items():
        value = own.value
        if noise and own.scale is not None:
            value = value + noise * 2.0**-24 * own.scale * random.standard_normal(value.shape)
        trace[name] = value.astype(np.float32)
    return trace


def end_to_end_trace(expected: Reference, relative: float, times: Callable[[Array], float] = lambda _: 1.0) -> Trace:
    """Every tap with a relative RMS error of `relative`, `times` a factor: each element off by as much, up or down."""
    random = np.random.default_rng(2)
    trace = {}
    for name, value in expected.end_to_end.items():
        error = random.choice([-1.0, 1.0], value.shape)
        error *= times(value) * relative * np.linalg.norm(value) / np.linalg.norm(error)
        trace[name] = (value + error).astype(np.float32)
    return trace


def changed(trace: Trace, tap: str, change: Callable[[Array], Array]) -> Trace:
    return trace | {tap: change(trace[tap].copy())}


def result(tap: str = "conv1", outcome: Outcome = Outcome.PASSED, **changes: Any) -> Result:
    """A result of torch on alexnet_narrow."""
    plain = Result(
        network="alexnet_narrow",
        variant=variant(),
        version="2.9.0",
        case=str(CASE),
        tap=tap,
        check=Check.LOCAL,
        outcome=outcome,
        operator=next((layer.operator.op for layer in narrow().layers if layer.name == tap), ""),
    )
    return replace(plain, **changes)


def column(*results: Result) -> Column:
    first = results[0]
    return Column(first.variant, first.version, {"platform": "Linux"}, "cpu", "float32", 2**20, list(results))
