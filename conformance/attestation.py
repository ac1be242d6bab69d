"""Attestation: the precision that the outputs of a variant show, beside the one that it declares."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from conformance import measure
from conformance.checks import Subject
from conformance.measure import CLASSES, Array
from conformance.results import Check, Outcome, Result
from conformance.storage import is_stored
from impls.frameworks import Dtype

NETWORK, ALL = "network", "all"
"""What stands in the place of tap and operator: a variant has one precision."""
PRODUCTS = ("conv", "dense")
#: The class of each precision that can be declared.
DECLARED: dict[Dtype, str] = {"float32": "float32", "tf32": "tf32", "bf16": "bfloat16"}
#: Fewer elements may all be rounded so well that they look finer than they are.
FEWEST = 16
NO_PRODUCTS = "no convolution and no dense layer whose sums could be measured, so none shows its precision"


def attested(subject: Subject, local: Sequence[Result], trace: Mapping[str, Array]) -> Result:
    """Whether the sums of products of a local `trace` have the precision that the variant declares.

    A coarser one is a fault, whatever the caps. A finer one is told too: what was declared, and perhaps is timed or
    certified, is not what ran.
    """
    result = _result(subject)
    noises = {own.tap: own.noise_rms for own in local if own.operator in PRODUCTS and own.noise_rms is not None}
    if not noises:
        return replace(result, outcome=Outcome.SKIPPED, message=NO_PRODUCTS)
    tap = max(noises, key=lambda name: noises[name])
    declared, observed = DECLARED[subject.variant.dtype], measure.precision_class(noises[tap])
    result = replace(result, noise_rms=noises[tap])
    order = [name for _, name in CLASSES] + [measure.NO_CLASS]
    if order.index(observed) > order.index(declared):
        coarser = f"{tap} has an RMS of {noises[tap]:.4g} noise units; {_limits()}"
        return replace(result, outcome=Outcome.FAILED, message=_mismatch(declared, observed, coarser))
    is_kept = subject.variant.dtype == "bf16" and all(is_stored(value, "bf16") for value in trace.values())
    if observed == declared or is_kept:
        return result
    if sum(trace[name].size for name in noises) < FEWEST:
        message = f"fewer than {FEWEST} elements: rounding may have spared all of them"
        return replace(result, outcome=Outcome.SKIPPED, message=message)
    finer = f"no sum of products has an RMS of more than {noises[tap]:.4g} noise units; {_limits()}"
    return replace(result, outcome=Outcome.FAILED, message=_mismatch(declared, observed, finer))


def unattested(subject: Subject, reason: str) -> Result:
    """The result of a variant that has no local trace."""
    return replace(_result(subject), outcome=Outcome.SKIPPED, message=reason)


def _result(subject: Subject) -> Result:
    return replace(subject.result(NETWORK, Check.PRECISION, Outcome.PASSED), operator=ALL)


def _mismatch(declared: str, observed: str, why: str) -> str:
    return f"declared {declared}, observed {observed}: {why}"


def _limits() -> str:
    """Where each class ends, in words."""
    return ", ".join(f"{name} ends at {limit:,.0f}" for limit, name in CLASSES) + " (conformance/measure.py)"
