"""Frameworks' own bugs that are told by what an operator looks like: what one explains is expected to fail.

An entry of xfails.toml names operators, and perhaps networks. These look at shapes too, and know that what one operator
got wrong, those behind it get too. The smallest spec that shows each is in `fuzz/corpus/`, or in the project's tests.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conformance.attestation import NETWORK
from conformance.caps import within
from conformance.results import Check, Outcome, Result
from conformance.xfails import xfailed
from spec.network import Network
from spec.operators import Conv, Lrn
from spec.shapes import Layer

#: Checks that hold what several operators give together: what one got wrong, those behind it get too.
TOGETHER = (Check.END_TO_END, Check.UNTAPPED)


@dataclass(frozen=True)
class Known:
    """One bug."""

    framework: str
    versions: str
    modes: tuple[str, ...]
    hits: Callable[[Layer], bool]
    """Whether an operator may be computed wrongly."""
    reason: str
    link: str


def _one_column(layer: Layer) -> bool:
    """A convolution of one channel that gives several rows of one column, stepping sideways where it need not."""
    operator = layer.operator
    if not isinstance(operator, Conv) or layer.input_shape[0] != 1:
        return False
    _, rows, columns = layer.output_shape
    return rows > 1 and columns == 1 and operator.stride[0] == 1 < operator.stride[1] and operator.kernel[1] > 1


KNOWN: tuple[Known, ...] = (
    Known(
        framework="tensorflow",
        versions=">=2.21,<2.22",
        modes=("compiled", "eager"),
        hits=_one_column,
        reason=(
            "oneDNN 3.7.3, with AVX-512 (brg_conv_fwd:avx512_core), reads the wrong elements in a convolution of one "
            "channel with one column of output, if it steps sideways and there are two images; with "
            "ONEDNN_MAX_CPU_ISA=AVX2 it is right. No report of it was found"
        ),
        link="https://github.com/uxlfoundation/oneDNN/issues",
    ),
    Known(
        framework="onnx",
        versions=">=1.23,<2",  # of ONNX Runtime, which stands for the onnx beside it
        modes=("reference",),
        hits=lambda layer: isinstance(layer.operator, Lrn),
        reason="ONNX's ReferenceEvaluator sums squares for as many channels as there are images, and for no other",
        link="https://github.com/onnx/onnx/blob/main/onnx/reference/ops/op_lrn.py",
    ),
)


def explained(network: Network, results: Sequence[Result]) -> list[Result]:
    """Failures of a variant that a known bug explains become xfailed."""
    return [_explained(network, result) for result in results]


def _explained(network: Network, result: Result) -> Result:
    if result.outcome is not Outcome.FAILED:
        return result
    for known in KNOWN:
        variant = result.variant
        mode = result.tap if result.check is Check.MODES else variant.mode
        if variant.framework != known.framework or variant.device != "cpu" or mode not in known.modes:
            continue
        if within(result.version, known.versions) and result.tap in _touched(network, known, result.check):
            return xfailed(result, known.reason, known.link)
    return result


def _touched(network: Network, known: Known, check: Check) -> set[str]:
    """The taps at which a check may see the bug; a variant's precision too, which is that of all operators."""
    touched = {layer.name for layer in network.layers if known.hits(layer)}
    if check is Check.PRECISION:
        return {NETWORK} if touched else set()
    if check is Check.MODES:
        return set(known.modes) if touched else set()
    if check is Check.LOCAL:
        return touched
    if check not in TOGETHER:
        return set()
    for operator in network.graph:
        if touched.intersection(operator.reads):
            touched.add(operator.name)
    return touched
