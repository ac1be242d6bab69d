"""Which frameworks an update of requirement files changes: `python -m gate.changed BEFORE_DIR AFTER_DIR`.

With `--base REF` the state before is that of a git revision, whose requirement files are written below `--into`. Prints
JSON, one entry a framework and file: `framework`, `file`, the two sides to compare (`baseline`, `candidate`: paths of
requirement files) and `packages`, what changed. An update that changes no framework prints `[]`.
"""

import fnmatch
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gate.packages import FRAMEWORK_OF
from gate.requirement_file import requirements_of
from impls.frameworks import FRAMEWORKS, FrameworkName
from spec.arguments import Arguments
from spec.exits import Exit, InputError, NotRunError, end, one_line

ROOT = Path(__file__).parents[1]

#: What a requirement file is called; the last part of a pattern without `/` matches in every folder.
PATTERNS = ("*requirements*.txt", "requirements/*.txt", "*/requirements/*.txt")

#: Packages that come with a framework's CUDA builds.
_CUDA = ("cuda-", "nvidia-", "triton")


@dataclass(frozen=True)
class Update:
    """One framework that one requirement file changes."""

    framework: FrameworkName
    file: str
    baseline: str
    candidate: str
    packages: tuple[str, ...]


def updates(before: Path, after: Path, patterns: Sequence[str] = PATTERNS) -> list[Update]:
    """What changed from one folder to the other; raises InputError.

    A file that either side lacks has nothing to be compared with.
    """
    found = []
    for name in _requirement_files(after, patterns):
        if (before / name).is_file():
            changed = _changed_packages(before / name, after / name)
            for framework in _frameworks(before / name, after / name, changed):
                found.append(Update(framework, name, str(before / name), str(after / name), tuple(sorted(changed))))
    return found


def check_out(reference: str, repository: Path, into: Path, patterns: Sequence[str] = PATTERNS) -> Path:
    """Write the requirement files of a git revision below `into`; raises InputError and NotRunError."""
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}").strip()
    folder = into / commit
    for name in _git(repository, "ls-tree", "-r", "-z", "--name-only", commit).split("\0"):
        if name and _matches(name, patterns):
            try:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(_git(repository, "show", f"{commit}:{name}"), encoding="utf-8")
            except OSError as error:
                raise NotRunError(f"{folder / name} could not be written: {error}") from None
    return folder


def _requirement_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    if not folder.is_dir():
        raise InputError(f"{str(folder)!r:.200}: expected a folder with requirement files, found none")
    names = (path.relative_to(folder) for path in folder.rglob("*.txt") if path.is_file())
    visible = (name for name in names if not any(part.startswith(".") or part == "build" for part in name.parts))
    return sorted(name.as_posix() for name in visible if _matches(name.as_posix(), patterns))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)


def _changed_packages(before: Path, after: Path) -> set[str]:
    old, new = requirements_of(before), requirements_of(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _frameworks(before: Path, after: Path, changed: set[str]) -> list[FrameworkName]:
    """The frameworks to gate: those that changed themselves, or stand in the file upon a package that changed."""
    held = [{FRAMEWORK_OF[name] for name in requirements_of(path) if name in FRAMEWORK_OF} for path in (before, after)]
    own = {FRAMEWORK_OF[name] for name in changed if name in FRAMEWORK_OF}
    return [
        framework
        for framework in FRAMEWORKS
        if framework in held[0] & held[1]
        and (framework in own or any(_stands_upon(framework, name) for name in changed))
    ]


def _stands_upon(framework: FrameworkName, package: str) -> bool:
    """Whether a package is among those that are installed with a framework."""
    if package in FRAMEWORK_OF:
        return FRAMEWORK_OF[package] == framework
    return package in requirements_of(ROOT / "requirements" / f"{framework}.txt") or package.startswith(_CUDA)


def _git(repository: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments], stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except OSError as error:
        raise NotRunError(f"git could not be run: {error}") from None
    if done.returncode != 0:
        said = one_line(done.stderr.decode("utf-8", errors="replace")) or "no such revision"
        raise InputError(
            f"{repository}: git {' '.join(arguments)}: {said}; a shallow checkout lacks it: fetch-depth: 0"
        )
    return done.stdout.decode("utf-8", errors="replace")


def main(arguments: list[str]) -> Exit:
    """Print what an update changes; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m gate.changed", description=__doc__)
    parser.add_argument("folders", nargs="*", metavar="DIR", help="before and after; with --base: after (default: .)")
    parser.add_argument("--base", metavar="REF", help="a git revision: the state before")
    parser.add_argument("--into", default="build/gate", metavar="DIR", help="where files of --base are written")
    parser.add_argument(
        "--files", action="append", metavar="PATTERN", help="names of requirement files, may be repeated"
    )
    options = parser.parse_args(arguments)
    patterns = tuple(options.files or PATTERNS)
    folders = [Path(folder) for folder in options.folders]
    if options.base is not None:
        if len(folders) > 1:
            raise InputError(f"expected at most one folder beside --base, found {len(folders)}")
        after = folders[0] if folders else Path()
        before = check_out(options.base, after, Path(options.into), patterns)
    elif len(folders) == 2:
        before, after = folders
    else:
        raise InputError(f"expected BEFORE_DIR and AFTER_DIR, or --base REF, found {len(folders)} folders")
    json.dump([asdict(update) for update in updates(before, after, patterns)], sys.stdout)
    print()
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
