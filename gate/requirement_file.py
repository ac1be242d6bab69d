"""Requirement files as pip and uv read them: requirements, the files that they include, what is wrong with them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from spec.exits import InputError, one_line

_INCLUDE = re.compile(r"(-r|-c|--requirement(?=[\s=])|--constraint(?=[\s=]))[\s=]*(\S+)")
_CONSTRAINTS = ("-c", "--constraint")

#: What the address or the path of a package has, and no requirement does.
_OF_ADDRESSES = ("/", "\\", "${", ".whl", ".zip", ".tar.")


def requirements_of(path: Path) -> dict[str, Requirement]:
    """The requirements of a file and of the files it includes, by package; raises InputError.

    What is no requirement (options, addresses) is left to the installer.
    """
    found: dict[str, Requirement] = {}
    for line in lines_of(path):
        try:
            requirement = Requirement(_requirement(line))
        except InvalidRequirement:
            continue
        if requirement.marker is None or requirement.marker.evaluate():
            found[canonicalize_name(requirement.name)] = requirement
    return found


def lines_of(path: Path) -> list[str]:
    """The lines of a file without comments, then those of files that it includes; raises InputError."""
    return [line for file in _files(path) if not file.is_constraint for _, line in file.lines]


def files_of(path: Path) -> list[Path]:
    """The file, and the files that it includes, constraints too; raises InputError."""
    return [file.path for file in _files(path)]


def require_requirements(path: Path) -> None:
    """Raise InputError, with file and line, for the first line that no installer understands."""
    for file in _files(path):
        for number, line in file.lines:
            text = _requirement(line)
            if text.startswith("-") or any(sign in text for sign in _OF_ADDRESSES):
                continue  # an option, or where something is: the installer's matter
            try:
                Requirement(text)
            except InvalidRequirement as error:
                said = f"found {text!r:.200} ({one_line(str(error).partition(chr(10))[0]):.200})"
                place = f"{file.path}:{number}"
                raise InputError(f"{place}: expected a requirement such as jax==0.10.2, {said}") from None


def _requirement(line: str) -> str:
    """A line without what it says about hashes and the like."""
    return line.partition(" --")[0]


@dataclass(frozen=True)
class _File:
    path: Path
    lines: tuple[tuple[int, str], ...]
    """Each with its number; without those that include."""
    is_constraint: bool


def _files(path: Path, is_constraint: bool = False, within: frozenset[Path] = frozenset()) -> Iterator[_File]:
    """A file and those that it includes, none of them within itself; raises InputError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{str(path)!r:.200}: expected a requirement file, found none that can be read: {error}"
        ) from None
    lines = tuple(_lines(text))
    yield _File(path, tuple((number, line) for number, line in lines if not _INCLUDE.match(line)), is_constraint)
    within |= {path.resolve()}
    for include in filter(None, (_INCLUDE.match(line) for _, line in lines)):
        other = path.parent / include[2]
        if other.resolve() not in within:
            yield from _files(other, is_constraint or include[1] in _CONSTRAINTS, within)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments, with the number of the first that each is made of: a backslash goes on in the next."""
    start, parts = 0, ""
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        start = start or number
        if raw.endswith("\\"):
            parts += f"{raw[:-1]} "
            continue
        line = (parts + raw).split(" #")[0].strip()
        if line and not line.startswith("#"):
            yield start, line
        start, parts = 0, ""
