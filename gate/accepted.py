"""Changes that were accepted on purpose: data in accepted.toml, reviewed, and strict.

What an entry makes of a verdict is in gate/acceptance.py. An entry past its day fails before anything is run, and so
does one whose day is too far away: an acceptance is looked at again.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import AfterValidator, AnyHttpUrl, Field, TypeAdapter

from conformance.caps import Words, within
from gate.reading import validated
from gate.results import Quantity, Sides, TapDrift
from impls.frameworks import FrameworkName, Variant
from spec.base import AsTuple, Extent, Line, Part
from spec.exits import InputError

FILE = Path(__file__).with_name("accepted.toml")
NAME = "gate/accepted.toml"
TABLE = "accepted"
#: How far away the day may be on which an acceptance ends.
LONGEST = timedelta(days=366)

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
    """A change that is known, understood and wanted: what entries of both kinds say."""

    framework: FrameworkName
    package: Annotated[str, Field(min_length=1), AfterValidator(canonicalize_name)]
    """Whose versions `before` and `after` bound."""
    before: Bound
    after: Bound
    networks: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    lowerings: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    verdict: Literal["drifted", "precision class changed", "diverged", "SLOWER"]
    reason: Line
    link: Annotated[str, AfterValidator(_link)]
    expires: date
    """The first day on which it no longer holds."""

    def concerns(self, network: str, variant: Variant, sides: Sides) -> bool:
        """Whether it is about this upgrade, network and variant."""
        return (
            self.framework == sides.framework == variant.framework
            and within(sides.baseline.packages.get(self.package, ""), self.before)
            and within(sides.candidate.packages.get(self.package, ""), self.after)
            and (not self.networks or network in self.networks)
            and (not self.lowerings or variant.lowering in self.lowerings)
        )

    @property
    def because(self) -> str:
        """Until when and why, for whoever reads the verdict."""
        return f"accepted until {self.expires}: {self.reason} ({self.link})"


class AcceptedDrift(Accepted):
    """Numbers that moved."""

    verdict: Literal["drifted", "precision class changed", "diverged"]
    taps: Words
    """Names of taps, or patterns: `conv*`."""

    def covers(self, tap: TapDrift) -> bool:
        """Whether it accepts what became of a tap."""
        return tap.verdict == self.verdict and any(fnmatchcase(tap.tap, pattern) for pattern in self.taps)


class AcceptedCost(Accepted):
    """Costs that grew, and how far they may."""

    verdict: Literal["SLOWER"]
    quantities: Annotated[tuple[Annotated[Quantity, Field(strict=False)], ...], AsTuple, Field(min_length=1)]
    batches: Annotated[tuple[Extent, ...], AsTuple] = ()
    """None named means all."""
    at_most: Annotated[float, Field(gt=0.0)]
    """As a share of the baseline's cost: 0.15 accepts up to +15%."""

    def is_about(self, quantity: Quantity, batch: int) -> bool:
        """Whether it is about this cost of a cell that it concerns."""
        return quantity in self.quantities and (not self.batches or batch in self.batches)


#: What an entry says beside its verdict. With any other verdict it is wrong, which Accepted says itself.
_KINDS: Mapping[str, type[Accepted]] = {
    "drifted": AcceptedDrift,
    "precision class changed": AcceptedDrift,
    "diverged": AcceptedDrift,
    "SLOWER": AcceptedCost,
}


@dataclass(frozen=True)
class Entry:
    """An acceptance, and the line of the file that it begins on."""

    accepted: Accepted
    place: str


def name_of(path: Path) -> str:
    """What errors and reports call the file: the one that comes with Lockstep is called the same everywhere."""
    return NAME if path == FILE else str(path)


def entries(today: date, path: Path = FILE) -> tuple[Entry, ...]:
    """The acceptances in a file; raises InputError, with file and line, where one is wrong or its day does not hold."""
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
        if entry.accepted.expires > today + LONGEST:
            raise InputError(
                f"{entry.place}: expires: expected a day at most {LONGEST.days} days away, {today + LONGEST}, found "
                f"{entry.accepted.expires}; an acceptance is looked at again"
            )
    return found


def _entry(table: dict[str, object], place: str) -> Entry:
    kind = _KINDS.get(str(table.get("verdict")), Accepted)
    return Entry(validated(TypeAdapter(kind), table, place), place)
