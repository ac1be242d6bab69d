"""`python -m gate merge`: the reports of cells that were run apart, as one verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from gate import report
from gate.matrix import cell_name
from gate.reading import json_of, validated
from gate.results import Numerics, Side, Sides
from gate.verdict import Report, Run, void
from spec.exits import InputError


class _Cell(BaseModel):
    """What is read of a cell that `gate list` printed."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    name: str


class _Matrix(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)
    include: list[_Cell]


_MATRIX = TypeAdapter(_Matrix)


def merged(paths: Sequence[Path], cells: Path | None = None) -> Report:
    """The report of all; raises InputError for another format, other sides, and what is there twice.

    `cells` is a file that `gate list` printed: a cell of it without a report was not run.
    """
    given = [(path, report.read(path)) for path in paths]
    runs = [(path, run) for path, own in given for run in own.runs]
    _require_same_sides(runs)
    _require_once(runs)
    missing = [place for _, own in given for place in own.missing]
    if cells is not None:  # which says what there should be, also of cells that an earlier merge missed
        there = {name for _, run in runs for name in _names(run)}
        missing = [cell.name for cell in _expected(cells) if cell.name not in there]
    return Report(_voided([run for _, run in runs]), tuple(dict.fromkeys(missing)))


def _voided(runs: Sequence[Run]) -> tuple[Run, ...]:
    """The runs, where a speed-up is none if another of the same upgrade found that something else is computed."""
    numerics: dict[tuple[str, ...], list[Numerics]] = {}
    for run in runs:
        numerics.setdefault(run.finding.sides.upgrade, []).extend(run.finding.numerics)
    return tuple(
        replace(run, finding=replace(run.finding, speed=void(numerics[run.finding.sides.upgrade], run.finding.speed)))
        for run in runs
    )


def _names(run: Run) -> set[str]:
    """Of the cells that a run is."""
    sides = run.finding.sides
    networks = {own.network for own in run.finding.numerics} | {own.network for own in run.finding.speed}
    return {cell_name(sides.baseline.label, sides.candidate.label, run.device, network) for network in networks}


def _require_same_sides(runs: Sequence[tuple[Path, Run]]) -> None:
    """Of one upgrade on one device, all cells must have had the same environments."""
    first: dict[tuple[str, ...], tuple[Path, Sides]] = {}
    for path, run in runs:
        sides = run.finding.sides
        key = (*sides.upgrade, run.device)
        other, known = first.setdefault(key, (path, sides))
        for before, here in ((known.baseline, sides.baseline), (known.candidate, sides.candidate)):
            found = _differs(before, here)
            if found:
                raise InputError(
                    f"{path}: expected the {here.name} {here.label!r:.80} of {other}, found {found}; "
                    f"run all cells with the same packages"
                )


def _differs(before: Side, here: Side) -> str:
    names = [
        name
        for name in sorted(before.packages.keys() | here.packages.keys())
        if before.packages.get(name) != here.packages.get(name)
    ]
    packages: Mapping[str, str] = here.packages
    return ", ".join(f"{name} {packages.get(name, 'missing')}" for name in names[:3])


def _require_once(runs: Sequence[tuple[Path, Run]]) -> None:
    seen: dict[tuple[str, ...], Path] = {}
    for path, run in runs:
        own = [("numerics", cell.network, str(cell.variant)) for cell in run.finding.numerics]
        own += [(f"speed at batch {cell.batch}", cell.network, str(cell.variant)) for cell in run.finding.speed]
        for what, network, variant in own:
            key = (*run.finding.sides.upgrade, what, network, variant)
            if key in seen:
                raise InputError(
                    f"{path}: expected each cell once, found {what} of {network}, {variant} in {seen[key]} too"
                )
            seen[key] = path


def _expected(path: Path) -> list[_Cell]:
    what = "what `gate list` prints"
    content = json_of(path, what, f"{what}, which is JSON", f"--cells {path}")
    return validated(_MATRIX, content, f"--cells {path}: expected {what}").include
