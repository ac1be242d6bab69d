"""One verdict over all that was gated: of one run, or of many that were merged."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gate import accepted
from gate.results import Change, Effect, Finding, Numerics, NumericVerdict, Sides, Speed, SpeedVerdict
from impls.frameworks import Variant
from spec.exits import Exit

#: How a verdict is called.
WORDS: Mapping[Exit, str] = {
    Exit.PASSED: "passed",
    Exit.DIVERGED: "failed",
    Exit.NOT_RUN: "not-run",
    Exit.UNDECIDED: "undecided",
}
#: Of several runs, the first of these that any has.
ORDER = (Exit.DIVERGED, Exit.NOT_RUN, Exit.UNDECIDED, Exit.PASSED)

#: From what needs a look first to what needs none.
SPEED_ORDER = (
    SpeedVerdict.SLOWER,
    SpeedVerdict.ERRORED,
    SpeedVerdict.UNDECIDED,
    SpeedVerdict.ACCEPTED,
    SpeedVerdict.VOID,
    SpeedVerdict.FASTER,
    SpeedVerdict.OK,
    SpeedVerdict.SKIPPED,
)


@dataclass(frozen=True)
class Run:
    """What one gate found, and how to get it again."""

    finding: Finding
    arguments: tuple[str, ...]
    """Of `python -m gate`, without those that choose a cell."""
    specs: Mapping[str, str]
    """How each network was asked for, by its name."""
    device: str
    notes: tuple[str, ...] = ()
    """What a reader has to know: results that were reused, what was left out."""
    duration_s: float = 0.0
    accepted_in: str = accepted.NAME
    """The file of changes that are accepted."""
    is_part: bool = False
    """Whether it is one cell of several: alone it says nothing of entries that it does not need."""

    @property
    def title(self) -> str:
        """What is upgraded: `jax 0.9.2 → 0.10.2`."""
        return title(self.finding.sides)


@dataclass(frozen=True)
class Cell:
    """One variant of one network: a row of the table."""

    run: Run
    """The first that found something of it."""
    network: str
    variant: Variant
    numerics: Numerics | None
    speed: tuple[Speed, ...]

    @property
    def effects(self) -> list[tuple[int, Effect]]:
        """What became of each cost, with its batch."""
        return [(speed.batch, effect) for speed in self.speed for effect in speed.effects]

    @property
    def worst_speed(self) -> SpeedVerdict | None:
        """What needs a look first; None where nothing was timed."""
        verdicts = {effect.verdict for _, effect in self.effects}
        return next((verdict for verdict in SPEED_ORDER if verdict in verdicts), None)


@dataclass(frozen=True)
class Report:
    """All that was found."""

    runs: Sequence[Run]
    missing: tuple[str, ...] = field(default=())
    """Cells that were expected, and of which there is no report."""

    @property
    def exit(self) -> Exit:
        """The exit code of all: the worst of any run; a cell without a report was not run, a stale entry fails."""
        found = {run.finding.exit for run in self.runs} | ({Exit.NOT_RUN} if self.missing or not self.runs else set())
        found |= {Exit.DIVERGED} if self.stale else set()
        return next(code for code in ORDER if code in found)

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return WORDS[self.exit]

    @property
    def cells(self) -> list[Cell]:
        """The rows of the table, in the order in which they were run."""
        return cells_of(self.runs)

    @property
    def stale(self) -> list[tuple[str, str]]:
        """The entries that nothing needs any more: the file, and what is wrong.

        None while some cells are not there: they may need what the others do not.
        """
        if self.missing or (len(self.runs) == 1 and self.runs[0].is_part):
            return []
        networks = {cell.network for cell in self.cells}
        uses = [(run.accepted_in, use) for run in self.runs for use in run.finding.entries]
        needed = {(file, use.stale) for file, use in uses if use.is_needed or not networks.issuperset(use.networks)}
        return [own for own in dict.fromkeys((file, use.stale) for file, use in uses) if own not in needed]

    @property
    def notes(self) -> list[str]:
        """What a reader has to know, each once."""
        found = [note for run in self.runs for note in run.notes]
        families = sum(bool(run.finding.speed) for run in self.runs)
        if families > 1:
            found.append(
                f"how often a SLOWER may be wrong is held within each of the {families} runs that timed, not over all "
                f"of them (docs/gate-statistics.md)"
            )
        return list(dict.fromkeys(found))

    @property
    def title(self) -> str:
        """What is upgraded, each upgrade once."""
        return "; ".join(dict.fromkeys(run.title for run in self.runs))


def cells_of(runs: Iterable[Run]) -> list[Cell]:
    """What runs found, joined by upgrade, network and variant."""
    cells: dict[tuple[object, ...], Cell] = {}
    for run in runs:
        found: list[Numerics | Speed] = [*run.finding.numerics, *run.finding.speed]
        for own in found:
            key = (run.finding.sides.upgrade, own.network, own.variant)
            cell = cells.get(key) or Cell(run, own.network, own.variant, None, ())
            if isinstance(own, Numerics):
                cells[key] = replace(cell, numerics=own)
            else:
                cells[key] = replace(cell, speed=(*cell.speed, own))
    return list(cells.values())


def void(numerics: Iterable[Numerics], speed: Iterable[Speed]) -> tuple[Speed, ...]:
    """The costs, where what got faster by computing something else is no speed-up."""
    changed = {(own.network, own.variant): reason for own in numerics if (reason := _changed_class(own))}
    return tuple(
        replace(
            cell, effects=tuple(_void(effect, changed.get((cell.network, cell.variant))) for effect in cell.effects)
        )
        for cell in speed
    )


def title(sides: Sides) -> str:
    """An upgrade in a few words: the packages that were asked for, or the labels of both sides where those are many."""
    asked = [change for change in sides.changes if change.asked]
    if 0 < len(asked) <= 3:
        return ", ".join(moved(change) for change in asked)
    return f"{sides.baseline.label} → {sides.candidate.label}"


def moved(change: Change) -> str:
    """A package and its versions: `jax 0.9.2 → 0.10.2`."""
    return f"{change.package} {change.before or 'none'} → {change.after or 'none'}"


def _changed_class(numerics: Numerics) -> str:
    """Why what got faster computes something else; empty where it does not."""
    if numerics.verdict in (NumericVerdict.DIVERGED, NumericVerdict.PRECISION):
        return f"numerics: {numerics.verdict}"
    for tap in numerics.taps:
        if tap.verdict is NumericVerdict.ACCEPTED and tap.class_before != tap.class_after:
            return f"numerics: {tap.tap} went from {tap.class_before} to {tap.class_after}, accepted or not"
    return ""


def _void(effect: Effect, reason: str | None) -> Effect:
    if reason is None or effect.verdict is not SpeedVerdict.FASTER:
        return effect
    return replace(effect, verdict=SpeedVerdict.VOID, reason=f"no speed-up: {reason}")
