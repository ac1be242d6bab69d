"""An earlier conformance.json in the place of the baseline: which side it describes, and what it cannot tell."""

from argparse import Namespace
from collections.abc import Iterable, Mapping
from dataclasses import replace

from gate.environments import installed_where_asked
from gate.packages import FRAMEWORK_OF, asked_sides, framework_of, provided_by
from gate.reported import read
from gate.results import Side, Sides
from impls.frameworks import FrameworkName
from spec.exits import InputError

#: The package whose version a framework tells as its own.
MAIN: Mapping[FrameworkName, str] = {"torch": "torch", "jax": "jax", "tensorflow": "tensorflow", "onnx": "onnxruntime"}

#: What else of a report's environment is a package; the rest is about builds and flags.
PACKAGES = ("jaxlib", "numpy", "onnx", "python")


def stored_side(options: Namespace) -> tuple[Side, FrameworkName]:
    """The side that `--baseline-report` describes, and its framework; raises InputError and NotRunError."""
    path = options.baseline_report
    report = read(path)
    names = _candidate(options)
    tested = list(dict.fromkeys(result.framework for result in report.results))
    only = tested[0] if len(tested) == 1 else None
    framework = framework_of(names, options.framework or only)
    own = next((result for result in report.results if result.framework == framework), None)
    if own is None:
        raise InputError(f"{path}: expected results of {framework}, found those of {', '.join(tested)}")
    told = report.environments.get(str(own.variant), {})
    main = next((name for name in names if provided_by(name) == MAIN[framework]), MAIN[framework])
    packages = {name: told[name] for name in PACKAGES if told.get(name)} | {main: own.version}
    return Side("baseline", str(path), "", packages), framework


def known_alone(sides: Sides) -> Sides:
    """The sides without changes of packages that the report is silent about; raises InputError where none is left."""
    known = tuple(replace(change, asked=True) for change in sides.changes if change.before is not None)
    if not known:
        raise InputError(
            f"the upgrade was not exercised: expected another version than in {sides.baseline.label}, found the same "
            f"{', '.join(f'{name} {version}' for name, version in sides.baseline.packages.items())}"
        )
    return replace(sides, changes=known)


def _candidate(options: Namespace) -> list[str]:
    """The packages of frameworks that the candidate asks for, or has."""
    nothing = Side("baseline", str(options.baseline_report), "")
    _, candidate = asked_sides(options.sides, candidate_python=options.candidate_python, baseline_side=nothing)
    names: Iterable[str] = candidate.requirements
    if candidate.python is not None:
        names = installed_where_asked(candidate.name, candidate.python).packages
    return [name for name in names if name in FRAMEWORK_OF]
