"""Compares the gradients of a variant with the oracle's: one result an operator, one a parameter, two for the loss."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import assert_never

import numpy as np

from conformance import measure
from conformance.caps import Caps, GradientRule
from conformance.checks import Subject
from conformance.gradient_reference import LOSS, Gradient, GradientReference
from conformance.measure import NOISE, SMALLEST_NORMAL, UNIT, Array
from conformance.repeats import digest
from conformance.results import Check, Divergence, Outcome, Result
from impls.frameworks import Dtype

SEVERAL = "several"
"""What rules call the readers of one tap together."""
UNITS = {"noise": NOISE, "ulp": "ULP", "exact": "off"}
LOG_UNITS = "log units"
#: What a denormal that is flushed to 0 may cost, once it is multiplied by a cotangent: these are normal, none beyond 8.
FLUSHED = 8 * SMALLEST_NORMAL
#: How many elements are compared at once: few stay in the cache.
BLOCK = 1 << 17


def gradient_results(
    subject: Subject, reference: GradientReference, actual: Mapping[str, Array], loss: float, rules: Caps
) -> list[Result]:
    """Every operator's results in the order of the graph, then the loss's.

    An operator is named for what it passes back to the taps that it reads. Where others read the same tap, only their
    sum is known, and the message names them all.
    """
    taps = {
        name: _compared(subject, Check.GRADIENT_INPUT, name, gradient, actual.get(name), rules)
        for name, gradient in reference.taps.items()
    }
    results = []
    for layer in subject.network.layers:
        results.append(_of_operator(layer.name, layer.operator.op, [taps[name] for name in layer.operator.reads]))
        for name in layer.parameter_shapes:
            gradient = reference.parameters[name]
            results.append(_compared(subject, Check.GRADIENT_PARAMETER, name, gradient, actual.get(name), rules))
    of_loss = replace(taps[reference.logits], check=Check.LOSS_GRADIENT, operator=LOSS)
    return [*results, _loss(subject, reference, loss, rules), of_loss]


def _of_operator(name: str, operator: str, taps: Sequence[Result]) -> Result:
    """The worst of what an operator passes back to the taps that it reads."""
    worst = min(taps, key=lambda result: (result.outcome is Outcome.PASSED, -(result.worst or 0.0)))
    bits = worst.digest if len(taps) == 1 else digest(np.array([result.digest for result in taps]))
    return replace(worst, tap=name, operator=operator, digest=bits)


def _compared(
    subject: Subject, check: Check, name: str, gradient: Gradient, actual: Array | None, rules: Caps
) -> Result:
    result = subject.result(name, check, Outcome.PASSED)
    whose = "" if check is Check.GRADIENT_PARAMETER else f"{_whose(name, gradient)}: "
    if actual is not None:
        result = replace(result, digest=digest(actual), elements=actual.size)
    if unusable := _unusable(name, gradient, actual, rules):
        return replace(result, outcome=Outcome.FAILED, message=whose + unusable)
    assert actual is not None
    kind = name.rpartition(".")[2] if check is Check.GRADIENT_PARAMETER else "input"
    rule = rule_of(gradient, kind, subject.variant.dtype, rules)
    found = measured(actual, gradient, rule)
    result = replace(
        result,
        noise_rms=found.rms if rule.measure == "noise" else None,
        noise_max=found.worst if rule.measure == "noise" else None,
        effective_bits=measure.effective_bits(found.relative),
        worst=found.worst,
        unit=UNITS[rule.measure],
        rms=found.rms,
        masked=None if gradient.masked is None else float(np.mean(gradient.masked)),
    )
    over_rms = rule.rms is not None and found.rms > rule.rms
    if not over_rms and found.worst <= rule.max:
        return result
    divergence = Divergence(
        index=found.index,
        actual=float(actual[found.index]),
        expected=float(gradient.value[found.index]),
        found=found.worst,
        unit=UNITS[rule.measure],
        cap=rule.max,
        place=rule.place,
    )
    rms = f"; RMS {found.rms:.4g}, cap {rule.rms:g}" if over_rms else ""
    return replace(result, outcome=Outcome.FAILED, message=f"{whose}{divergence}{rms}", divergence=divergence)


def _whose(tap: str, gradient: Gradient) -> str:
    """Which gradient a message is about, and who had a part in it."""
    readers = [LOSS if reader.op == LOSS else reader.name for reader in gradient.readers]
    return f"gradient of {tap}" + (f", the sum from {', '.join(readers)}" if len(readers) > 1 else "")


def _unusable(name: str, gradient: Gradient, actual: Array | None, rules: Caps) -> str:
    """What is wrong where there is nothing to compare, or where comparing would prove nothing."""
    expected = gradient.value
    if actual is None:
        return f"missing gradient: expected a tensor {name!r}, found none"
    if actual.shape != expected.shape:
        return f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
    if actual.dtype != np.float32:
        return f"expected float32, found {actual.dtype}"
    if not np.isfinite(expected).all():
        return "vacuous: the case gives a gradient that is not finite; use other weights or inputs"
    if not expected.any():
        return "vacuous: the case gives no gradient but 0; use other weights or inputs"
    if gradient.blind:
        return f"vacuous: {gradient.blind}; use other weights or inputs"
    share = 0.0 if gradient.masked is None else float(np.mean(gradient.masked))
    if share > rules.masked.share:
        return (
            f"vacuous: denormals decide {share:.2%} of the elements, expected at most {rules.masked.share:.1%} "
            "(conformance/caps.toml, masked); use other weights or inputs"
        )
    return ""


def rule_of(gradient: Gradient, of: str, dtype: Dtype, rules: Caps) -> GradientRule:
    """The rule of the one reader; of several that of their sum, or the widest of their own."""
    own = [rules.gradient_rule_for(reader.op, of, dtype) for reader in gradient.readers]
    if len(own) == 1:
        return own[0]
    together = rules.gradient_rule_for(SEVERAL, of, dtype)
    return max((together, *(rule for rule in own if rule.measure == "noise")), key=lambda rule: rule.max)


@dataclass(frozen=True)
class Measured:
    """The error of one gradient, in the unit of its rule."""

    rms: float
    worst: float
    index: tuple[int, ...]
    relative: float


def measured(actual: Array, gradient: Gradient, rule: GradientRule) -> Measured:
    """Compare in blocks: the paper's fc6 has 37,748,736 weights."""
    found, expected, scale, masked = (
        None if values is None else values.reshape(-1)
        for values in (actual, gradient.value, gradient.scale, gradient.masked)
    )
    assert found is not None and expected is not None
    worst, place, squares, distance, size = -1.0, 0, 0.0, 0.0, 0.0
    for start in range(0, actual.size, BLOCK):
        block = slice(start, start + BLOCK)
        own, right = found[block].astype(np.float64), expected[block]
        units = _units(own, right, None if scale is None else scale[block], rule, len(gradient.readers))
        if masked is not None:
            units[masked[block] & np.isfinite(own)] = 0.0
        error = measure.error_in(units)
        squares += error.rms**2 * len(own)
        if error.worst > worst:
            worst, place = error.worst, start + error.index[0]
        with np.errstate(invalid="ignore", over="ignore"):
            distance += float(np.sum((own - right) ** 2))
        size += float(np.sum(right**2))
    index = tuple(int(i) for i in np.unravel_index(place, actual.shape))
    relative = float(np.sqrt(distance / size)) if np.isfinite(distance) and size else float("inf")
    return Measured(float(np.sqrt(squares / actual.size)), worst, index, relative)


def _units(actual: Array, expected: Array, scale: Array | None, rule: GradientRule, readers: int) -> Array:
    """The error of every element in the unit of a rule.

    In noise units, denormals may be flushed to 0: what each of the `readers` passes back, before it adds up.
    """
    match rule.measure:
        case "noise":
            if scale is None:
                raise LookupError(f"{rule.place}: expected a sum of products, found copies, which have no S")
            units = measure.noise(actual, expected, scale)
            with np.errstate(invalid="ignore"):
                return np.where(np.abs(actual - expected) <= readers * FLUSHED, 0.0, units)
        case "ulp":
            return measure.ulp(actual, expected)
        case "exact":
            return measure.differences(actual, expected)
        case _:
            assert_never(rule.measure)


def _loss(subject: Subject, reference: GradientReference, loss: float, rules: Caps) -> Result:
    """The loss of known logits, which everything else of training begins with."""
    result = replace(subject.result(reference.logits, Check.LOSS, Outcome.PASSED), operator=LOSS)
    if not isfinite(reference.loss):
        message = f"vacuous: the case gives a loss of {reference.loss:g}; use other weights or inputs"
        return replace(result, outcome=Outcome.FAILED, message=message)
    error = abs(loss - reference.loss) / (UNIT["float32"] * reference.loss_scale)
    worst = error if isfinite(loss) else float("inf")
    bits = measure.effective_bits(measure.relative_rms(np.array([loss]), np.array([reference.loss])))
    own = digest(np.array(loss))
    result = replace(result, digest=own, elements=1, worst=worst, rms=worst, unit=LOG_UNITS, effective_bits=bits)
    if not worst <= rules.loss.max:
        message = (
            f"actual {loss:.9g}, expected {reference.loss:.9g}: {worst:.4g} {LOG_UNITS}, cap {rules.loss.max:g} "
            "(conformance/caps.toml, loss)"
        )
        return replace(result, outcome=Outcome.FAILED, message=message)
    if len(reference.fed.labels) == 1:
        message = "a batch of 1 does not tell the mean of losses from their sum; use --batch 2"
        return replace(result, outcome=Outcome.SKIPPED, message=message)
    return result
