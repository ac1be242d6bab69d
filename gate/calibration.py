"""How often this runner sees a difference where there is none: the baseline against itself, stored for later gates."""

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from bench.environment import capture
from conformance.rates import rate_upper_bound
from gate.plan import Cell, Plan
from gate.reading import json_of, require_format, validated
from gate.results import Calibration, Conditions, Side, Sides, Speed, SpeedVerdict
from gate.speed import Commands, Tell, judge
from impls.frameworks import FrameworkName
from spec.exits import InputError, NotRunError

FORMAT = "lockstep-calibration/2"

ROOT = Path(__file__).parents[1]
#: What makes two machines one: all that decides how fast, and how noisily, a step runs.
FACTS = ("processor", "cores", "allowed_cores", "caches", "governor", "threads")


def place() -> Path:
    """The file where a runner keeps its calibrations: what LOCKSTEP_CALIBRATIONS names, else below build/."""
    return Path(os.environ.get("LOCKSTEP_CALIBRATIONS") or ROOT / "build" / "calibration.json")


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class _Content:
    calibrations: tuple[Calibration, ...]


_CONTENT = TypeAdapter(_Content)


def conditions_of(framework: str, device: str, plan: Plan) -> Conditions:
    """What a rate holds for that is measured here and now."""
    return Conditions(machine_of(plan.threads), framework, device, plan.conditions)


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
    conditions = conditions_of(framework, cells[0].variant.device, plan)
    bound = rate_upper_bound(slower, len(found))
    return Calibration(conditions, tuple(map(str, cells)), len(found), slower, undecided, bound)


def verdicts_of(speed: Speed) -> set[SpeedVerdict]:
    """The verdicts of all quantities of a cell."""
    return {effect.verdict for effect in speed.effects}


def _require_run(found: Sequence[Speed]) -> None:
    for speed in found:
        for effect in speed.effects:
            if effect.verdict is SpeedVerdict.ERRORED or (effect.blocks == 0 and "do not tell" not in effect.reason):
                raise NotRunError(f"calibration: {speed.network} {speed.variant} batch {speed.batch}: {effect.reason}")


def store(calibration: Calibration, path: Path | None = None) -> None:
    """Keep `calibration`, in the place of one for the same conditions; raises InputError and NotRunError."""
    path = path or place()
    others = [own for own in _stored(path) if own.conditions != calibration.conditions]
    content = {"format": FORMAT, "calibrations": [asdict(own) for own in [*others, calibration]]}
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise NotRunError(f"{path}: expected to keep a calibration there, found: {error.strerror}") from None


def read(conditions: Conditions, path: Path | None = None) -> Calibration | None:
    """The stored calibration for the very `conditions`; raises InputError for a file that holds none at all."""
    return next((own for own in _stored(path or place()) if own.conditions == conditions), None)


def _stored(path: Path) -> tuple[Calibration, ...]:
    if not path.exists():
        return ()
    try:
        content = json_of(path, "calibrations", "the JSON of calibrations")
        require_format(content, FORMAT, str(path), "calibrations")
        return validated(_CONTENT, content, f"{path}: expected calibrations").calibrations
    except InputError as error:
        raise InputError(f"{error}; remove the file, and --calibrate again") from None
