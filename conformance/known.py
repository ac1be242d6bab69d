"""Frameworks' own bugs that are told by what an operator looks like: what one explains is expected to fail.

An entry of xfails.toml names operators, and perhaps networks. These look at shapes too, and know that what one operator
got wrong, those behind it get too. They are strict: where a bug must show and does not, that fails.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import prod
from pathlib import Path

from conformance.caps import within
from conformance.results import Check, Outcome, Result
from conformance.xfails import xfailed
from spec.network import Network
from spec.operators import Conv, Lrn
from spec.shapes import Layer


@dataclass(frozen=True)
class Known:
    """One bug, in float32 on a CPU."""

    framework: str
    versions: str
    modes: tuple[str, ...]
    lowerings: tuple[str, ...]
    hits: Callable[[Layer], bool]
    """Whether an operator may be computed wrongly."""
    shows: Callable[[Layer, int], bool]
    """Whether it must be, of so many images, on this machine: if it is right then, the entry has had its day."""
    reason: str
    link: str
    reproduction: str
    """The smallest script that shows it, with the framework and NumPy alone."""


def _one_column(layer: Layer) -> bool:
    """A convolution of one channel a group that gives rows of one column, stepping sideways where it need not."""
    operator = layer.operator
    if not isinstance(operator, Conv) or layer.input_shape[0] != operator.groups:
        return False
    _, rows, columns = layer.output_shape
    return rows > 1 and columns == 1 and operator.stride[0] == 1 < operator.stride[1] and operator.kernel[1] > 1


def _one_column_beyond(layer: Layer, images: int) -> bool:
    """One of those that failed for every kernel, stride and number of channels that was tried.

    It has one group, and its input is one column wider than the kernel and not padded. Others are right now and then.
    """
    operator = layer.operator
    return (
        isinstance(operator, Conv)
        and _one_column(layer)
        and images > 1
        and operator.groups == 1
        and not any(operator.pads)
        and layer.input_shape[2] == operator.kernel[1] + 1
        and has_avx512()
    )


@cache
def has_avx512() -> bool:
    """Whether oneDNN may use AVX-512 here, as far as that can be told."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_vnni" in flags and "ONEDNN_MAX_CPU_ISA" not in os.environ


def _more_channels(layer: Layer, images: int) -> bool:
    return isinstance(layer.operator, Lrn) and layer.input_shape[0] // layer.operator.towers > images


KNOWN: tuple[Known, ...] = (
    Known(
        framework="tensorflow",
        versions=">=2.21,<2.22",
        modes=("compiled", "eager"),
        lowerings=("native", "fast"),
        hits=_one_column,
        shows=_one_column_beyond,
        reason=(
            "oneDNN 3.7.3, with AVX-512 (brg_conv_fwd:avx512_core), reads the wrong elements in a convolution of one "
            "channel (a group) with one column of output, if it steps sideways and there are two images; with "
            "ONEDNN_MAX_CPU_ISA=AVX2 it is right. No report of it was found; the one that is linked is of the same "
            "kernel and one channel, in int8 and at padded columns"
        ),
        link="https://github.com/uxlfoundation/oneDNN/issues/5080",
        reproduction="tests/conformance/reproductions/tensorflow_conv_one_column.py",
    ),
    Known(
        framework="onnx",
        versions=">=1.31,<1.32",  # of ONNX Runtime, which stands for the onnx beside it
        modes=("reference",),
        lowerings=("native",),  # the other one has no LRN
        hits=lambda layer: isinstance(layer.operator, Lrn),
        shows=_more_channels,
        reason=(
            "ONNX's ReferenceEvaluator sums squares for as many channels as there are images, and for no other. No "
            "report of it was found"
        ),
        link="https://github.com/onnx/onnx/blob/main/onnx/reference/ops/op_lrn.py",
        reproduction="tests/conformance/reproductions/onnx_reference_lrn.py",
    ),
)


def explained(network: Network, results: Sequence[Result]) -> list[Result]:
    """Failures of a variant that a known bug explains become xfailed, and what should have shown one fails.

    What is behind an operator is excused only where that operator, by itself, was wrong in the same case.
    """
    found = [_by_itself(network, result) for result in results]
    return [_behind(network, result, found) for result in found]


def _by_itself(network: Network, result: Result) -> Result:
    """A layer-local result."""
    layer = next((own for own in network.layers if own.name == result.tap), None)
    if result.check is not Check.LOCAL or layer is None:
        return result
    for known in _of(result, result.variant.mode):
        if result.outcome is Outcome.FAILED and known.hits(layer):
            return xfailed(result, known.reason, known.link)
        images = (result.elements or 0) // prod(layer.output_shape)
        if result.outcome is Outcome.PASSED and known.shows(layer, images):
            message = f"passed, though {Path(__file__).name} expects it to fail ({known.reason}); remove the entry"
            return replace(result, outcome=Outcome.FAILED, message=message)
    return result


def _behind(network: Network, result: Result, found: Sequence[Result]) -> Result:
    """A failure of another check."""
    if result.outcome is not Outcome.FAILED:
        return result
    for known in _of(result, result.tap if result.check is Check.MODES else result.variant.mode):
        hit = {layer.name for layer in network.layers if known.hits(layer)}
        wrong = [
            own
            for own in found
            if own.check is Check.LOCAL
            and own.outcome is Outcome.XFAILED
            and own.tap in hit
            and (own.variant, own.case) == (result.variant, result.case)
        ]
        if _touches(network, result, {own.tap for own in wrong}, [own.noise_rms for own in wrong], bool(hit)):
            return xfailed(result, known.reason, known.link)
    return result


def _touches(network: Network, result: Result, wrong: set[str], noises: Sequence[float | None], may_hit: bool) -> bool:
    """Whether what is wrong by itself explains a failure; of another mode, nothing is known but whether it may be."""
    match result.check:
        case Check.MODES:
            return may_hit
        case Check.PRECISION:  # that of the operator with the most noise
            return result.noise_rms is not None and result.noise_rms in noises
        case Check.END_TO_END | Check.UNTAPPED:
            touched = set(wrong)
            for operator in network.graph:
                if touched.intersection(operator.reads):
                    touched.add(operator.name)
            return result.tap in touched
        case _:
            return False


def _of(result: Result, mode: str) -> list[Known]:
    """The bugs that a result of some mode may show."""
    variant = result.variant
    return [
        known
        for known in KNOWN
        if (variant.framework, variant.device, variant.dtype) == (known.framework, "cpu", "float32")
        and mode in known.modes
        and variant.lowering in known.lowerings
        and within(result.version, known.versions)
    ]
