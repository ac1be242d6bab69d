"""Runs the conformance program on both sides of an upgrade, and judges how the numbers moved."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from gate.child import follow
from gate.drift import judge
from gate.exercised import require_installed
from gate.reported import Reported, read, require_network
from gate.results import Numerics, Side, Sides
from impls.frameworks import Device, Dtype, FrameworkName, Lowering
from spec.exits import Exit, InputError, NotRunError
from spec.load import load

ROOT = Path(__file__).parents[1]
REPORT = "conformance.json"

#: Fewer seeds than this tell nothing of noise (issue: at least 5).
FEWEST_SEEDS = 5

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Cases:
    """What both sides are run on: a network, and the cases of `python -m conformance`."""

    spec: str
    """Name of a shipped network, or path of a spec."""
    device: Device = "cpu"
    dtype: Dtype = "float32"
    mode: str | None = None
    """None: what users of the framework do."""
    lowerings: tuple[Lowering, ...] = ("native",)
    batch: int = 2
    seeds: int = FEWEST_SEEDS
    repeats: int = 2
    """How often each trace is run: what a side does not give again is no move."""
    gradients: int = 1
    """Of how many of the seeds gradients are compared too; 0: of none."""
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    timeout_s: int = 300

    def arguments(self, framework: str) -> list[str]:
        """The cases as options of the conformance program."""
        lanes = "forward,training" if self.gradients else "forward"
        words = ["--spec", self.spec, "--lanes", lanes, "--device", self.device, "--dtype", self.dtype]
        words += ["--parts", "gradients", "--training-seeds", str(self.gradients)] if self.gradients else []
        words += ["--lowering", ",".join(self.lowerings), "--batch", str(self.batch), "--seeds", str(self.seeds)]
        words += ["--repeats", str(self.repeats), "--threads", str(self.threads), "--timeout", str(self.timeout_s)]
        return words + (["--mode", f"{framework}={self.mode}"] if self.mode else [])


def compare(
    sides: Sides, cases: Cases, folder: Path, tell: Progress, baseline_report: Path | None = None
) -> list[Numerics]:
    """The drift of every variant from baseline to candidate; leaves both reports under `folder`.

    `baseline_report` is an earlier conformance.json, which then stands for the baseline. Raises InputError and
    NotRunError.
    """
    if cases.seeds < FEWEST_SEEDS:
        raise InputError(f"--seeds {cases.seeds}: expected at least {FEWEST_SEEDS}: fewer say too little about noise")
    stored = None
    if baseline_report is not None:
        network = load(cases.spec)
        stored = read(baseline_report)
        require_network(stored, network.name, network.sha256)
    before = stored or run_side(sides.framework, sides.baseline, cases, folder, tell)
    after = run_side(sides.framework, sides.candidate, cases, folder, tell)
    found = judge(before, after)
    said = elsewhere(before, after) if stored else ""
    return [replace(numerics, reason=f"{numerics.reason}; {said}" if said else numerics.reason) for numerics in found]


def run_side(framework: FrameworkName, side: Side, cases: Cases, folder: Path, tell: Progress) -> Reported:
    """Run the conformance program on one side; its report, which is also left in `folder`.

    Raises InputError and NotRunError, the latter also where it ran another version than is installed for the side.
    """
    entrant = ["--frameworks", framework, "--python", f"{framework}={side.python}"]
    words = [*entrant, *cases.arguments(framework)]
    found = run(words, folder / side.name, lambda text: tell(f"{side.name}: {text}"))
    for version in dict.fromkeys(result.version for result in found.results):
        require_installed(side, framework, version)
    return found


def run(arguments: list[str], folder: Path, tell: Progress) -> Reported:
    """Run the conformance program with its report in `folder`; raises InputError and NotRunError in its own words."""
    report = folder / REPORT
    _clear(folder)
    command = [sys.executable, "-m", "conformance", *arguments, "--report", str(folder)]
    ended = follow(command, _environment(os.environ), tell=tell)
    if report.is_file():
        return read(report)
    said = ended.said or f"ended with exit code {ended.code} and without a word"
    if ended.code == Exit.INPUT:
        raise InputError(said)
    raise NotRunError(f"python -m conformance: expected a report in {folder}, found none: {said}")


def elsewhere(before: Reported, after: Reported) -> str:
    """What differs between where two reports were made, and can move bits by itself; empty where nothing does."""
    keys = [key for key in ("processor", "threads") if before.suite.get(key) != after.suite.get(key)]
    differences = [f"{key} {before.suite.get(key, '?')} → {after.suite.get(key, '?')}" for key in keys]
    return f"the baseline's report was made elsewhere ({', '.join(differences)})" if differences else ""


def _clear(folder: Path) -> None:
    """Remove the report of an earlier run: nothing may pass for this one's."""
    try:
        (folder / REPORT).unlink(missing_ok=True)
    except OSError as error:
        raise NotRunError(f"{folder}: expected to write a report there, found: {error.strerror or error}") from None


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    """The environment in which this checkout's own program is found, wherever the gate was started."""
    paths = [str(ROOT), *filter(None, [outer.get("PYTHONPATH")])]
    return {**outer, "PYTHONPATH": os.pathsep.join(paths)}
