"""What accepted changes make of verdicts: each entry turns those that it is about into `accepted`.

An entry that nothing needs any more is stale and fails the gate. Which one is, is known once all cells are there: see
`Report.stale`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from gate.accepted import AcceptedCost, AcceptedDrift, Entry
from gate.drift import overall, reason_of
from gate.results import Effect, EntryUse, Numerics, NumericVerdict, Sides, Speed, SpeedVerdict, TapDrift
from gate.table import percent

_Judged = TypeVar("_Judged", Numerics, Speed)

#: Costs that are known not to have grown. One that is undecided may yet have.
SETTLED = (SpeedVerdict.OK, SpeedVerdict.FASTER, SpeedVerdict.VOID)


@dataclass(frozen=True)
class Applied(Generic[_Judged]):
    """What is left to judge once acceptances are applied."""

    found: tuple[_Judged, ...]
    entries: tuple[EntryUse, ...]
    """Those that are about it."""


def of_numerics(numerics: Iterable[Numerics], sides: Sides, entries: Sequence[Entry]) -> Applied[Numerics]:
    """Mark what is accepted of the numbers; what could not be run may need an entry as well as not."""
    changed = list(numerics)
    uses = []
    for entry in entries:
        own = entry.accepted
        if not isinstance(own, AcceptedDrift):
            continue
        concerned = [i for i, judged in enumerate(changed) if own.concerns(judged.network, judged.variant, sides)]
        is_needed = False
        for index in concerned:
            taps = tuple(_accepted_tap(tap, own) for tap in changed[index].taps)
            is_needed |= taps != changed[index].taps or not _is_known(changed[index])
            changed[index] = replace(changed[index], taps=taps)
        if concerned:
            uses.append(_use(entry, own.taps, sides, is_needed))
    return Applied(tuple(_summed_up(judged) if _is_known(judged) else judged for judged in changed), tuple(uses))


def of_speed(speed: Iterable[Speed], sides: Sides, entries: Sequence[Entry]) -> Applied[Speed]:
    """Mark what is accepted of the costs; an entry is needed unless all that it is about is known to be no slower."""
    changed = list(speed)
    uses = []
    for entry in entries:
        own = entry.accepted
        if not isinstance(own, AcceptedCost):
            continue
        verdicts = [effect.verdict for cell in changed for effect in _about(own, cell, sides)]
        if verdicts:
            is_needed = any(verdict not in SETTLED for verdict in verdicts)
            uses.append(_use(entry, own.quantities, sides, is_needed))
        changed = [_accepted_costs(entry, own, cell, sides) for cell in changed]
    return Applied(tuple(changed), tuple(uses))


def _is_known(numerics: Numerics) -> bool:
    """Whether its numbers are known."""
    return bool(numerics.taps) and numerics.verdict is not NumericVerdict.ERRORED


def _accepted_tap(tap: TapDrift, own: AcceptedDrift) -> TapDrift:
    if not own.covers(tap):
        return tap
    message = f"{tap.verdict}, {own.because}; {tap.message}".rstrip("; ")
    return replace(tap, verdict=NumericVerdict.ACCEPTED, message=message)


def _summed_up(numerics: Numerics) -> Numerics:
    """The numerics with verdict and reason of their taps as they are now."""
    verdict = overall(numerics.taps)
    if verdict is numerics.verdict:
        return numerics
    changed = replace(numerics, verdict=verdict)
    return replace(changed, reason=reason_of(changed))


def _about(own: AcceptedCost, cell: Speed, sides: Sides) -> Iterator[Effect]:
    """The effects of a cell that an entry is about."""
    if own.concerns(cell.network, cell.variant, sides):
        yield from (effect for effect in cell.effects if own.is_about(effect.quantity, cell.batch))


def _accepted_costs(entry: Entry, own: AcceptedCost, cell: Speed, sides: Sides) -> Speed:
    about = list(_about(own, cell, sides))
    return replace(cell, effects=tuple(_accepted_cost(entry, own, e) if e in about else e for e in cell.effects))


def _accepted_cost(entry: Entry, own: AcceptedCost, effect: Effect) -> Effect:
    if effect.verdict is not SpeedVerdict.SLOWER or effect.estimate is None:
        return effect
    if effect.estimate - 1.0 > own.at_most:
        reason = f"more than the {percent(1.0 + own.at_most)} that {entry.place} accepts; {effect.reason}".rstrip("; ")
        return replace(effect, reason=reason)
    reason = f"SLOWER, up to {percent(1.0 + own.at_most)} {own.because}; {effect.reason}".rstrip("; ")
    return replace(effect, verdict=SpeedVerdict.ACCEPTED, reason=reason)


def _use(entry: Entry, where: Sequence[str], sides: Sides, is_needed: bool) -> EntryUse:
    own = entry.accepted
    before, after = (side.packages.get(own.package) for side in (sides.baseline, sides.candidate))
    stale = (
        f"{entry.place}: expected {own.verdict} at {', '.join(where)} from {own.package} {before} to {after}, found "
        f"none; remove the entry"
    )
    return EntryUse(stale, own.networks, is_needed)
