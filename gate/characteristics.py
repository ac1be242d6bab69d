"""Operating characteristics by simulation: how often blocks of a known effect and noise end in each verdict."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gate.looks import Look, Series, decide
from gate.plan import Plan
from gate.results import Quantity, SpeedVerdict

#: Cells that are judged together, all with the same effect.
CELLS = 4
#: What a step costs; of the steady state no change is too small in seconds, so that it does not matter.
STEP_S = 0.004

Draw = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Noise:
    """How the log ratios of blocks scatter."""

    name: str
    draw: Draw


def _normal(sd: float) -> Draw:
    return lambda random, n: random.normal(0.0, sd, n)


def _heavy(scale: float) -> Draw:
    return lambda random, n: scale * random.standard_t(2.0, n)


NOISES = (
    Noise("normal, 0.5%", _normal(0.005)),
    Noise("normal, 2%", _normal(0.02)),
    Noise("normal, 5%", _normal(0.05)),
    Noise("Student's t, 2 degrees, scale 1%", _heavy(0.01)),
)
EFFECTS = (0.0, 0.02, 0.03, 0.05, 0.10)


@dataclass(frozen=True)
class Characteristic:
    """What became of many cells with one effect and one noise."""

    effect: float
    noise: str
    cells: int
    verdicts: Counter[SpeedVerdict]
    blocks: float
    """How many blocks a cell took on average, its confirmation included."""


def characteristics(families: int, plan: Plan, seed: int = 1) -> list[Characteristic]:
    """Simulate so many families of cells for every effect and noise."""
    random = np.random.default_rng(seed)
    return [_simulate(effect, noise, families, plan, random) for noise in NOISES for effect in EFFECTS]


def _simulate(effect: float, noise: Noise, families: int, plan: Plan, random: np.random.Generator) -> Characteristic:
    verdicts: Counter[SpeedVerdict] = Counter()
    blocks = 0
    for _ in range(families):
        first, used = _stage(CELLS, effect, noise, plan, random)
        slower = sum(verdict is SpeedVerdict.SLOWER for verdict in first)
        second, more = _stage(slower, effect, noise, plan, random)
        blocks += used + more
        confirmed = sum(verdict is SpeedVerdict.SLOWER for verdict in second)
        verdicts.update(verdict for verdict in first if verdict is not SpeedVerdict.SLOWER)
        verdicts.update({SpeedVerdict.SLOWER: confirmed, SpeedVerdict.UNDECIDED: slower - confirmed})
    cells = families * CELLS
    return Characteristic(effect, noise.name, cells, verdicts, blocks / cells)


def _stage(
    cells: int, effect: float, noise: Noise, plan: Plan, random: np.random.Generator
) -> tuple[list[SpeedVerdict], int]:
    logs = {cell: math.log1p(effect) + noise.draw(random, plan.looks[-1]) for cell in range(cells)}
    verdicts: list[SpeedVerdict] = []
    blocks = 0
    for number, look in enumerate(plan.looks):
        if not logs:
            break
        series = {cell: Series(Quantity.STEADY, tuple(values[:look]), STEP_S, 0) for cell, values in logs.items()}
        slower = verdicts.count(SpeedVerdict.SLOWER)
        for cell, found in decide(series, slower, cells, Look(number, plan.looks, plan.alpha)).items():
            if found is not None:
                verdicts.append(found.verdict)
                blocks += look
                del logs[cell]
    return verdicts, blocks
