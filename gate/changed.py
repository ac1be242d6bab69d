"""Which frameworks an update of requirement files changes: `python -m gate.changed BEFORE_DIR AFTER_DIR`.

With `--base REF` the state before is that of a git revision, whose requirement files are written below `--into`. Prints
JSON, one entry a framework and file: `framework`, `file`, the two sides to compare (`baseline`, `candidate`: paths of
requirement files) and `packages`, what changed, and lines that are no packages. An update that changes no framework
prints `[]`.
"""

import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gate.packages import FRAMEWORK_OF, Asked, differing, of_file
from gate.requirement_file import included_by, others_of, requirements_of
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
    for folder in (before, after):
        if not folder.is_dir():
            raise InputError(f"{str(folder)!r:.200}: expected a folder with requirement files, found none")
    found = []
    for name in _requirement_files(before, patterns):
        if (after / name).is_file():
            old, new = of_file("baseline", before / name), of_file("candidate", after / name)
            changed = differing(old, new)
            others = set(others_of(before / name)) ^ set(others_of(after / name))
            for framework in _frameworks(old, new, changed, bool(others)):
                packages = (*sorted(changed), *sorted(others))
                found.append(Update(framework, name, old.label, new.label, packages))
    return found


def check_out(reference: str, repository: Path, into: Path, patterns: Sequence[str] = PATTERNS) -> Path:
    """Write the requirement files of a git revision below `into`, and what they include or are a link to.

    Returns the folder that stands for `repository`; raises InputError and NotRunError.
    """
    commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{reference}^{{commit}}").strip()
    top = Path(_git(repository, "rev-parse", "--show-toplevel").removesuffix("\n"))
    own = _git(repository, "rev-parse", "--show-prefix").removesuffix("\n")
    folder = (into / commit).absolute()
    tree = set(filter(None, _git(top, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")))
    wanted = {name for name in tree if name.startswith(own) and _matches(name.removeprefix(own), patterns)}
    written: set[str] = set()
    try:
        (folder / own).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            index = {"GIT_INDEX_FILE": str(Path(scratch, "index"))}
            _git(top, "read-tree", commit, settings=index)
            while wanted:
                names = "".join(f"{name}\0" for name in sorted(wanted))
                _git(top, "checkout-index", "-f", "-z", "--stdin", f"--prefix={folder}/", settings=index, given=names)
                written |= wanted
                reached = {other for name in wanted for other in _reached(folder, name)}
                wanted = reached & tree - written
    except OSError as error:
        raise NotRunError(f"{folder} could not be written: {error}") from None
    return into / commit / own


def _reached(folder: Path, name: str) -> list[str]:
    """What a file is a link to, or includes, as git calls it."""
    path = folder / name
    try:
        others = [str(path.readlink())] if path.is_symlink() else included_by(path)
    except InputError:  # no text: where it is compared, that says so
        return []
    return [os.path.normpath(Path(name).parent / other) for other in others]


def _requirement_files(folder: Path, patterns: Sequence[str]) -> list[str]:
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if _matches(name, patterns))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    last = name.rpartition("/")[2]
    return any(fnmatch.fnmatchcase(name if "/" in pattern else last, pattern) for pattern in patterns)


def _require_found(patterns: Sequence[str], folders: Sequence[Path]) -> None:
    """Raise InputError for a pattern that is the name of no file."""
    for pattern in patterns:
        if not any(_requirement_files(folder, [pattern]) for folder in folders):
            raise InputError(f"--files: expected names of requirement files, found none that matches {pattern!r:.200}")


def _frameworks(before: Asked, after: Asked, changed: set[str], others: bool) -> list[FrameworkName]:
    """The frameworks to gate, of those in both files.

    Those that changed themselves or stand upon a package that changed; of `others`, which are no packages, all.
    """
    held = [{FRAMEWORK_OF[name] for name in side.requirements if name in FRAMEWORK_OF} for side in (before, after)]
    return [
        framework
        for framework in FRAMEWORKS
        if framework in held[0] & held[1] and (others or any(_stands_upon(framework, name) for name in changed))
    ]


def _stands_upon(framework: FrameworkName, package: str) -> bool:
    """Whether a package is among those that are installed with a framework."""
    if package in FRAMEWORK_OF:
        return FRAMEWORK_OF[package] == framework
    return package in requirements_of(ROOT / "requirements" / f"{framework}.txt") or package.startswith(_CUDA)


def _git(repository: Path, *arguments: str, settings: Mapping[str, str] | None = None, given: str = "") -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(repository), *arguments],
            env=os.environ | (settings or {}),
            input=given.encode("utf-8", errors="surrogateescape"),
            capture_output=True,
            check=False,
        )
    except OSError as error:
        raise NotRunError(f"git could not be run: {error}") from None
    if done.returncode != 0:
        said = one_line(done.stderr.decode("utf-8", errors="replace")) or "no such revision"
        raise InputError(
            f"{repository}: git {' '.join(arguments)}: {said}; a shallow checkout lacks it: fetch-depth: 0"
        )
    return done.stdout.decode("utf-8", errors="surrogateescape")


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
    found = updates(before, after, patterns)
    _require_found(options.files or (), (before, after))
    json.dump([asdict(update) for update in found], sys.stdout)
    print()
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
