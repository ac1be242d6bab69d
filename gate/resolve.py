"""Exact versions for both sides, resolved from the same inputs, so that they differ in nothing that need not differ."""

import hashlib
import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gate.packages import FRAMEWORK_OF, Asked, provided_by
from gate.requirement_file import contents_of, is_pinned, requirements_of
from impls.environments import Progress, for_uv, place, uv_command
from impls.frameworks import FrameworkName
from spec.exits import InputError, NotRunError, one_line, shortened

ROOT = Path(__file__).parents[1]

#: What in the environment decides where packages come from, and so which versions there are.
_PLACES = ("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL", "UV_NO_INDEX")

#: Where in a file uv found what it does not understand.
_MALFORMED = re.compile(r"\S:\d+:\d+\b|\bat position \d+")

#: How uv's reasons end.
_CONCLUSION = ", we can conclude that your requirements are unsatisfiable."


def resolve(
    asked: Sequence[Asked],
    framework: FrameworkName,
    installed: Mapping[str, str] | None,
    progress: Progress,
    fresh: bool = False,
) -> list[Path]:
    """A requirement file of exact pins for each of `asked`, one side or both; raises InputError and NotRunError.

    What nobody asked for is kept as it is on the other side: `installed`, where that exists already, else the pins of
    requirements/<framework>.txt. What was resolved before is used again where a side is exact versions only, and not
    with `fresh`: what else it may mean is another thing on another day.
    """
    inputs = [_inputs(side, asked, framework, installed is None) for side in asked]
    pins = _own_left_out(installed) if installed is not None else _pins(framework)
    if len(asked) == 1:
        return [_compiled(asked[0], inputs[0], pins, framework, progress, fresh)]
    first = _compiled(asked[0], inputs[0], pins, framework, progress, fresh)
    second = _compiled(asked[1], inputs[1], _lines(first), framework, progress, fresh)
    # What the candidate had to move may suit the baseline too: then they need not differ in it.
    again = _compiled(asked[0], inputs[0], _lines(second), framework, progress, fresh)
    closer = min((first, again), key=lambda path: len(set(_lines(path)) ^ set(_lines(second))))
    return [closer, second]


def _inputs(side: Asked, sides: Sequence[Asked], framework: FrameworkName, pin_framework: bool) -> list[str]:
    """What is given to the resolver: what is asked, and the framework's group where nothing is asked of a package.

    A range of the group does not bind a package that either side asks for. A framework of which nothing is asked stays
    at its pin.
    """
    here = {provided_by(package) for package in side.requirements}
    either = {provided_by(package) for other in sides for package in (*other.requirements, *other.constraints)}
    inputs = [str(requirement) for requirement in side.requirements.values()] if side.file is None else []
    for requirement in _group(framework):
        package = canonicalize_name(requirement.name)
        if provided_by(package) not in here:
            inputs.append(package if provided_by(package) in either else str(requirement))
    if pin_framework and not any(FRAMEWORK_OF.get(name) == framework for name in either):
        pins = requirements_of(ROOT / "requirements" / f"{framework}.txt")
        inputs += [str(pin) for name, pin in pins.items() if name in FRAMEWORK_OF]
    return sorted(inputs)


def _group(framework: FrameworkName) -> list[Requirement]:
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]
    return [Requirement(entry) for entry in groups[framework]]


def _pins(framework: FrameworkName) -> list[str]:
    return _own_left_out(
        {
            name: str(pin.specifier).removeprefix("==")
            for name, pin in requirements_of(ROOT / "requirements" / f"{framework}.txt").items()
        }
    )


def _own_left_out(versions: Mapping[str, str]) -> list[str]:
    """Pins without those of a framework: kept to the letter, `torch==2.13.0` would rule out a local 2.13.0+cpu."""
    return [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in FRAMEWORK_OF]


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def _compiled(
    side: Asked,
    inputs: Sequence[str],
    preferences: Sequence[str],
    framework: FrameworkName,
    progress: Progress,
    fresh: bool,
) -> Path:
    """The file of exact pins, where they can only be the same from an earlier run; raises InputError and NotRunError.

    `preferences` are what it is to have of other packages; of a framework that it asks for, the side alone decides.
    """
    uv = uv_command()
    if not uv:
        raise NotRunError("expected uv, which resolves both sides alike, found none; install requirements/gate.txt")
    environment = for_uv(os.environ)
    preferences = [line for line in preferences if not _is_asked_framework(line, side)]
    settings = [f"{name}={environment.get(name, '')}" for name in _PLACES]
    contents = contents_of(side.file) if side.file else []
    known = [sys.version, sysconfig.get_platform(), settings, inputs, contents, preferences]
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:12]
    path = place() / f"{framework}-{digest}.txt"
    if path.is_file() and not fresh and (side.file is None or is_pinned(side.file)):
        return path
    progress(f"{side.name}: resolving {side.label}")
    try:
        place().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=place(), prefix=".resolving-") as folder:
            asked, output = Path(folder, "asked.in"), Path(folder, "pins.txt")
            asked.write_text("\n".join([*inputs, ""]), encoding="utf-8")
            output.write_text("\n".join([*preferences, ""]), encoding="utf-8")
            files = [str(asked), *([str(side.file)] if side.file else [])]
            command = [*uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", sys.executable]
            if any(line.startswith("-") for _, line in contents):  # it says itself where its packages come from
                command += ["--emit-index-url", "--emit-find-links"]
            command += [*files, "--output-file", str(output)]
            done = subprocess.run(
                command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                raise _failure(side, done.stderr)
            output.replace(path)
    except OSError as error:
        raise NotRunError(f"{side.name}: {side.label} could not be resolved: {error}") from None
    return path


def _is_asked_framework(pin: str, side: Asked) -> bool:
    name = canonicalize_name(pin.partition("==")[0])
    return name in FRAMEWORK_OF and name in side.requirements


def _failure(side: Asked, stderr: str) -> InputError | NotRunError:
    """uv's reason, without its hints and its conclusion: no such versions (the user's mistake), or no answer."""
    said = one_line(stderr.partition("\nhint:")[0]).removeprefix("error: ")
    if _MALFORMED.search(said):
        return InputError(
            f"{side.name}: expected a requirement file, uv found in {side.label!r:.200}: {shortened(said)}"
        )
    if "No solution found" not in said:
        return NotRunError(f"{side.name}: versions for {side.label!r:.200} could not be looked up: {shortened(said)}")
    reason = said.rpartition("dependencies cause: ")[2].removesuffix(_CONCLUSION)
    text = f"{side.name}: expected versions that fit {side.label!r:.200}, uv found none: {shortened(reason)}"
    if "network was disabled" in stderr:
        return NotRunError(f"{text} (the package index was not asked)")
    return InputError(text)
