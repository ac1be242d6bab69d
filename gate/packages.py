"""What a user asks of each side, and to which framework a package belongs.

A side is one argument: pinned requirements separated by blanks or commas (`jax==0.9.2`, `torch==2.15.0 numpy==2.3.5`),
or the path of a requirement file. An interpreter that exists takes the place of a side (`--baseline-python PATH`).
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from gate.requirement_file import constraints_of, contents_of, require_requirements, requirements_of
from gate.results import Side
from impls.frameworks import FRAMEWORKS, FrameworkName
from spec.exits import InputError

#: The packages that are a framework, by what they provide: of those that provide the same, an environment has one.
PROVIDES: Mapping[FrameworkName, Mapping[str, tuple[str, ...]]] = {
    "torch": {"torch": ("torch",)},
    "jax": {
        "jax": ("jax",),
        "jaxlib": ("jaxlib",),
        "jax-cuda-plugin": ("jax-cuda12-plugin", "jax-cuda13-plugin"),
        "jax-cuda-pjrt": ("jax-cuda12-pjrt", "jax-cuda13-pjrt"),
    },
    "tensorflow": {"tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-gpu", "tf-nightly")},
    "onnx": {"onnx": ("onnx",), "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")},
}

#: Package → framework, and package → what it provides.
FRAMEWORK_OF: dict[str, FrameworkName] = {
    package: framework
    for framework, provided in PROVIDES.items()
    for packages in provided.values()
    for package in packages
}
_PROVIDED_BY = {
    package: name for provided in PROVIDES.values() for name, packages in provided.items() for package in packages
}

_EXAMPLES = "a pinned requirement such as jax==0.10.2, or a requirement file"


@dataclass(frozen=True)
class Asked:
    """What one side shall be: requirements to resolve, or an environment that exists."""

    name: str
    """`baseline` or `candidate`."""
    label: str
    requirements: Mapping[str, Requirement] = field(default_factory=dict)
    """By package; those of `file` that can be read, where there is one."""
    constraints: Mapping[str, Requirement] = field(default_factory=dict)
    """By package; those of the constraints that `file` includes."""
    file: Path | None = None
    python: str | None = None
    """An interpreter that exists."""
    known: Side | None = None
    """A side that an earlier report describes."""

    @property
    def is_there(self) -> bool:
        """Whether nothing has to be made."""
        return self.python is not None or self.known is not None


def differing(baseline: Asked, candidate: Asked) -> set[str]:
    """The packages that two sides do not ask for, or do not constrain, alike."""
    return {
        name
        for before, after in (
            (baseline.requirements, candidate.requirements),
            (baseline.constraints, candidate.constraints),
        )
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }


def what_differs(baseline: Asked, candidate: Asked) -> set[str]:
    """The packages from which the framework is found: of what differs what is asked for; of an index, all."""
    names = {*baseline.requirements, *candidate.requirements}
    found = differing(baseline, candidate)
    return found & names or found or names


def provided_by(package: str) -> str:
    """What a package provides: `tensorflow` for tensorflow-cpu, its own name for most."""
    return _PROVIDED_BY.get(package, package)


def asked_sides(
    sides: Sequence[str],
    *,
    baseline_python: str | None = None,
    candidate_python: str | None = None,
    baseline_side: Side | None = None,
) -> tuple[Asked, Asked]:
    """What the command line asks: `sides` in order fill what no interpreter and no report fills; raises InputError."""
    texts = list(sides)
    baseline = _there("baseline", baseline_python, baseline_side)
    candidate = _there("candidate", candidate_python, None)
    expected = (baseline is None) + (candidate is None)
    if len(texts) != expected:
        raise InputError(f"expected {expected} of BASELINE and CANDIDATE, found {len(texts)}; each is {_EXAMPLES}")
    baseline = baseline or parse("baseline", texts.pop(0))
    candidate = candidate or parse("candidate", texts.pop(0))
    _check_differ(baseline, candidate)
    return baseline, candidate


def parse(name: str, text: str) -> Asked:
    """One side from one argument; raises InputError."""
    words = text.replace(",", " ").split()
    path = Path(text)
    if path.suffix in (".txt", ".in") or (path.is_file() and "==" not in text):
        require_requirements(path)
        return of_file(name, path)
    if not words:
        raise InputError(f"{name}: expected {_EXAMPLES}, found nothing")
    found: dict[str, Requirement] = {}
    for word in words:
        requirement = _pinned(name, word)
        package = canonicalize_name(requirement.name)
        if package in found:
            raise InputError(f"{name}: expected {package} once, found it twice in {text!r:.200}")
        found[package] = requirement
    return Asked(name, " ".join(words), found)


def of_file(name: str, path: Path) -> Asked:
    """A side that is a requirement file; raises InputError."""
    return Asked(name, str(path), requirements_of(path), constraints_of(path), file=path)


def framework_of(packages: Iterable[str], asked: str | None) -> FrameworkName:
    """The framework whose packages these are, or that the user names; raises InputError."""
    if asked is not None:
        named = next((name for name in FRAMEWORKS if name == asked), None)
        if named is None:
            raise InputError(f"--framework: expected one of {', '.join(FRAMEWORKS)}, found {asked!r:.80}")
        return named
    listed = sorted(packages)
    found = list(dict.fromkeys(FRAMEWORK_OF[package] for package in listed if package in FRAMEWORK_OF))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"expected packages of one framework, found those of {', '.join(found)}; say which: --framework"
        )
    what = ", ".join(listed[:5]) or "no package"
    raise InputError(
        f"expected a package of {', '.join(FRAMEWORKS)} (such as jaxlib, tensorflow-cpu, onnxruntime) among what "
        f"differs, found {what}; name the framework that it is used under: --framework torch"
    )


def _pinned(name: str, word: str) -> Requirement:
    try:
        requirement = Requirement(word)
        (specifier,) = requirement.specifier
    except (InvalidRequirement, ValueError):
        raise InputError(f"{name}: expected {_EXAMPLES}, found {word!r:.200}") from None
    if specifier.operator != "==" or specifier.version.endswith("*") or requirement.marker is not None:
        raise InputError(f"{name}: expected one exact version such as {requirement.name}==1.2.3, found {word!r:.200}")
    return requirement


def _there(name: str, python: str | None, known: Side | None) -> Asked | None:
    if known is not None:
        return Asked(name, known.label, known=known)
    if python is None:
        return None
    if not (os.access(python, os.X_OK) and Path(python).is_file()):
        raise InputError(f"--{name}-python: expected an interpreter, found none at {python!r:.200}")
    return Asked(name, python, python=python)


def _check_differ(baseline: Asked, candidate: Asked) -> None:
    if baseline.is_there or candidate.is_there:
        same = baseline.python is not None and baseline.python == candidate.python
    elif baseline.file or candidate.file:
        same = (baseline.file is not None and candidate.file is not None) and (
            contents_of(baseline.file) == contents_of(candidate.file)
        )
    else:
        same = baseline.requirements == candidate.requirements
    if same:
        raise InputError(
            f"expected two sides that differ, found {baseline.label!r:.200} twice: nothing would be exercised"
        )
