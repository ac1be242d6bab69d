"""Requirement files as pip and uv read them: requirements, the files that they include, what is wrong with them.

Run as a program, this prints all lines that decide what the sides on the command line are, where these are files.
"""

import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from spec.exits import Exit, InputError, end, one_line

#: Another file; one at an address is left to the installer.
_INCLUDE = re.compile(r"(-r|-c|--requirement(?=[\s=])|--constraint(?=[\s=]))[\s=]*(?![a-z]+://)(\S+)")
_CONSTRAINTS = ("-c", "--constraint")

#: What the address or the path of a package has, and no requirement does.
_OF_ADDRESSES = ("/", "\\", "${", ".whl", ".zip", ".tar.")


def requirements_of(path: Path) -> dict[str, Requirement]:
    """The requirements of a file and of the files it includes, by package; raises InputError.

    What is no requirement (options, addresses that do not tell the package) is left to the installer.
    """
    return _named(line for is_constraint, line in contents_of(path) if not is_constraint)


def constraints_of(path: Path) -> dict[str, Requirement]:
    """What the constraints that a file includes say, by package; raises InputError."""
    return _named(line for is_constraint, line in contents_of(path) if is_constraint)


def others_of(path: Path) -> list[str]:
    """The lines that name no package, of constraints too: options, addresses; raises InputError."""
    return [line for _, line in contents_of(path) if _parsed(line) is None]


def contents_of(path: Path) -> list[tuple[bool, str]]:
    """All that decides what a file asks for, those that it includes after it; raises InputError.

    Each line without comments, and whether it is one of constraints.
    """
    return [(file.is_constraint, line) for file in _files(path) for _, line in file.lines]


def files_of(path: Path) -> list[Path]:
    """The file, and the files that it includes, constraints too; raises InputError."""
    return [file.path for file in _files(path)]


def is_pinned(path: Path) -> bool:
    """Whether each line is the exact version of a package, which is the same on every day; raises InputError."""
    found = [_parsed(line) for _, line in contents_of(path)]
    return all(requirement is not None and _is_pin(requirement) for requirement in found)


def included_by(path: Path) -> list[str]:
    """What a file names that it includes, whether it is there or not; raises InputError."""
    return [include[2] for include in map(_INCLUDE.match, (line for _, line in _lines(_text(path)))) if include]


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


def _named(lines: Iterable[str]) -> dict[str, Requirement]:
    """The requirements among `lines` that hold here, by package."""
    found = filter(None, map(_parsed, lines))
    return {
        canonicalize_name(requirement.name): requirement
        for requirement in found
        if requirement.marker is None or requirement.marker.evaluate()
    }


def _parsed(line: str) -> Requirement | None:
    """The requirement that a line is, or the wheel whose place it says; None for what is neither."""
    text = _requirement(line)
    place = text.partition(" ")[0]
    file = urllib.parse.unquote(re.split("[#?]", place)[0].rpartition("/")[2])
    try:
        if file.endswith(".whl") and " @ " not in text:
            text = f"{parse_wheel_filename(file)[0]} @ {text}"
        return Requirement(text)
    except (InvalidRequirement, InvalidWheelFilename):
        return None


def _is_pin(requirement: Requirement) -> bool:
    versions = list(requirement.specifier)
    return [own.operator for own in versions] == ["=="] and not versions[0].version.endswith("*")


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
    lines = tuple(_lines(_text(path)))
    yield _File(path, tuple((number, line) for number, line in lines if not _INCLUDE.match(line)), is_constraint)
    within |= {path.resolve()}
    for include in filter(None, (_INCLUDE.match(line) for _, line in lines)):
        other = path.parent / include[2]
        if other.resolve() not in within:
            yield from _files(other, is_constraint or include[1] in _CONSTRAINTS, within)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{str(path)!r:.200}: expected a requirement file, found none that can be read: {error}"
        ) from None


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


def main(arguments: list[str]) -> Exit:
    """Print the contents of those of `arguments` that are files; raises InputError."""
    for path in filter(Path.is_file, map(Path, filter(None, arguments))):
        for is_constraint, line in contents_of(path):
            print("constraint:" if is_constraint else "requirement:", line)
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
