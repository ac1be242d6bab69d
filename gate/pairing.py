"""Which results of two reports are compared: those of the same check, tap and case, and what is then left over."""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.results import Check
from gate.reported import ReportedResult
from gate.results import GRADIENTS

Pair = tuple[ReportedResult, ReportedResult]

#: What drift is judged by. The rest of the training lane has no bits to compare, or trains anew.
FORWARD = (Check.LOCAL, Check.END_TO_END, Check.UNTAPPED)
COMPARED = (*FORWARD, *GRADIENTS)

#: What tells of a lane that could not be run, and of which part of it.
LANES = (Check.RUN, Check.TRAINING)
PARTS = ("", "gradients")


@dataclass(frozen=True)
class Paired:
    """The results of one variant in two reports."""

    taps: tuple[tuple[Pair, ...], ...]
    """Those of one tap and check each, in the order of the run."""
    lost: str
    """What the candidate lacks that the baseline has, in a line; nothing if there is no such."""
    left_out: str
    """Why gradients were not compared; nothing where they were, or were not asked for."""


def errored(results: Sequence[ReportedResult]) -> ReportedResult | None:
    """The first result that says that something compared here could not be run."""
    return next((own for own in results if own.outcome == "errored" and _matters(own)), None)


def paired(before: Sequence[ReportedResult], after: Sequence[ReportedResult]) -> Paired:
    """Pair what both sides have; a case that the candidate was not asked for is no loss.

    What the baseline lacks forward is paired with a result that was skipped: nothing passes because it is not there.
    """
    old = {(own.check, own.tap, own.case): own for own in before if own.check in COMPARED}
    new = {(own.check, own.tap, own.case): own for own in after if own.check in COMPARED}
    taps: dict[tuple[str, str], list[Pair]] = {}
    for key, own in new.items():
        if key in old or own.check in FORWARD:
            taps.setdefault(key[:2], []).append((old.get(key) or _lacking(own), own))
    asked = {(_is_training(own), own.case) for own in after if _matters(own)}
    lost = next((own for key, own in old.items() if key not in new and (_is_training(own), own.case) in asked), None)
    expected = f"expected the {lost.check} check of {lost.tap!r} that the baseline has, found none" if lost else ""
    return Paired(
        taps=tuple(map(tuple, taps.values())),
        lost=f"candidate, {lost.case}: {expected}" if lost else "",
        left_out=_left_out(before, after) if not any(check in GRADIENTS for check, _ in taps) else "",
    )


def _lacking(own: ReportedResult) -> ReportedResult:
    """What stands for the baseline where it has no such result."""
    nothing = dict.fromkeys(("noise_rms", "noise_max", "effective_bits", "worst", "rms", "repeatable", "repeat_rms"))
    return own.model_copy(update={**nothing, "outcome": "skipped", "digest": "", "message": "the baseline lacks it"})


def _left_out(before: Sequence[ReportedResult], after: Sequence[ReportedResult]) -> str:
    skipped = next((own for own in after if own.check == Check.TRAINING and _matters(own)), None)
    if skipped is not None:
        return skipped.message
    if not any(own.check in GRADIENTS for own in after):
        return ""
    told = next((own.message for own in before if own.check == Check.TRAINING and _matters(own)), "its report has none")
    return f"baseline: {told}"


def _is_training(own: ReportedResult) -> bool:
    return own.check in (*GRADIENTS, Check.TRAINING)


def _matters(own: ReportedResult) -> bool:
    return own.check in COMPARED or (own.check in LANES and own.tap in PARTS)
