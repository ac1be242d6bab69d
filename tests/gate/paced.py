"""Sides and cells for workers that only say how long they took."""

import sys
from pathlib import Path

from gate.plan import Cell, Plan
from gate.results import Effect, Quantity, Side, Sides, Speed
from gate.speed import Commands, judge
from impls.frameworks import Variant
from spec.load import load

PROGRAM = Path(__file__).with_name("paced_worker.py")
SIDES = Sides("onnx", Side("baseline", "before", sys.executable), Side("candidate", "after", sys.executable), ())
#: Eight blocks are the fewest of which two cells can be decided.
PLAN = Plan(turns=3, looks=(8, 10), timeout_s=60)


def cell(lowering: str = "native", batch: int = 1) -> Cell:
    return Cell(load("alexnet_narrow"), Variant("onnx", "cpu", "float32", "compiled", lowering), batch)


def paced(slower: float = 1.0, noise: float = 0.002, *how: str) -> tuple[str, ...]:
    return (sys.executable, "-S", str(PROGRAM), str(slower), str(noise), *how)


def judged(
    after: tuple[str, ...],
    before: tuple[str, ...] | None = None,
    cells: tuple[Cell, ...] = (cell(),),
    plan: Plan = PLAN,
    journal: Path | None = None,
) -> tuple[Speed, ...]:
    commands: Commands = (before or paced(), after)
    return judge(SIDES, cells, plan, lambda _: None, journal, commands)


def effect(speed: Speed, quantity: Quantity = Quantity.STEADY) -> Effect:
    (found,) = (effect for effect in speed.effects if effect.quantity is quantity)
    return found
