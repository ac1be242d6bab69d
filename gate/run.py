"""One gate from its options to what it found: both environments, the numbers of each network, then the costs."""

import os
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from bench.environment import capture
from gate import acceptance, accepted, calibration, numerics, speed
from gate.environments import prepare
from gate.finished import Finished
from gate.numerics import Cases
from gate.options import calibrating, cells_of, mode_of, named_specs, plan_of, shell, words_of
from gate.results import EntryUse, Finding, Numerics, NumericVerdict, Sides, Speed
from gate.stored import known_alone, stored_side
from gate.verdict import Run, void
from spec.exits import InputError
from spec.load import load
from spec.network import Network

ROOT = Path(__file__).parents[1]

Tell = Callable[[str], None]


@dataclass(frozen=True)
class _Asked:
    """What is to be done, all of it known to be possible before anything is run."""

    options: Namespace
    networks: dict[str, Network]
    """By how each was asked for."""
    entries: tuple[accepted.Entry, ...]

    @property
    def cases(self) -> dict[str, Cases]:
        """What both sides are compared on, by network."""
        own = self.options
        threads = own.threads or os.cpu_count() or 1
        return {
            network.name: Cases(
                spec, own.device, own.dtype, own.mode, tuple(own.lowering), seeds=own.seeds,
                gradients=own.gradients, threads=threads, timeout_s=own.timeout,
            )
            for spec, network in self.networks.items()
        }  # fmt: skip


def run(options: Namespace, tell: Tell) -> tuple[Run, Finished]:
    """What a gate found, and what it kept while it ran, which goes when the report is there.

    Raises InputError and NotRunError.
    """
    start = time.monotonic()
    asked = _asked(options)
    stored, framework = (None, options.framework) if options.baseline_report is None else stored_side(options)
    sides = prepare(
        options.sides,
        baseline_python=options.baseline_python,
        candidate_python=options.candidate_python,
        baseline_side=stored,
        framework=framework,
        fresh=options.fresh,
        require=lambda known: mode_of(known, options),
        progress=tell,
    )
    sides = sides if stored is None else known_alone(sides)
    plan = plan_of(options)
    cells = cells_of(options, sides.framework, asked.networks.values())
    cells = [] if options.numerics_only or stored is not None else cells
    known = calibration.read(calibration.conditions_of(sides.framework, options.device, plan)) if cells else None
    machine = capture(plan.threads)
    finished = Finished.of(sides, asked.cases, plan, cells, options.baseline_report, machine)
    if options.fresh:
        finished.forget()
    notes = _left_out(options)
    if not sides.changes:
        notes.append("no package differs between the two interpreters: what is judged is all else that differs in them")
    found: tuple[Numerics, ...] = ()
    entries: tuple[EntryUse, ...] = ()
    if not options.speed_only:
        compared = [own for name in asked.cases for own in _numerics(sides, name, asked, finished, tell)]
        numbers = acceptance.of_numerics(compared, sides, asked.entries)
        found, entries = numbers.found, numbers.entries
    costs: tuple[Speed, ...] = ()
    if cells:
        finished.count_blocks()
        timed = void(found, speed.judge(sides, cells, plan, tell, finished.blocks))
        accounted = acceptance.of_speed(timed, sides, asked.entries)
        costs, entries = accounted.found, (*entries, *accounted.entries)
        if known is None:
            how = shell(calibrating(options, sides.framework))
            notes.append(f"how often this runner raises a false alarm is not known: nox -s gate -- {how} measures it")
    finding = Finding(sides, found, costs, known, machine, entries)
    specs = {network.name: spec for spec, network in asked.networks.items()}
    told = (*notes, *finished.notes)
    duration_s = time.monotonic() - start
    file = accepted.name_of(options.accepted)
    whole = Run(finding, tuple(_common(options)), specs, options.device, told, duration_s, file, options.part)
    return whole, finished


def _asked(options: Namespace) -> _Asked:
    networks: dict[str, Network] = {}
    for spec in named_specs(options):
        network = load(spec)
        same = next((other for other, own in networks.items() if own.name == network.name), None)
        if same is not None:
            raise InputError(
                f"--spec: expected networks with names of their own, found {network.name!r} in {same} and {spec}"
            )
        networks[spec] = network
    return _Asked(options, networks, accepted.entries(date.today(), options.accepted))


def _numerics(sides: Sides, name: str, asked: _Asked, finished: Finished, tell: Tell) -> list[Numerics]:
    earlier = finished.numerics(name)
    if earlier is not None:
        tell(f"numerics: {name}: finished before")
        return earlier
    folder = finished.folder / "numerics" / name
    found = numerics.compare(
        sides, asked.cases[name], folder, lambda text: tell(f"numerics: {name}: {text}"), asked.options.baseline_report
    )
    if all(own.verdict is not NumericVerdict.ERRORED for own in found):
        finished.keep(name, found)
    return found


def _left_out(options: Namespace) -> list[str]:
    notes = []
    if options.numerics_only:
        notes.append("speed was not measured: --numerics-only")
    if options.speed_only:
        notes.append("numerics were not compared (--speed-only): a speed-up may be a loss of precision")
    if options.baseline_report is not None:
        notes.append(
            "speed was not measured: a report stands for the baseline, and only two environments can be paired"
        )
    return notes


def _common(options: Namespace) -> list[str]:
    """The arguments that each cell repeats."""
    device = ["--device", options.device] if options.device != "cpu" else []
    leave_out = ("lowering", "batch", "numerics_only", "speed_only")
    return [*options.sides, *words_of(options, leave_out), *device]
