"""The environments of both sides: resolved alike, made once, and compared by what is installed in them.

`prepare` is what a command line needs. A side is pinned requirements, a requirement file (see gate/packages.py), an
interpreter that exists, or, for the baseline, a side that an earlier report describes.
"""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from pydantic import BaseModel

from gate.packages import FRAMEWORK_OF, Asked, asked_sides, differing, framework_of, what_differs
from gate.resolve import resolve
from gate.results import Change, Side, Sides
from impls.environments import Progress, make
from impls.frameworks import FrameworkName
from spec.exits import InputError, NotRunError, one_line, shortened

#: How long an interpreter may take to say what is installed.
_TIMEOUT_S = 60.0

#: What a worker imports beside its generated source.
_NEEDED: Mapping[FrameworkName, tuple[str, ...]] = {
    "torch": ("torch", "numpy"),
    "jax": ("jax", "jaxlib", "numpy"),
    "tensorflow": ("tensorflow", "numpy"),
    "onnx": ("onnx", "onnxruntime", "numpy"),
}

#: What an interpreter is asked: what is installed, and which modules it finds. Nothing is imported.
_QUESTION = """
import importlib.metadata, importlib.util, json, platform, sys
sys.path[:] = [place for place in sys.path if place]
packages = {}
for found in importlib.metadata.distributions():
    name = found.metadata["Name"]
    if name:
        packages.setdefault(name, found.version)
modules = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
print(json.dumps({"packages": packages, "modules": modules, "python": platform.python_version()}))
"""


class _Answer(BaseModel):
    """What it answers."""

    packages: dict[str, str]
    modules: frozenset[str]
    python: str


@dataclass(frozen=True)
class Installed:
    """What an interpreter says of itself."""

    packages: Mapping[str, str]
    """Version by package; `python` is among them."""
    modules: frozenset[str]


def prepare(
    sides: Sequence[str],
    *,
    baseline_python: str | None = None,
    candidate_python: str | None = None,
    baseline_side: Side | None = None,
    framework: str | None = None,
    fresh: bool = False,
    require: Callable[[FrameworkName], object] = lambda _: None,
    progress: Progress,
) -> Sides:
    """Both environments, made where they are missing; raises InputError and NotRunError.

    `sides` are those of BASELINE and CANDIDATE that no interpreter and no report stands for. `framework` says under
    which framework what differs is used, where that is not plain from its packages (`numpy==2.3.5 numpy==2.4.6`). Two
    interpreters with the same packages may differ in what no package tells (a build, a driver, a BLAS): whoever names
    the framework beside them is taken at their word, and nothing is among the changes. `fresh`: what was resolved
    before is resolved anew. `require` raises where something else does not fit the framework: nothing was made then.
    """
    baseline, candidate = asked_sides(
        sides, baseline_python=baseline_python, candidate_python=candidate_python, baseline_side=baseline_side
    )
    there = {side.name: _existing(side) for side in (baseline, candidate) if side.is_there}
    is_same = len(there) == 2 and not difference(there["baseline"].packages, there["candidate"].packages)
    if is_same and not (framework and baseline.python and candidate.python):
        raise _not_exercised(baseline, candidate)
    chosen = framework_of(_found_in(baseline, candidate, there), framework)
    require(chosen)
    for side in (baseline, candidate):
        if side.is_there:
            _check_has_framework(side, there[side.name], chosen)
    missing = [side for side in (baseline, candidate) if not side.is_there]
    if missing:
        installed = next(iter(there.values())).packages if there else None
        files = resolve(missing, chosen, installed, progress, fresh)
        with ThreadPoolExecutor(2) as pool:
            made = pool.map(lambda side, file: _made(side, file, chosen, progress), missing, files)
            there |= {side.name: side for side in made}
    for side in missing:
        _check_has_framework(side, there[side.name], chosen)
        _check_asked(side, there[side.name])
    changes = _changes(baseline, candidate, there)
    if not is_same and not any(change.asked for change in changes):
        raise _not_exercised(baseline, candidate)
    return Sides(chosen, there["baseline"], there["candidate"], changes)


def installed_in(python: str, modules: Sequence[str] = ()) -> Installed:
    """What is installed for an interpreter, and which of `modules` it finds; raises NotRunError."""
    try:
        done = subprocess.run(
            [python, "-", *modules],  # what is no Python can say little of what it is not given as an argument
            input=_QUESTION,
            capture_output=True,
            text=True,
            check=False,
            timeout=_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotRunError(f"{python}: expected a Python that lists its packages: {one_line(error)}") from None
    try:
        said = _Answer.model_validate_json(done.stdout[done.stdout.find("{") :])
    except ValueError:  # no JSON, or JSON of something else
        found = shortened(one_line(done.stderr.strip().rpartition("\n")[2])) or f"exit code {done.returncode}"
        raise NotRunError(f"{python}: expected a Python that lists its packages, found: {found}") from None
    packages = {str(canonicalize_name(name)): version for name, version in said.packages.items()}
    return Installed({**dict(sorted(packages.items())), "python": said.python}, said.modules)


def installed_where_asked(side: str, python: str) -> Installed:
    """What is installed for the interpreter that a user named for a side; raises InputError where it is none."""
    try:
        return installed_in(python)
    except NotRunError as error:
        raise InputError(f"--{side}-python: {error}") from None


def difference(baseline: Mapping[str, str], candidate: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    """The packages that two environments do not have alike, with the version in each."""
    names = sorted(baseline.keys() | candidate.keys())
    return {
        name: (baseline.get(name), candidate.get(name)) for name in names if baseline.get(name) != candidate.get(name)
    }


def _existing(side: Asked) -> Side:
    if side.known is not None:
        return side.known
    if side.python is None:
        raise AssertionError(f"{side.name} does not exist yet")
    python = str(Path(side.python).absolute())
    return Side(side.name, side.label, python, installed_where_asked(side.name, python).packages)


def _made(side: Asked, requirements: Path, framework: FrameworkName, progress: Progress) -> Side:
    python = str(make(requirements, framework, lambda message: progress(f"{side.name}: {message}")))
    return Side(side.name, side.label, python, installed_in(python).packages)


def _found_in(baseline: Asked, candidate: Asked, there: Mapping[str, Side]) -> set[str]:
    """The packages from which the framework is found: what both sides do not have, or do not ask for, alike."""
    if len(there) == 2:
        return set(difference(there["baseline"].packages, there["candidate"].packages)) - {"python"}
    return what_differs(baseline, candidate)


def _changes(baseline: Asked, candidate: Asked, there: Mapping[str, Side]) -> tuple[Change, ...]:
    """What differs; where what is asked of packages does not (interpreters, another index), all of it was asked for."""
    asked = differing(baseline, candidate)
    changed = difference(there["baseline"].packages, there["candidate"].packages)
    whole = not asked
    return tuple(Change(name, *versions, asked=whole or name in asked) for name, versions in changed.items())


def _not_exercised(baseline: Asked, candidate: Asked) -> InputError:
    what = sorted(baseline.requirements.keys() | candidate.requirements.keys())
    more = "; if they differ in what no package tells, name --framework" if baseline.python and candidate.python else ""
    return InputError(
        f"the upgrade was not exercised: expected {', '.join(what[:5]) or 'packages'} to differ, found the same in "
        f"{baseline.label!r:.200} and {candidate.label!r:.200}{more}"
    )


def _check_has_framework(asked: Asked, side: Side, framework: FrameworkName) -> None:
    if asked.known is not None:
        needed = [name for name, owner in FRAMEWORK_OF.items() if owner == framework]
        if not any(name in side.packages for name in needed):
            raise InputError(
                f"{asked.name}: expected a report of a run with {framework}, found none in {side.label!r:.200}"
            )
        return
    modules = installed_in(side.python, _NEEDED[framework]).modules
    missing = [name for name in _NEEDED[framework] if name not in modules]
    if missing:
        raise InputError(
            f"{asked.name}: expected an interpreter with {', '.join(_NEEDED[framework])}, found none with "
            f"{', '.join(missing)} at {side.python!r:.200}"
        )


def _check_asked(asked: Asked, side: Side) -> None:
    """That what was asked for is what is installed; raises NotRunError."""
    for name, requirement in asked.requirements.items():
        installed = side.packages.get(name)
        if installed is None or not _satisfies(installed, requirement.specifier):
            raise NotRunError(
                f"the upgrade was not exercised: {asked.name}: expected {requirement}, "
                f"found {name} {installed or 'not installed'} in {side.python}"
            )


def _satisfies(installed: str, specifier: SpecifierSet) -> bool:
    try:
        return specifier.contains(installed, prereleases=True)
    except InvalidSpecifier:
        return False
