"""Compares the traces of a variant with the oracle: one result a tap and check."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite
from statistics import median_low

import numpy as np

from conformance import measure
from conformance.caps import Caps, Rule
from conformance.measure import NOISE, Array
from conformance.oracle import lrn_sums
from conformance.reference import SIMULATED, LayerReference, Reference
from conformance.results import Case, Check, Divergence, Outcome, Result
from conformance.running_sum import running_sum_bound
from conformance.storage import is_stored
from conformance.strays import Stray, stray
from conformance.usual import usual_error, widened
from impls.frameworks import Variant
from spec.network import Network
from spec.operators import Lrn, Softmax, Tanh


@dataclass(frozen=True)
class Subject:
    """Whose answers are compared, on which case."""

    network: Network
    variant: Variant
    version: str
    case: Case

    def result(self, tap: str, check: Check, outcome: Outcome, message: str = "") -> Result:
        """A result of this subject; the operator is that of the tap, or of the parameter that stands for one."""
        name = tap.partition(".")[0]
        operator = next((layer.operator.op for layer in self.network.layers if layer.name == name), "")
        return Result(
            network=self.network.name,
            variant=self.variant,
            version=self.version,
            case=str(self.case),
            tap=tap,
            check=check,
            outcome=outcome,
            operator=operator,
            message=message,
        )


@dataclass(frozen=True)
class ForwardSubject(Subject):
    """Whose trace is compared, and with what."""

    reference: Reference


def local_results(subject: ForwardSubject, trace: Mapping[str, Array], caps: Caps) -> list[Result]:
    """Every operator by itself, in the order of the graph."""
    return [_local(subject, layer.name, trace.get(layer.name), caps) for layer in subject.network.layers]


@dataclass(frozen=True)
class Chain:
    """The taps of a run end to end, and how far each is from the oracle's: it is compared, and compared with."""

    taps: Mapping[str, Array]
    strays: Mapping[str, Stray]

    @classmethod
    def of(cls, taps: Mapping[str, Array], reference: Reference) -> "Chain":
        """That of the taps of a trace."""
        known = reference.end_to_end
        return cls(taps, {tap: stray(value, known[tap]) for tap, value in taps.items() if tap in known})


def end_to_end_results(
    subject: ForwardSubject, own: Chain, others: Sequence[Chain], check: Check, caps: Caps
) -> list[Result]:
    """Every tap against the float64 chain; `others` are those of the other variants of the same precision."""
    taps, behind = [layer.name for layer in subject.network.layers], _behind_powers(subject.network)
    rule = caps.end_to_end

    def floor(tap: str) -> float:
        return rule.floor_of_powers if tap in behind else rule.floor

    def peers(tap: str) -> list[Stray]:
        return [other.strays[tap] for other in others if tap in other.strays]

    return [
        _end_to_end(subject, tap, own, peers(tap), check, caps, floor(tap))
        for tap in (taps if check is Check.END_TO_END else taps[-1:])
    ]


def distance(subject: ForwardSubject, tap: str, check: Check, first: Array, again: Array, caps: Caps) -> float:
    """How far two outputs of one tap are apart, measured as `Result.rms` is."""
    if first.shape != again.shape or first.dtype != again.dtype:
        return float("inf")
    first64, again64 = first.astype(np.float64), again.astype(np.float64)
    reference = subject.reference.local[tap]
    if check is not Check.LOCAL or first.shape != reference.value.shape:
        return measure.relative_rms(again64, first64)
    rule = caps.rule_for(reference.layer.operator.op, subject.variant, subject.version)
    units, _, _ = _MEASURES[rule.measure](again64, replace(reference, value=first64), rule)
    return measure.error_in(units).rms


@dataclass(frozen=True)
class Distance:
    """How far an output is from the oracle's, in the unit of its rule."""

    error: measure.Error
    excess: measure.Error
    """Beyond what each element is allowed beside the cap."""
    at_excess: float
    """The error of the element with the largest excess."""
    allowed_at_excess: float
    unit: str
    over_rms: bool
    within: bool
    """Whether it is under all caps."""


def distance_to(actual: Array, reference: LayerReference, rule: Rule) -> Distance:
    """The distance of `actual` in float64 from the oracle's value of that shape."""
    units, unit, allowed = _MEASURES[rule.measure](actual, reference, rule)
    error = measure.error_in(units)
    excess = measure.error_in(np.maximum(np.abs(units) - allowed, 0.0))
    over_rms = rule.rms is not None and error.rms > rule.rms
    return Distance(
        error=error,
        excess=excess,
        at_excess=float(abs(units[excess.index])),
        allowed_at_excess=float(np.broadcast_to(allowed, units.shape)[excess.index]),
        unit=unit,
        over_rms=over_rms,
        within=not over_rms and excess.worst <= rule.max,
    )


def observed_precision(results: Iterable[Result]) -> str:
    """The coarsest precision class among the local sums of products of a variant."""
    noises = [
        result.noise_rms
        for result in results
        if result.check is Check.LOCAL and result.operator in ("conv", "dense") and result.noise_rms is not None
    ]
    return measure.precision_class(max(noises)) if noises else "unknown"


def _unusable(subject: ForwardSubject, tap: str, check: Check, actual: Array | None, expected: Array) -> Result | None:
    """A failed result where there is nothing to compare, or where comparing would prove nothing."""
    if actual is None:
        message = "missing tap: expected a tensor of that name in the trace, found none"
    elif actual.shape != expected.shape:
        message = f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
    elif actual.dtype != np.float32:
        message = f"expected float32, found {actual.dtype}"
    elif not is_stored(actual, subject.variant.dtype):
        message = f"expected tensors stored as {subject.variant.dtype}, found values that it cannot hold"
    elif not np.isfinite(expected).all():
        index = np.unravel_index(int(np.argmin(np.isfinite(expected))), expected.shape)
        place = ", ".join(map(str, index))
        message = f"vacuous: the case gives {expected[index]:g} at [{place}]; use other weights or inputs"
    elif _is_constant(expected):
        message = f"vacuous: the case gives the constant {expected.flat[0]:g} here; use other weights or inputs"
    elif _is_constant(actual) and _is_constant(expected.astype(np.float32)):
        message = f"vacuous: the case gives {expected.flat[0]:g} here, constant in float32; use other weights or inputs"
    elif _is_constant(actual):
        message = (
            f"constant output {actual.flat[0]:g}, expected values from {expected.min():.6g} to {expected.max():.6g}"
        )
    else:
        return None
    return subject.result(tap, check, Outcome.FAILED, message)


def _is_constant(values: Array) -> bool:
    return values.size > 1 and bool((values == values.flat[0]).all())


def _local(subject: ForwardSubject, tap: str, actual: Array | None, caps: Caps) -> Result:
    reference = subject.reference.local[tap]
    operator = reference.layer.operator
    unusable = _unusable(subject, tap, Check.LOCAL, actual, reference.value)
    if unusable is not None or actual is None:
        return unusable or subject.result(tap, Check.LOCAL, Outcome.FAILED)
    rule = caps.rule_for(operator.op, subject.variant, subject.version)
    if isinstance(operator, Lrn) and (blind := _blind(reference, operator, rule, caps)):
        return subject.result(tap, Check.LOCAL, Outcome.FAILED, blind)
    actual64 = actual.astype(np.float64)
    found = distance_to(actual64, reference, rule)
    error, excess, unit = found.error, found.excess, found.unit
    relative = measure.relative_rms(actual64, reference.value)
    result = replace(
        subject.result(tap, Check.LOCAL, Outcome.PASSED),
        noise_rms=error.rms if unit == NOISE else None,
        noise_max=error.worst if unit == NOISE else None,
        effective_bits=measure.effective_bits(relative),
        worst=error.worst,
        unit=unit,
        rms=error.rms,
    )
    if found.within:
        return result
    divergence = Divergence(
        index=excess.index,
        actual=float(actual64[excess.index]),
        expected=float(reference.value[excess.index]),
        found=found.at_excess,
        unit=unit,
        cap=rule.max + found.allowed_at_excess,
        place=rule.place,
    )
    rms = f"; RMS {error.rms:.4g}, cap {rule.rms:g}" if found.over_rms else ""
    return replace(result, outcome=Outcome.FAILED, message=f"{divergence}{rms}", divergence=divergence)


def _blind(reference: LayerReference, operator: Lrn, rule: Rule, caps: Caps) -> str:
    """What is wrong where the input cannot see α: too few elements that it moves by enough."""
    weight = operator.alpha_sum * lrn_sums(reference.inputs[0], operator) / operator.k
    moved_ulp = operator.beta * np.log1p(weight) / (2 * measure.UNIT[STORAGE.get(rule.measure, "float32")])
    coarse = rule.measure in STORAGE
    enough_ulp = (caps.excitation.bf16_lrn_caps if coarse else caps.excitation.lrn_caps) * rule.max
    share = float(np.mean((moved_ulp > enough_ulp) & (reference.inputs[0] != 0)))
    if share >= caps.excitation.share:
        return ""
    return (
        f"vacuous: α·Σx² moves {share:.2%} of the elements by more than {enough_ulp:g} ULP, expected "
        f"{caps.excitation.share:.0%} (conformance/caps.toml, excitation); use larger inputs"
    )


Measured = tuple[Array, str, Array | float]
#: The precision in which a measure counts units of the last place, where that is not float32.
STORAGE = {"bf16_ulp": "bfloat16"}


def _noise(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    if reference.scale is None:
        raise LookupError(f"{reference.layer.operator.op} is no sum of products; its rule cannot measure noise")
    return measure.noise(actual, reference.value, reference.scale), NOISE, 0.0


def _rounded_noise(actual: Array, reference: LayerReference, rule: Rule) -> Measured:
    """Beside the cap, u·|y| for the rounding of a sum to bfloat16."""
    units, unit, _ = _noise(actual, reference, rule)
    return units, unit, _roundings(reference, np.abs(reference.value))


def _twice_rounded_noise(actual: Array, reference: LayerReference, rule: Rule) -> Measured:
    """Beside the cap, u·|y − b| and u·|y| for the roundings before and after the bias b is added; |b| ≤ S."""
    units, unit, _ = _noise(actual, reference, rule)
    scale = np.zeros(()) if reference.scale is None else reference.scale
    return units, unit, _roundings(reference, 2.0 * np.abs(reference.value) + scale)


def _roundings(reference: LayerReference, rounded: Array) -> Array:
    """The errors of rounding values of that size to bfloat16, in noise units."""
    scale = np.zeros(()) if reference.scale is None else reference.scale
    with np.errstate(divide="ignore", invalid="ignore"):
        units = measure.UNIT["bfloat16"] * rounded / (measure.UNIT["float32"] * scale)
    return np.where(scale > 0.0, units, 0.0)


def _bf16_ulp(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    return measure.ulp(actual, reference.value, "bfloat16"), "ULP of bfloat16", 0.0


def _ulp(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    return measure.ulp(actual, reference.value), "ULP", 0.0


def _ulp_of_power(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    return measure.ulp(actual, reference.value), "ULP", _of_lrn(reference, _exponents)


def _running_sum(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    exponents, sums = (_of_lrn(reference, bound) for bound in (_exponents, running_sum_bound))
    return measure.ulp(actual, reference.value), "ULP", exponents + sums


def _of_lrn(reference: LayerReference, bound: Callable[[Array, Lrn], Array]) -> Array | float:
    """A bound that follows from what LRN reads; none where a diagnosis supposes a value of another shape."""
    operator, x = reference.layer.operator, reference.inputs[0]
    if not isinstance(operator, Lrn):
        raise LookupError(f"{operator.op} is no LRN; its rule cannot measure a power")
    return bound(x, operator) if x.shape == reference.value.shape else 0.0


def _exponents(x: Array, operator: Lrn) -> Array:
    """2β·|ln d|: in how many roundings of the result those of the exponent of d^(−β) end, element by element.

    There are two, of the logarithm and of its product with β; each is as large as the exponent.
    """
    exponents: Array = operator.beta * np.abs(np.log(operator.k + operator.alpha_sum * lrn_sums(x, operator)))
    return 2.0 * exponents


def _log(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    return measure.log_units(actual, reference.value, reference.inputs[0]), "log units", 0.0


def _exact(actual: Array, reference: LayerReference, _: Rule) -> Measured:
    return measure.differences(actual, reference.value), "off", 0.0


_MEASURES: dict[str, Callable[[Array, LayerReference, Rule], Measured]] = {
    "noise": _noise,
    "rounded_noise": _rounded_noise,
    "twice_rounded_noise": _twice_rounded_noise,
    "ulp": _ulp,
    "ulp_of_power": _ulp_of_power,
    "bf16_ulp": _bf16_ulp,
    "ulp_of_running_sum": _running_sum,
    "log": _log,
    "exact": _exact,
}


def _end_to_end(
    subject: ForwardSubject,
    tap: str,
    chain: Chain,
    others: Sequence[Stray],
    check: Check,
    caps: Caps,
    floor: float,
) -> Result:
    reference = subject.reference
    expected = reference.end_to_end[tap]
    unusable = _unusable(subject, tap, check, chain.taps.get(tap), expected)
    if unusable is not None:
        return unusable
    own, size = chain.strays[tap], reference.sizes[tap]

    def relative_to(rms: float) -> float:
        return rms / size if size else (inf if rms else 0.0)

    relative = relative_to(own.rms)
    peers = [*others, *([reference.strays[tap]] if subject.variant.dtype != "tf32" else [])]
    peers = [peer for peer in peers if not peer.unusable and isfinite(peer.rms)]
    bits = measure.effective_bits(relative)
    result = replace(subject.result(tap, check, Outcome.PASSED), effective_bits=bits, rms=relative)
    rule = caps.end_to_end
    if not peers and isfinite(relative):
        message = f"no other variant in {subject.variant.dtype} to compare with"
        return replace(result, outcome=Outcome.SKIPPED, message=message)
    usual = usual_error([max(relative_to(peer.rms), floor) for peer in peers] or [floor])
    # The peers' errors, not its own, say over how many elements errors are spread: no fault may widen its own cap.
    # Their median, so that one broken peer does not widen everyone's.
    elements = median_low([peer.elements for peer in peers] or [float(expected.size)])
    factor = widened(rule, elements)
    if relative > factor * usual and (algorithms := _simulated(subject, caps)):
        usual = max(usual, _usual_of(algorithms, subject.reference, tap, expected))
    result = replace(result, worst=relative / usual, unit="of the usual relative RMS error")
    if relative <= factor * usual:
        return result
    divergence = Divergence(
        index=own.index,
        actual=own.actual,
        expected=own.expected,
        found=relative / usual,
        unit=f"times the usual relative RMS error {usual:.3g}",
        cap=factor,
        place="conformance/caps.toml, end_to_end",
    )
    return replace(result, outcome=Outcome.FAILED, message=str(divergence), divergence=divergence)


def _behind_powers(network: Network) -> set[str]:
    """The taps with a power, a tanh or an exp on their way from the input."""
    behind: set[str] = set()
    for operator in network.graph:
        if isinstance(operator, Lrn | Tanh | Softmax) or behind.intersection(operator.reads):
            behind.add(operator.name)
    return behind


def _simulated(subject: ForwardSubject, caps: Caps) -> frozenset[str]:
    """The algorithms of the variant, as declared, whose errors add up and which NumPy can imitate."""
    operators = {operator.op for operator in subject.network.graph}
    used = {caps.rule_for(operator, subject.variant, subject.version).algorithm for operator in operators}
    return frozenset(used.intersection(SIMULATED))


def _usual_of(algorithms: frozenset[str], reference: Reference, tap: str, expected: Array) -> float:
    """The error of NumPy's float32 where it computes as the variant declares: what is usual for it."""
    found = measure.relative_rms(reference.simulated(algorithms)[tap].astype(np.float64), expected)
    return found if np.isfinite(found) else 0.0
