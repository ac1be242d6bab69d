"""`python -m gate list`: the cells upgrade × device × network as JSON, each with the arguments that run it.

An upgrade is a pair BASELINE CANDIDATE, several may follow each other: framework × version. Which framework is gated
where an interpreter or a report stands for a side is known only where that is, and then left empty.
"""

from argparse import Namespace
from dataclasses import asdict, dataclass
from typing import Any

from gate.options import mode_of, named_specs, parsed_list, shell, words_of
from gate.packages import asked_sides, framework_of, what_differs
from gate.results import Side
from impls.frameworks import FrameworkName
from spec.exits import InputError
from spec.load import load


@dataclass(frozen=True)
class Planned:
    """One cell of the matrix."""

    name: str
    framework: str
    baseline: str
    """As `candidate`, empty where an interpreter or a report stands for the side."""
    candidate: str
    baseline_python: str
    candidate_python: str
    device: str
    network: str
    spec: str
    options: str
    """Of `python -m gate`, beside sides, interpreters, framework and spec: what action.yml calls so."""
    arguments: str
    """All that runs the cell: `python -m gate` and these."""
    report: str
    """A folder that no other cell has."""


def listed(arguments: list[str]) -> dict[str, Any]:
    """The cells that the arguments ask for, fit for a GitHub matrix; raises InputError."""
    options = parsed_list(arguments)
    places = [
        (index, pair, spec, device)
        for index, pair in enumerate(_pairs(options))
        for device in options.device
        for spec in named_specs(options)
    ]
    part = ["--part"] if len(places) > 1 else []
    cells = [_planned(*place, options, part) for place in places]
    seen: set[str] = set()
    for cell in cells:
        if cell.name in seen:
            raise InputError(f"expected each cell once, found {cell.name} twice")
        seen.add(cell.name)
    return {"include": [asdict(cell) for cell in cells]}


def cell_name(baseline: str, candidate: str, device: str, network: str) -> str:
    """What no other cell of a matrix is called: both sides by their labels."""
    return f"{baseline} → {candidate}, {device}, {network}"


def _pairs(options: Namespace) -> list[list[str]]:
    """The sides of each upgrade."""
    there = [options.baseline_python or options.baseline_report, options.candidate_python]
    expected = 2 - sum(side is not None for side in there)
    if expected == 0 and not options.sides:
        return [[]]
    if expected == 0 or not options.sides or len(options.sides) % expected:
        what = ("no side", "a multiple of one side", "pairs of BASELINE and CANDIDATE")[expected]
        raise InputError(f"expected {what}, found {len(options.sides)}; see `python -m gate list --help`")
    return [options.sides[i : i + expected] for i in range(0, len(options.sides), expected)]


def _planned(index: int, sides: list[str], spec: str, device: str, options: Namespace, part: list[str]) -> Planned:
    known = Side("baseline", str(options.baseline_report), "") if options.baseline_report else None
    baseline, candidate = asked_sides(
        sides,
        baseline_python=options.baseline_python,
        candidate_python=options.candidate_python,
        baseline_side=known,
    )
    framework: FrameworkName | None = None
    if not (baseline.is_there or candidate.is_there) or options.framework is not None:
        framework = framework_of(what_differs(baseline, candidate), options.framework)
        mode_of(framework, options)
    network = load(spec).name
    beside = [*words_of(options, ("framework", "baseline_python", "candidate_python")), "--device", device, *part]
    own = [*sides, *words_of(options), "--spec", spec, "--device", device, *part]
    return Planned(
        name=cell_name(baseline.label, candidate.label, device, network),
        framework=framework or "",
        baseline="" if baseline.is_there else baseline.label,
        candidate="" if candidate.is_there else candidate.label,
        baseline_python=baseline.python or "",
        candidate_python=candidate.python or "",
        device=device,
        network=network,
        spec=spec,
        options=shell(beside),
        arguments=shell(own),
        report=f"reports/{index + 1}-{framework or 'gate'}-{device}-{network}",
    )
