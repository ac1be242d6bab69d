"""How the numbers moved between two reports of one network: which taps, how far, and what kind of change it is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import median

import numpy as np

from conformance.diagnosis.words import sentences
from conformance.matrix import words
from conformance.measure import UNIT, precision_class
from conformance.results import Check
from gate.pairing import FORWARD, errored, paired
from gate.reported import Reported, ReportedResult, require_cases, require_network
from gate.results import BY_ITSELF, Numerics, NumericVerdict, TapDrift
from impls.frameworks import Variant

#: Beyond so many times the old noise a change is no longer benign (other orders of summation stay within).
BENIGN_RATIO = 1.5

#: How often errors of few elements may grow by more than is allowed without a cause.
CHANCE = 1e-4

#: Noise that nobody can see, in the unit of a tap: near that of storing a right result. Less counts as that much, so
#: that an old result that was better by luck makes nothing of a new one that is as right as float32 can be.
FLOORS = {"noise units": 1.0, "ULP": 0.5, "ULP of bfloat16": 0.5, "log units": 1.0, "off": 0.0}
END_TO_END_FLOOR = UNIT["float32"]
END_TO_END_UNIT = "relative RMS error"

#: Effective bits at the middle between neighbouring classes (float32 21–22, TF32 11, bfloat16 8): for operators that
#: are no sums of products, and end to end, where rounding errors of all operators before add up.
CLASSES_BY_BITS = ((15.0, "float32"), (9.5, "tf32"), (5.0, "bfloat16"))

#: From the finest to the coarsest.
PRECISIONS = ("exact", "float32", "tf32", "bfloat16", "none", "unknown")

#: Rounding errors are spread: the worst of millions is within so many times their RMS (float32 measured 12 at most,
#: TF32 8). Beyond it, single elements are wrong, which no precision explains.
SPREAD = 16.0
#: And where the worst grew by more than so many times, its growth is no chance of other rounding.
SINGLE_RATIO = 4.0
#: One odd case says nothing; two do.
FEWEST_CASES = 2

#: From what needs no look to what needs it first.
SEVERITY = (
    NumericVerdict.SKIPPED,
    NumericVerdict.IDENTICAL,
    NumericVerdict.BENIGN,
    NumericVerdict.ACCEPTED,
    NumericVerdict.DRIFTED,
    NumericVerdict.PRECISION,
    NumericVerdict.DIVERGED,
    NumericVerdict.ERRORED,
)


@dataclass(frozen=True)
class _Noise:
    """The noise of one tap on both sides, of the group of cases where it grew most."""

    before: float
    after: float
    allowed: float
    """What counts as before, widened for what few elements stray by chance."""

    @property
    def growth(self) -> float:
        """After, over what is allowed; more than BENIGN_RATIO is a drift."""
        return self.after / self.allowed if self.allowed else (0.0 if self.after == 0.0 else float("inf"))


def judge(before: Reported, after: Reported) -> list[Numerics]:
    """The drift of every variant in `after`; raises InputError where `before` is about something else."""
    require_network(before, after.network, after.sha256)
    for variant in after.variants:
        require_cases(before, after, variant)
    return [_judged(after.network, variant, before.of(variant), after.of(variant)) for variant in after.variants]


def overall(taps: Sequence[TapDrift]) -> NumericVerdict:
    """The verdict of all taps: the worst. A precision class says more than the caps that it breaks end to end."""
    worst = worst_of(tap.verdict for tap in taps)
    local = worst_of(tap.verdict for tap in taps if tap.check == Check.LOCAL)
    return local if local is NumericVerdict.PRECISION and worst is NumericVerdict.DIVERGED else worst


def worst_of(verdicts: Iterable[NumericVerdict]) -> NumericVerdict:
    """The worst of some verdicts; `skipped` where there are none."""
    return max(verdicts, key=SEVERITY.index, default=NumericVerdict.SKIPPED)


def _judged(
    network: str, variant: Variant, before: Sequence[ReportedResult], after: Sequence[ReportedResult]
) -> Numerics:
    cases = len({result.case for result in after})
    for side, results in (("baseline", before), ("candidate", after)):
        failed = errored(results)
        if failed is not None:
            reason = f"{side}, {failed.case}: {failed.message}"
            return Numerics(network, variant, NumericVerdict.ERRORED, None, (), cases, reason)
    own = paired(before, after)
    if own.lost:
        return Numerics(network, variant, NumericVerdict.ERRORED, None, (), cases, own.lost)
    taps = _with_causes([_tap(pairs) for pairs in own.taps])
    forward = [pair for pairs in own.taps for pair in pairs if pair[0].check in FORWARD]
    if not any((was.digest and new.digest) or new.failed for was, new in forward):
        both = forward and all(was.outcome == new.outcome == "skipped" for was, new in forward)
        verdict = NumericVerdict.SKIPPED if both else NumericVerdict.ERRORED
        why = next((was.message or new.message for was, new in forward), "neither side has a forward pass")
        return Numerics(network, variant, verdict, None, tuple(taps), cases, f"{NOTHING}: {why}")
    numerics = Numerics(network, variant, overall(taps), _first_moved(taps), tuple(taps), cases, left_out=own.left_out)
    return replace(numerics, reason=reason_of(numerics))


def reason_of(numerics: Numerics) -> str:
    """The verdict in a line: where to look, and what it is."""
    tap, first = numerics.decided_by, numerics.first_moved
    same = sum(tap.verdict is NumericVerdict.IDENTICAL for tap in numerics.taps)
    checked = f"{same} checks of taps in {numerics.cases} cases"
    if tap is None or numerics.verdict is NumericVerdict.IDENTICAL:
        return f"the same bits in {checked}" + _asides(numerics)
    said = f"{tap.tap} ({_what(tap)}): {tap.change}" + (f": {tap.message}" if tap.message else "")
    if first is not None and first.tap != tap.tap:
        said += f"; the first that moved is {first.tap} ({_what(first)}): {first.change}"
    return said + _asides(numerics)


def _what(tap: TapDrift) -> str:
    return ", ".join(filter(None, (tap.operator, words(tap.check))))


def _asides(numerics: Numerics) -> str:
    """What failed before and fails still: named, so that nobody blames the upgrade. And what was not compared."""
    own = [tap.tap for tap in numerics.taps if tap.message.startswith(FAILED_BEFORE)]
    said = f"; not from this upgrade: {', '.join(dict.fromkeys(own))} failed before too" if own else ""
    none = [f"{tap.tap} ({_what(tap)})" for tap in numerics.taps if tap.change == NOTHING]
    more = f" and {len(none) - MOST_NAMED} more" if len(none) > MOST_NAMED else ""
    said += f"; {NOTHING} at {', '.join(none[:MOST_NAMED])}{more}" if none else ""
    return said + (f"; gradients were not compared: {numerics.left_out}" if numerics.left_out else "")


FAILED_BEFORE = "failed before too"
NOTHING = "nothing to compare with"
#: So many taps that have nothing are named.
MOST_NAMED = 3


def _tap(pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> TapDrift:
    """One tap of one check, over all cases."""
    before, after = [was for was, _ in pairs], [new for _, new in pairs]
    repeatable_before = all(result.repeatable is not False for result in before)
    repeatable_after = all(result.repeatable is not False for result in after)
    noise = _noise(pairs)
    tap = TapDrift(
        tap=after[0].tap,
        operator=after[0].operator,
        check=after[0].check,
        verdict=NumericVerdict.SKIPPED,
        identical=all(was.digest == new.digest != "" for was, new in pairs),
        repeatable=repeatable_before and repeatable_after,
        bits_before=_bits(before),
        bits_after=_bits(after),
        class_before=_coarsest(before),
        class_after=_coarsest(after),
        noise_before=noise.before if noise else None,
        noise_after=noise.after if noise else None,
        unit=_unit(after[0]),
    )
    if (failing := _newly_failing(tap, pairs)) is not None:
        return failing
    if not all(was.digest and new.digest for was, new in pairs):
        return _not_comparable(tap, pairs)
    judged = _single_elements(_within_caps(tap, noise), pairs)
    if judged.verdict is NumericVerdict.BENIGN and not repeatable_before:
        again = "both sides" if not repeatable_after else "the baseline"
        judged = replace(judged, moved=False, change=f"nondeterministic ({again})")
    elif not repeatable_after and repeatable_before:
        worse = worst_of((judged.verdict, NumericVerdict.BENIGN))
        change = "; ".join(filter(None, ("repeatable → nondeterministic", judged.change)))
        judged = replace(judged, moved=True, verdict=worse, change=change)
    return replace(judged, message=_old_failures(pairs) or judged.message)


def _newly_failing(tap: TapDrift, pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> TapDrift | None:
    """The tap judged by cases that fail now and did not before; None where there is none."""
    failing = [new for was, new in pairs if new.failed and not was.failed]
    if not failing:
        return None
    message = f"{len(failing)} of {len(pairs)} cases, {failing[0].case}: {failing[0].message}"
    changed = replace(tap, moved=not tap.identical, message=message, explained=_explained(failing))
    if tap.is_by_itself and _sums(tap) and _is_coarser(tap) and _is_rounding(pairs):
        change = f"precision {tap.class_before} → {tap.class_after}"
        return replace(changed, verdict=NumericVerdict.PRECISION, change=change)
    change = "the same bits, judged otherwise" if tap.identical else _semantics(tap, failing)
    return replace(changed, verdict=NumericVerdict.DIVERGED, change=change)


def _explained(failing: Sequence[ReportedResult]) -> tuple[str, ...]:
    """The diagnosis of a case that has an explanation, if any has; else of one that was diagnosed at all."""
    diagnosed = [result for result in failing if result.tried is not None]
    chosen = next((result for result in diagnosed if result.explanations), diagnosed[0] if diagnosed else None)
    return tuple(sentences(chosen.model_dump())) if chosen else ()


def _semantics(tap: TapDrift, failing: Sequence[ReportedResult]) -> str:
    """The class of a change that no rounding explains."""
    if not all(result.digest for result in failing):
        return "no such tensor any more"
    if tap.is_by_itself and not all(_is_spread(result) for result in failing):
        return "single elements"
    return "constant or semantics" if _sums(tap) else "constant, semantics or precision"


def _is_rounding(pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> bool:
    """Whether errors are those of a precision: in every case, of a size that one has, and spread over the elements."""
    return all(
        was.digest != new.digest and _is_spread(new) and _class(new) not in ("none", "unknown") for was, new in pairs
    )


def _is_spread(result: ReportedResult) -> bool:
    return result.rms is not None and result.worst is not None and result.worst <= SPREAD * result.rms


def _is_coarser(tap: TapDrift) -> bool:
    return PRECISIONS.index(tap.class_after) > PRECISIONS.index(tap.class_before)


def _not_comparable(tap: TapDrift, pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> TapDrift:
    """A tap that one side at least lacks in some case, and that did not begin to fail."""
    if all(was.digest for was, _ in pairs):
        message = next(new.message for _, new in pairs if not new.digest)
        return replace(tap, verdict=NumericVerdict.ERRORED, change="cannot be compared any more", message=message)
    if any(new.failed for _, new in pairs):
        return replace(tap, change=NOTHING, message=_old_failures(pairs))
    return replace(tap, change=NOTHING, message=next(was.message for was, _ in pairs))


def _within_caps(tap: TapDrift, noise: _Noise | None) -> TapDrift:
    """The tap judged by how its noise grew."""
    if tap.identical:
        return replace(tap, verdict=NumericVerdict.IDENTICAL)
    moved = replace(tap, moved=True)
    local = tap.is_by_itself
    if local and "unknown" not in (tap.class_before, tap.class_after) and _sums(tap) and _other_class(tap):
        change = f"precision {tap.class_before} → {tap.class_after}"
        return replace(moved, verdict=NumericVerdict.PRECISION, change=change)
    if noise is None:
        return replace(moved, verdict=NumericVerdict.DRIFTED, change="errors that are not finite")
    if noise.growth > BENIGN_RATIO:
        kind = "longer chains of summation, or another algorithm" if _sums(tap) else "a less exact algorithm"
        change = f"{kind}: {_figures(tap)}" if local else _figures(tap)
        return replace(moved, verdict=NumericVerdict.DRIFTED, change=change)
    if not local:
        change = _figures(tap)
    elif tap.unit == "off":
        change = "sign of zero"
    elif _sums(tap):
        change = f"order of summation: {_figures(tap)}"
    else:
        change = f"other rounding: {_figures(tap)}"
    return replace(moved, verdict=NumericVerdict.BENIGN, change=change)


def _single_elements(tap: TapDrift, pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> TapDrift:
    """The tap, drifted where in more than one case a few elements went astray that the RMS of all hardly shows."""
    if tap.verdict is not NumericVerdict.BENIGN or not tap.is_by_itself:
        return tap
    astray = [
        (was, new)
        for was, new in pairs
        if _is_spread(was) and not _is_spread(new) and (new.worst or 0.0) > SINGLE_RATIO * (was.worst or 0.0)
    ]
    if len(astray) < FEWEST_CASES:
        return tap
    was, new = astray[0]
    change = f"single elements: at most {was.worst:.3g} → {new.worst:.3g} {tap.unit}"
    return replace(tap, verdict=NumericVerdict.DRIFTED, change=change)


def _other_class(tap: TapDrift) -> bool:
    return tap.class_before != tap.class_after and "exact" not in (tap.class_before, tap.class_after)


def _sums(tap: TapDrift) -> bool:
    return tap.unit == "noise units"


def _figures(tap: TapDrift) -> str:
    return f"{tap.noise_before:.3g} → {tap.noise_after:.3g} {tap.unit}"


def _noise(pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> _Noise | None:
    """The noise where it grew most among the groups of cases that differ by their seed alone.

    Of a group, the medians over its seeds; or its case that grew second most, where that grew more: one odd seed is no
    drift, two are. None where an error is not finite. A group is one set of weights: a drift that one of them shows is
    one.
    """
    groups: dict[str, list[tuple[ReportedResult, ReportedResult]]] = {}
    for was, new in pairs:
        groups.setdefault(new.group, []).append((was, new))
    noises = []
    for group in groups.values():
        before = [was.rms for was, _ in group if was.rms is not None]
        after = [new.rms for _, new in group if new.rms is not None]
        if len(before) < len(group) or len(after) < len(group):
            return None
        apart = [was.repeat_rms or 0.0 for was, _ in group]
        floor = FLOORS.get(_unit(group[0][1]), END_TO_END_FLOOR)
        least = max(floor, median(before), median(apart))
        wider = by_chance(group[0][1].elements) / BENIGN_RATIO
        noises.append(_Noise(median(before), median(after), least * wider))
        single = [_Noise(old, new, max(old, least) * wider) for old, new in zip(before, after, strict=True)]
        noises += sorted(single, key=lambda noise: noise.growth)[:-1] if len(group) > FEWEST_CASES else []
    return max(noises, key=lambda noise: noise.growth, default=None)


@cache
def by_chance(elements: int | None) -> float:
    """How far the ratio of two RMS errors of so many elements goes without a cause; at least BENIGN_RATIO.

    The ratio of mean squares of independent normal errors has the F distribution. From about 100 elements on it is no
    hurdle; of the loss, which is one number, its cap alone judges.
    """
    if elements is None:
        return BENIGN_RATIO
    from scipy.stats import f  # late: it takes seconds, and what is wrong with a command line is told sooner

    return max(BENIGN_RATIO, float(np.sqrt(f.isf(CHANCE, elements, elements))))


def _old_failures(pairs: Sequence[tuple[ReportedResult, ReportedResult]]) -> str:
    """What is said of a tap that failed before."""
    still = [new for was, new in pairs if was.failed and new.failed]
    if still:
        return f"{FAILED_BEFORE}, in {len(still)} of {len(pairs)} cases: not from this upgrade; {still[0].message}"
    fixed = sum(was.failed for was, _ in pairs)
    return f"failed before in {fixed} of {len(pairs)} cases, and passes now" if fixed else ""


def _unit(result: ReportedResult) -> str:
    return result.unit if result.check in BY_ITSELF else END_TO_END_UNIT


def _bits(results: Sequence[ReportedResult]) -> float | None:
    """The fewest effective bits of all cases; None where every bit is right, or nothing is known."""
    return min((result.effective_bits for result in results if result.effective_bits is not None), default=None)


def _coarsest(results: Sequence[ReportedResult]) -> str:
    return max((_class(result) for result in results), key=PRECISIONS.index, default="unknown")


def _class(result: ReportedResult) -> str:
    """The precision that a tap was observed to have in a case."""
    if result.noise_rms is not None:
        return precision_class(result.noise_rms)
    if result.rms == 0.0:
        return "exact"
    if result.effective_bits is None:
        return "unknown"
    return next((name for least, name in CLASSES_BY_BITS if result.effective_bits >= least), "none")


def _first_moved(taps: Sequence[TapDrift]) -> TapDrift | None:
    """The first operator that moved by itself, else the first tap that moved end to end."""
    return next((tap for tap in taps if tap.moved), None)


def _with_causes(taps: Sequence[TapDrift]) -> list[TapDrift]:
    """The same taps; what moved end to end names the operator whose own move it follows."""
    order = [tap.tap for tap in taps if tap.check == "local"]
    first = next((tap.tap for tap in taps if tap.check == "local" and tap.moved), None)
    if first is None:
        return list(taps)
    after = set(order[order.index(first) :])
    return [
        replace(tap, change=f"follows {first}; {tap.change}")
        if not tap.is_by_itself and tap.moved and tap.tap in after
        else tap
        for tap in taps
    ]
