"""The precision that an output shows by itself, where no rounding of known operands or results gives it exactly."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from conformance.caps import Rule
from conformance.checks import distance_to
from conformance.measure import NOISE, UNIT, Array, error_in, precision_class
from conformance.reference import LayerReference
from conformance.results import Explanation
from conformance.storage import stored
from spec.operators import BatchNorm

#: Formats of results, and how float32 is rounded to them.
RESULTS: dict[str, Callable[[Array], Array]] = {
    "bf16": lambda values: stored(values, "bf16"),
    "float16": lambda values: values.astype(np.float16).astype(np.float32),
}
ROUNDOFF = {"bf16": UNIT["bfloat16"], "float16": UNIT["float16"]}
#: What is smaller is rounded to multiples of the same distance.
SMALLEST = {"float16": 2.0**-14, "bf16": 2.0**-126}
#: Rounding errors are spread: the worst is within so many times their RMS. As the gate has it.
SPREAD = 16.0
#: And have no direction: which share of their RMS may be alike over all of a channel, or follow the output.
ALIKE = 0.3
#: So many elements of each channel, and outputs, say whether they have one.
ENOUGH = 32
#: Formats whose significands have 11 bits: within float16's range they are the same numbers.
SAME_SIGNIFICAND = ("float16", "tf32")
#: The significand of a quick reciprocal or root of processors, at least.
QUICK_BITS = 11


def named(changes: Iterable[str], device: str) -> dict[str, str]:
    """What explanations are called: where operands in float16 and in TF32 both explain it, both, the likelier first."""
    changes = list(changes)
    names = {change: change for change in changes}
    for change in changes:
        kind, _, of = change.removeprefix("precision: ").partition(" ")
        if change.startswith("precision: ") and kind in SAME_SIGNIFICAND and of != "result":
            others = (f"precision: {other} {of}".rstrip() for other in SAME_SIGNIFICAND)
            if all(other in names for other in others):
                names[change] = f"precision: {either(device)} {of}".rstrip()
    return names


def either(device: str) -> str:
    """Float16 and TF32, which no processor but a GPU computes in unless it is told to."""
    return " or ".join(SAME_SIGNIFICAND if device == "cpu" else SAME_SIGNIFICAND[::-1])


def observed(actual: Array, reference: LayerReference, rule: Rule, device: str) -> Iterator[Explanation]:
    """Precisions that would explain an output of the right shape, the surest first."""
    found = distance_to(actual, reference, rule)
    if not np.isfinite(found.error.rms):
        return
    y, before = reference.value, found.error.rms
    held = [name for name, rounded in RESULTS.items() if bool((rounded(actual.astype(np.float32)) == actual).all())]
    for name in held:
        beyond = np.maximum(np.abs(actual - y) - ROUNDOFF[name] * np.maximum(np.abs(y), SMALLEST[name]), 0.0)
        left = distance_to(y + beyond, reference, rule)
        if left.within:
            yield Explanation(f"precision: {name} result", before, left.error.rms, found.unit)
            return
    for name in held:
        coarser = before * UNIT["float32"] / ROUNDOFF[name]
        if rule.rms is not None and coarser <= rule.rms and _is_rounding(actual - y, y, reference.scale):
            yield Explanation(f"precision: {name} accumulation", before, coarser, found.unit)
            return
    quick = 2.0 ** (24 - QUICK_BITS)
    if found.unit == "ULP" and found.error.worst <= quick:
        yield Explanation("precision: quick reciprocal", before, before / quick, found.unit)
    elif found.unit == NOISE and isinstance(reference.layer.operator, BatchNorm):
        factors = _factors(actual, y)
        if np.abs(factors - 1.0).max() <= 2.0**-QUICK_BITS:
            left = distance_to(_without(actual, y, factors), reference, rule)
            if left.within:
                yield Explanation("precision: quick reciprocal", before, left.error.rms, found.unit)
    elif found.unit == NOISE and _is_rounding(actual - y, y, reference.scale):
        shown = precision_class(before)
        if shown in UNIT and shown != "float32":
            after = before * UNIT["float32"] / UNIT[shown]
            name = {"tf32": either(device), "bfloat16": "bf16"}[shown]
            yield Explanation(f"precision: {name}", before, after, found.unit)


def _factors(actual: Array, y: Array) -> Array:
    """By what each channel is multiplied, about its mean, at best."""
    own, right = (np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) for values in (actual, y))
    centred = right - right.mean(axis=1, keepdims=True)
    slopes: Array = (centred * own).sum(axis=1) / np.maximum((centred**2).sum(axis=1), 1e-300)
    return slopes


def _without(actual: Array, y: Array, factors: Array) -> Array:
    """The output with each channel's factor, and what it moves the channel by, taken back."""
    shape = (1, -1, *[1] * (y.ndim - 2))
    axes = (0, *range(2, y.ndim))
    turned = actual - (factors.reshape(shape) - 1.0) * y
    moved: Array = turned - (turned - y).mean(axis=axes, keepdims=True)
    return moved


def _is_rounding(errors: Array, y: Array, scale: Array | None) -> bool:
    """Whether errors look like those of rounding: spread over the elements, and of no direction."""
    size = np.abs(y) if scale is None else scale
    units = np.where(size > 0.0, errors / np.where(size > 0.0, size, 1.0), 0.0)
    error = error_in(units)
    if units.size < ENOUGH or error.worst > SPREAD * error.rms:
        return False
    channels = np.moveaxis(units, 1, 0).reshape(units.shape[1], -1) if units.ndim > 1 else units[None]
    if channels.shape[1] >= ENOUGH and float(np.sqrt(np.mean(channels.mean(axis=1) ** 2))) > ALIKE * error.rms:
        return False
    share = np.where(size > 0.0, y / np.where(size > 0.0, size, 1.0), 0.0)
    along = float(np.mean(units * share)) / max(float(np.sqrt(np.mean(share**2))), 1e-300)
    return abs(along) <= ALIKE * error.rms
