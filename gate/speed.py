"""Verdicts on speed: blocks until each cell is decided, and again for what seems slower."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.environment import capture
from gate.blocks import REFUSALS, Bench, Block, Control, Failure, Pace, Sample, SideError, files_of, sample_of
from gate.exercised import require_installed
from gate.finished import own_digest
from gate.layers import layer_costs
from gate.looks import Look, Series, decide, series_of
from gate.plan import Cell, Plan
from gate.results import Effect, LayerCost, Quantity, Side, Sides, Speed, SpeedVerdict
from impls.client import framework_command
from spec.journal import Journal

Tell = Callable[[str], None]
Commands = tuple[tuple[str, ...], tuple[str, ...]]


def judge(
    sides: Sides,
    cells: Sequence[Cell],
    plan: Plan,
    tell: Tell,
    journal: Path | None = None,
    commands: Commands | None = None,
) -> tuple[Speed, ...]:
    """The costs of every cell, candidate against baseline, in the order of `cells`.

    Finished blocks are kept in `journal`, as they were measured, and a stopped run that is started again goes on from
    them. `commands` start other workers than those of the sides' interpreters. Raises NotRunError where the journal
    cannot be kept, and where a worker runs another version than is installed for its side.
    """
    commands = commands or (_command(sides, sides.baseline), _command(sides, sides.candidate))
    finished = Journal(journal, _identity(sides, cells, plan, commands))
    with tempfile.TemporaryDirectory(prefix="lockstep-gate-") as folder:
        bench = Bench(commands, plan, files_of(cells, plan.seed, Path(folder)), Control(plan.threads))
        first = _Stage("measure", {place: _State(cell) for place, cell in enumerate(cells)}, sides)
        first.run(bench, finished, tell)
        doubtful = {place: state.doubtful() for place, state in first.states.items() if state.slower}
        again = _Stage("confirm", doubtful, sides)
        again.run(bench, finished, tell)
        for place, state in again.states.items():
            if Quantity.STEADY in state.slower:
                state.effects[Quantity.STEADY] = _with_layers(state, place, bench, finished, tell)
    return tuple(
        _speed(state, again.states[place] if place in doubtful else None) for place, state in first.states.items()
    )


@dataclass
class _State:
    """What is known of one cell in one stage."""

    cell: Cell
    open: tuple[Quantity, ...] = tuple(Quantity)
    """Quantities that are not decided yet."""
    effects: dict[Quantity, Effect] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    pace: Pace | None = None
    failure: Failure | None = None

    @property
    def is_open(self) -> bool:
        return self.failure is None and bool(self.open)

    @property
    def slower(self) -> tuple[Quantity, ...]:
        if self.failure is not None:
            return ()
        return tuple(quantity for quantity, effect in self.effects.items() if effect.verdict is SpeedVerdict.SLOWER)

    def doubtful(self) -> "_State":
        """The cell anew, where only what seemed slower is asked."""
        return _State(self.cell, self.slower, pace=self.pace)


@dataclass
class _Stage:
    """Blocks until all is decided or the last look is over."""

    name: str
    states: dict[int, _State]
    sides: Sides

    def run(self, bench: Bench, finished: Journal, tell: Tell) -> None:
        """Measure and look; cells that share no processes are measured by turns all the same."""
        plan = bench.plan
        self._round(0, bench, finished, tell)
        for state in self.states.values():
            state.samples.clear()  # the first block of all finds cold files: it only says how many calls fill a chunk
        families = {
            quantity: sum(quantity in state.open and state.failure is None for state in self.states.values())
            for quantity in Quantity
        }
        start = 1
        for number, last in enumerate(plan.looks):
            for block in range(start, last + 1):
                if not any(state.is_open for state in self.states.values()):
                    return
                self._round(block, bench, finished, tell)
            start = last + 1
            for quantity, cells in families.items():
                self._look(quantity, cells, Look(number, plan.looks, plan.alpha))

    def _round(self, number: int, bench: Bench, finished: Journal, tell: Tell) -> None:
        places = [place for place, state in self.states.items() if state.is_open]
        for group in [places] if bench.plan.shared else [[place] for place in places]:
            if group:
                what = f"{len(group)} cells" if len(group) > 1 else str(self.states[group[0]].cell)
                tell(f"speed: {self.name}: block {number} of at most {bench.plan.looks[-1]}: {what}")
                self._block(number, group, bench, finished)

    def _block(self, number: int, group: list[int], bench: Bench, finished: Journal) -> None:
        name = f"{self.name} {number} {' '.join(map(str, group))}"
        entry = finished.get(name)
        if entry is None:
            entry = _measure(name, {place: self.states[place] for place in group}, bench, self.sides)
            finished.put(name, entry)
        for place in group:
            state, fields = self.states[place], entry[str(place)]
            if "failure" in fields:
                state.failure = Failure(**fields["failure"])
            else:
                state.samples.append(sample_of(fields["sample"]))
                state.pace = state.pace or Pace(**fields["pace"])

    def _look(self, quantity: Quantity, cells: int, look: Look) -> None:
        asked = {place: state for place, state in self.states.items() if state.is_open and quantity in state.open}
        told: dict[int, Series] = {}
        for place, state in asked.items():
            series = series_of(state.samples, quantity)
            if series is None:
                _close(state, _untold(quantity))
            else:
                told[place] = series
        slower = sum(quantity in state.slower for state in self.states.values())
        if told:
            for place, effect in decide(told, slower, cells, look).items():
                if effect is not None:
                    _close(asked[place], effect)


def _measure(name: str, states: Mapping[int, _State], bench: Bench, sides: Sides) -> dict[str, Any]:
    """One block of the cells, as the journal keeps it. After a process ended, fresh ones measure the cells left."""
    entry: dict[str, Any] = {}
    left = dict(states)
    while left:
        with Block(bench, f"{bench.plan.seed} {name} {len(left)}") as block:
            try:
                block.start()
            except SideError as error:
                return entry | {str(place): {"failure": asdict(error.failure)} for place in left}
            for number, side in enumerate((sides.baseline, sides.candidate)):
                require_installed(side, sides.framework, block.hellos[number].version)
            while left and block.alive:
                place, state = next(iter(left.items()))
                del left[place]
                try:
                    sample, pace = block.measure(state.cell, state.pace, Quantity.STEADY in state.open)
                    entry[str(place)] = {"sample": sample.fields(), "pace": asdict(pace)}
                except SideError as error:
                    entry[str(place)] = {"failure": asdict(error.failure)}
    return entry


def _with_layers(state: _State, place: int, bench: Bench, finished: Journal, tell: Tell) -> Effect:
    name = f"layers {place}"
    entry = finished.get(name)
    if entry is None:
        entry = [asdict(own) for own in layer_costs(state.cell, bench, tell)]
        finished.put(name, entry)
    return replace(state.effects[Quantity.STEADY], layers=tuple(LayerCost(**own) for own in entry))


def _close(state: _State, effect: Effect) -> None:
    state.effects[effect.quantity] = effect
    state.open = tuple(quantity for quantity in state.open if quantity is not effect.quantity)


def _speed(state: _State, again: _State | None) -> Speed:
    effects = tuple(_effect(quantity, state, again) for quantity in Quantity)
    return Speed(state.cell.network.name, state.cell.variant, state.cell.batch, effects)


def _effect(quantity: Quantity, state: _State, again: _State | None) -> Effect:
    failure = state.failure or (again.failure if again else None)
    if failure is not None:
        refused = failure.side == "baseline" and failure.kind in REFUSALS
        verdict = SpeedVerdict.SKIPPED if refused else SpeedVerdict.ERRORED
        return Effect(quantity, verdict, None, None, None, len(state.samples), 0, None, reason=str(failure))
    first = state.effects[quantity]
    if again is None or quantity not in again.effects:
        return first
    second = again.effects[quantity]
    assert first.estimate is not None and second.estimate is not None
    found = f"first {first.estimate - 1:+.1%}, in a fresh repetition {second.estimate - 1:+.1%}"
    if second.verdict is SpeedVerdict.SLOWER:
        return replace(second, reason=f"confirmed: {found}")
    return replace(second, verdict=SpeedVerdict.UNDECIDED, reason=f"not confirmed: {found}")


def _untold(quantity: Quantity) -> Effect:
    return Effect(quantity, SpeedVerdict.SKIPPED, None, None, None, 0, 0, None, reason="the workers do not tell it")


def _command(sides: Sides, side: Side) -> tuple[str, ...]:
    return tuple(framework_command(sides.framework, side.python))


def _identity(sides: Sides, cells: Sequence[Cell], plan: Plan, commands: Commands) -> dict[str, Any]:
    """All that blocks depend on: those of anything else are not read again."""
    machine = capture(plan.threads)
    return {
        "machine": [machine["processor"], machine["allowed_cores"]],
        "plan": asdict(plan),
        "cells": [[cell.network.sha256, cell.variant.fields(), cell.batch] for cell in cells],
        "sides": [asdict(sides.baseline), asdict(sides.candidate)],
        "commands": [list(command) for command in commands],
        "lockstep": own_digest(),
    }
