"""How often this runner sees a difference where there is none: the baseline against itself, stored for later gates."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bench.environment import capture
from gate.plan import Cell, Plan
from gate.results import Calibration, Side, Sides, Speed, SpeedVerdict
from gate.speed import Commands, Tell, judge
from gate.statistics import rate_upper_bound
from impls.frameworks import FrameworkName
from spec.exits import InputError, NotRunError

FORMAT = "lockstep-calibration/1"
#: Where a runner keeps its calibration.
STORED = Path(__file__).parents[1] / "build" / "calibration.json"
#: What makes two machines one: all that decides how fast, and how noisily, a step runs.
FACTS = ("processor", "cores", "allowed_cores", "caches", "governor", "threads")


@dataclass(frozen=True)
class Stored:
    """The calibration of this machine, or why there is none."""

    calibration: Calibration | None
    note: str


def machine_of(threads: int) -> str:
    """What identifies the machine at hand, in a line."""
    facts = capture(threads)
    return "; ".join(f"{name} {facts[name]}" for name in FACTS)


def calibrate(
    framework: FrameworkName,
    side: Side,
    cells: Sequence[Cell],
    plan: Plan,
    verdicts: int,
    tell: Tell,
    journal: Path | None = None,
    commands: Commands | None = None,
) -> Calibration:
    """Judge `side` against itself until there are as many verdicts, one a cell; raises NotRunError where one fails."""
    sides = Sides(framework, replace(side, name="baseline"), replace(side, name="candidate"), ())
    found: list[Speed] = []
    run = 0
    while len(found) < verdicts:
        run += 1
        tell(f"calibrate: {len(found)} of {verdicts} verdicts")
        found += judge(sides, cells, replace(plan, seed=plan.seed + run), tell, journal, commands)
        _require_run(found)
    slower = sum(SpeedVerdict.SLOWER in verdicts_of(speed) for speed in found)
    undecided = sum(SpeedVerdict.UNDECIDED in verdicts_of(speed) for speed in found)
    bound = rate_upper_bound(slower, len(found))
    return Calibration(machine_of(plan.threads), len(found), slower, undecided, bound)


def verdicts_of(speed: Speed) -> set[SpeedVerdict]:
    """The verdicts of all quantities of a cell."""
    return {effect.verdict for effect in speed.effects}


def _require_run(found: Sequence[Speed]) -> None:
    for speed in found:
        for effect in speed.effects:
            if effect.verdict is SpeedVerdict.ERRORED or (effect.blocks == 0 and "do not tell" not in effect.reason):
                raise NotRunError(f"calibration: {speed.network} {speed.variant} batch {speed.batch}: {effect.reason}")


def store(calibration: Calibration, path: Path = STORED) -> None:
    """Write `calibration`, whole or not at all; raises NotRunError."""
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=2) + "\n"
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise NotRunError(f"{path}: expected to keep a calibration there, found: {error.strerror}") from None


def read(machine: str, path: Path = STORED) -> Stored:
    """The stored calibration, if it is of `machine`; raises InputError for a file that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Stored(None, "this runner is not calibrated: measure its false alarms with --calibrate")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a calibration, found: {error}; remove it and --calibrate") from None
    calibration = _calibration(path, text)
    if calibration.machine != machine:
        note = f"the calibration at hand is of another machine and is not used: {calibration.machine}; here: {machine}"
        return Stored(None, note)
    found = f"{calibration.slower} SLOWER in {calibration.verdicts} verdicts without a difference"
    return Stored(calibration, f"on this runner {found}: at most {calibration.upper_bound:.1%} at 95% confidence")


def _calibration(path: Path, text: str) -> Calibration:
    expected = f"expected a calibration of format {FORMAT}"
    try:
        fields: Any = json.loads(text)
    except ValueError:
        fields = None
    match fields:
        case {
            "format": str() as found,
            "machine": str() as machine,
            "verdicts": int() as verdicts,
            "slower": int() as slower,
            "undecided": int() as undecided,
            "upper_bound": float() as upper_bound,
        } if found == FORMAT:
            return Calibration(machine, verdicts, slower, undecided, upper_bound)
        case {"format": found}:
            raise InputError(f"{path}: {expected}, found {found!r:.80}; remove it and --calibrate")
        case _:
            raise InputError(f"{path}: {expected}, found something else; remove it and --calibrate")
