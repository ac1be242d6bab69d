"""Changes of numbers that were accepted on purpose: data in accepted.toml, reviewed, and strict.

An entry turns one verdict at some taps into `accepted`. One that accepts nothing any more, where it should, is stale
and fails the gate; one past its day fails before anything is run.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, AnyHttpUrl, Field, TypeAdapter, ValidationError

from conformance.caps import Words, within
from gate.drift import overall, reason_of
from gate.results import Numerics, NumericVerdict, Sides, TapDrift
from impls.frameworks import FrameworkName
from spec.base import AsTuple, Line, Part
from spec.exits import InputError, one_line

FILE = Path(__file__).with_name("accepted.toml")
NAME = "gate/accepted.toml"
TABLE = "accepted"

_HEADER = re.compile(rf"^[ \t]*\[\[[ \t]*{TABLE}[ \t]*\]\]", re.MULTILINE)


def _bound(text: str) -> str:
    try:
        bound = SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(str(error)) from None
    if not str(bound):
        raise ValueError("expected a bound such as '>=0.9,<0.10', found one that every version satisfies")
    return text


def _link(text: str) -> str:
    TypeAdapter(AnyHttpUrl).validate_python(text)
    return text


Bound = Annotated[str, AfterValidator(_bound)]


class Accepted(Part):
    """A change that is known, understood and wanted."""

    framework: FrameworkName
    package: Annotated[str, Field(min_length=1), AfterValidator(canonicalize_name)]
    """Whose versions `before` and `after` bound."""
    before: Bound
    after: Bound
    networks: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    lowerings: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    taps: Words
    """Names of taps, or patterns: `conv*`."""
    verdict: Literal["drifted", "precision class changed", "diverged"]
    reason: Line
    link: Annotated[str, AfterValidator(_link)]
    expires: date
    """The first day on which it no longer holds."""

    def concerns(self, numerics: Numerics, sides: Sides) -> bool:
        """Whether it is about this upgrade, network and variant."""
        return (
            self.framework == sides.framework == numerics.variant.framework
            and within(sides.baseline.packages.get(self.package, ""), self.before)
            and within(sides.candidate.packages.get(self.package, ""), self.after)
            and (not self.networks or numerics.network in self.networks)
            and (not self.lowerings or numerics.variant.lowering in self.lowerings)
        )

    def covers(self, tap: TapDrift) -> bool:
        """Whether it accepts what became of a tap."""
        return tap.verdict == self.verdict and any(fnmatchcase(tap.tap, pattern) for pattern in self.taps)


@dataclass(frozen=True)
class Entry:
    """An acceptance, and the line of the file that it begins on."""

    accepted: Accepted
    place: str


@dataclass(frozen=True)
class Applied:
    """What is left to judge once acceptances are applied."""

    numerics: tuple[Numerics, ...]
    stale: tuple[str, ...]
    """A line for each entry that accepted nothing where it should."""


def name_of(path: Path) -> str:
    """What errors and reports call the file: the one that comes with Lockstep is called the same everywhere."""
    return NAME if path == FILE else str(path)


def entries(today: date, path: Path = FILE) -> tuple[Entry, ...]:
    """The acceptances in a file; raises InputError, with file and line, where one is wrong or past its day."""
    place = name_of(path)
    try:
        text = path.read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{place}: expected a file of accepted changes, found: {error.strerror or error}") from None
    except ValueError as error:
        raise InputError(f"{place}: expected TOML, found: {error}") from None
    unknown = sorted(content.keys() - {TABLE})
    tables = content.get(TABLE, [])
    if unknown or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise InputError(f"{place}: expected [[{TABLE}]] tables alone, found {(unknown or [TABLE])[0]!r:.80}")
    lines = [text.count("\n", 0, match.start()) + 1 for match in _HEADER.finditer(text)]
    named = lines if len(lines) == len(tables) else [1] * len(tables)
    found = tuple(_entry(table, f"{place}:{line}") for table, line in zip(tables, named, strict=True))
    for entry in found:
        if entry.accepted.expires <= today:
            raise InputError(
                f"{entry.place}: expected an entry that holds on {today}, found one that expired on "
                f"{entry.accepted.expires} ({entry.accepted.reason}); remove it, or review it and set another day"
            )
    return found


def apply(numerics: Iterable[Numerics], sides: Sides, accepted: Sequence[Entry]) -> Applied:
    """Mark what is accepted; an entry about this upgrade that accepts nothing is stale."""
    changed = list(numerics)
    stale = []
    for entry in accepted:
        concerned = [
            index for index, own in enumerate(changed) if _is_judged(own) and entry.accepted.concerns(own, sides)
        ]
        used = False
        for index in concerned:
            taps = tuple(_accepted(tap, entry) for tap in changed[index].taps)
            used |= taps != changed[index].taps
            changed[index] = replace(changed[index], taps=taps)
        if concerned and not used:
            stale.append(_stale(entry, sides))
    return Applied(tuple(_summed_up(own) if _is_judged(own) else own for own in changed), tuple(stale))


def _is_judged(numerics: Numerics) -> bool:
    """Whether its numbers are known: an entry is not stale because a side could not be run."""
    return bool(numerics.taps) and numerics.verdict is not NumericVerdict.ERRORED


def _accepted(tap: TapDrift, entry: Entry) -> TapDrift:
    if not entry.accepted.covers(tap):
        return tap
    own = entry.accepted
    message = f"{tap.verdict}, accepted until {own.expires}: {own.reason} ({own.link}); {tap.message}".rstrip("; ")
    return replace(tap, verdict=NumericVerdict.ACCEPTED, message=message)


def _summed_up(numerics: Numerics) -> Numerics:
    """The numerics with verdict and reason of their taps as they are now."""
    verdict = overall(numerics.taps)
    if verdict is numerics.verdict:
        return numerics
    changed = replace(numerics, verdict=verdict)
    return replace(changed, reason=reason_of(changed))


def _stale(entry: Entry, sides: Sides) -> str:
    own = entry.accepted
    before, after = (side.packages.get(own.package) for side in (sides.baseline, sides.candidate))
    return (
        f"{entry.place}: expected {own.verdict} at {', '.join(own.taps)} from {own.package} {before} to {after}, found "
        f"none; remove the entry"
    )


def _entry(table: dict[str, object], place: str) -> Entry:
    try:
        return Entry(Accepted.model_validate(table), place)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        found = "nothing" if first["type"] == "missing" else f"{str(first['input'])!r:.80}"
        raise InputError(f"{place}: {key:.80}: {one_line(first['msg'])}, found {found}") from None
