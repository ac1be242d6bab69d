"""`python -m conformance.meta`: plant every fault in every framework, and see that each is caught at the right tap."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from rich.table import Table

from conformance.forward import run_forward
from conformance.lane import run_training
from conformance.meta.faults import FAULTS, NETWORK, Fault
from conformance.meta.training_faults import TRAINING_FAULTS
from conformance.part import Part
from conformance.part_colour import ColourPart
from conformance.part_dropout import DropoutPart
from conformance.part_evaluation import EvaluationPart
from conformance.part_gradients import GradientsPart
from conformance.part_trajectory import TrajectoryPart
from conformance.participants import Entrant, Files, Participant, Settings, participants_of
from conformance.reference import Reference, reference
from conformance.results import Case, Check, Outcome, Result
from impls.client import framework_command
from impls.frameworks import FRAMEWORKS, MODES, Variant
from impls.generate import source_text
from impls.options import pythons_of
from spec.arguments import Arguments
from spec.exits import Exit, NotRunError, end
from spec.load import load
from spec.network import Network
from spec.store import Store
from spec.tensors import read, write
from spec.terminal import Terminal, progress

ALL_FAULTS = (*FAULTS, *TRAINING_FAULTS)
CLEAN = Fault("clean", "", "")
#: Which part of the training lane has which checks.
PARTS: dict[Check, Part] = {
    Check.GRADIENT_INPUT: GradientsPart(),
    Check.GRADIENT_PARAMETER: GradientsPart(),
    Check.LOSS: GradientsPart(),
    Check.DROPOUT: DropoutPart(),
    Check.TRAJECTORY: TrajectoryPart(),
    Check.EVALUATION: EvaluationPart(),
    Check.COLOUR: ColourPart(),
}
#: Weights that preserve scale: the biases of 1 in the paper's set would outweigh the few products of a narrow layer.
CASE = Case("scaled", "photographs", 0, 2)


@dataclass(frozen=True)
class Verdict:
    """What became of one fault in one framework."""

    fault: Fault
    framework: str
    found: Result | None
    """The first failure, layer-local before end to end; none if the suite saw nothing wrong."""

    @property
    def caught(self) -> bool:
        """Whether it was caught where it must be."""
        fault, found = self.fault, self.found
        return (
            found is not None
            and (found.tap, found.outcome) == (fault.tap, Outcome.FAILED)
            and fault.check in (None, found.check)
            and fault.step in (None, found.step)
        )


class Workbench:
    """The network that faults are planted in, and what it is given: the same for all."""

    def __init__(self, work: Path) -> None:
        self.network = load(NETWORK)
        self.work = work
        self.settings = Settings(threads=os.cpu_count() or 1, timeout_s=300, progress=lambda _: None)

    def clean(self, check: Check | None) -> Files:
        """The files of the case in which that check of the training lane, or the forward lane, is run."""
        store = Store()
        case = replace(CASE, weights="paper") if check is Check.TRAJECTORY else CASE
        weights = store.weights_file(self.network, "paper" if case.weights == "paper" else "scaled", case.seed)
        return Files(case, weights, store.input_file(self.network, "photographs", case.seed, case.batch))

    @cached_property
    def expected(self) -> Reference:
        """The oracle's answer in the forward lane."""
        clean = self.clean(None)
        return reference(self.network, read(clean.weights), read(clean.input)[self.network.input.name])

    def results(self, participants: Sequence[Participant], files: Files, check: Check | None) -> list[list[Result]]:
        """What the lane that must catch a fault says of each participant."""
        if check is None:
            return run_forward(participants, files, self.expected)
        for participant in participants:
            participant.load(files)  # it may have the same weights loaded, and another source
        return run_training(self.network, participants, files, [PARTS[check]])


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m conformance.meta", description=__doc__)
    parser.add_argument("--locked", action="store_true", help="use the environments of requirements/*.txt")
    options = parser.parse_args(arguments)
    with progress() as tell:
        verdicts = plant(pythons_of(FRAMEWORKS, [], options.locked, tell), tell)
    _show(verdicts)
    return Exit.PASSED if all(verdict.caught for verdict in verdicts) else Exit.DIVERGED


def plant(pythons: dict[str, str], tell: Callable[[str], None]) -> list[Verdict]:
    """Plant every fault wherever it applies; raises NotRunError if the clean network does not pass first."""
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="lockstep-meta-") as folder:
        bench = Workbench(Path(folder))
        entrants = [_entrant(name, framework_command(name, python), bench.work) for name, python in pythons.items()]
        for entrant in entrants:
            _write_source(bench.network, entrant, CLEAN)
        with participants_of(bench.network, entrants, bench.settings) as participants:
            for check in dict.fromkeys(fault.check for fault in ALL_FAULTS if not fault.runner):
                tell(f"clean: {check or 'forward'}")
                _must_pass(bench.results(_in(participants, replace(CLEAN, check=check)), bench.clean(check), check))
            for fault in ALL_FAULTS:
                tell(f"{fault.id}: {fault.what}")
                if fault.runner:
                    verdicts.append(Verdict(fault, "numpy", _first(bench.network, _of_wrong_runner(bench, fault))))
                    continue
                planted = _in(participants, fault)
                files = _planted(bench, fault, planted)
                for participant, results in zip(planted, bench.results(planted, files, fault.check), strict=True):
                    framework = participant.entrant.variant.framework
                    verdicts.append(Verdict(fault, framework, _first(bench.network, results)))
    return verdicts


def _in(participants: Sequence[Participant], fault: Fault) -> list[Participant]:
    """Those that a fault is planted in."""
    return [each for each in participants if each.entrant.variant.framework in fault.frameworks]


def _entrant(name: str, command: Sequence[str], work: Path) -> Entrant:
    mode = next((modes[0] for framework, modes in MODES.items() if framework == name), "eager")
    return Entrant(Variant(name, "cpu", "float32", mode, "native"), tuple(command), work / f"{name}.py")


def _planted(bench: Workbench, fault: Fault, participants: Sequence[Participant]) -> Files:
    """Write what the participants load: sources with the fault in them, weights with the fault in them."""
    for participant in participants:
        source = bench.work / fault.id / f"{participant.entrant.variant.framework}.py"
        participant.entrant = replace(participant.entrant, source=source)
        _write_source(bench.network, participant.entrant, fault)
    clean = bench.clean(fault.check)
    if fault.tensors is None:
        return clean
    weights = bench.work / f"{fault.id}.safetensors"
    write(weights, fault.tensors(read(clean.weights)))
    return replace(clean, weights=weights)


def _write_source(network: Network, entrant: Entrant, fault: Fault) -> None:
    framework = next(name for name in FRAMEWORKS if name == entrant.variant.framework)
    text = source_text(fault.network(network) if fault.network else network, framework, "native")
    for right, wrong in fault.lines.get(framework, ()):
        if right not in text:
            raise NotRunError(
                f"fault {fault.id}: expected the line {right!r} in the source for {framework}, found none"
            )
        text = text.replace(right, wrong)
    if entrant.source is not None:
        entrant.source.parent.mkdir(exist_ok=True)
        entrant.source.write_text(text, encoding="utf-8")


def _of_wrong_runner(bench: Workbench, fault: Fault) -> list[Result]:
    command = (sys.executable, "-m", "conformance.meta.wrong_runner", fault.id)
    entrant = Entrant(Variant("numpy", "cpu", "float32", "eager", "native"), command, None)
    with participants_of(bench.network, [entrant], bench.settings) as participants:
        return bench.results(participants, bench.clean(fault.check), fault.check)[0]


def _must_pass(results: Sequence[Sequence[Result]]) -> None:
    for result in (result for own in results for result in own):
        if result.outcome is not Outcome.PASSED:
            raise NotRunError(f"the clean network must pass first: {result.variant}: {result.tap}: {result.message}")


def _first(network: Network, results: Sequence[Result]) -> Result | None:
    order = {layer.name: index for index, layer in enumerate(network.layers)}
    checks = list(Check)
    bad = [result for result in results if result.outcome in (Outcome.FAILED, Outcome.ERRORED)]
    return min(
        bad,
        key=lambda result: (
            checks.index(result.check),
            result.step or 0,
            order.get(result.tap.partition(".")[0], len(order)),
        ),
        default=None,
    )


def _show(verdicts: Sequence[Verdict]) -> None:
    table = Table("fault", "framework", "must be caught at", "caught at", "message", title="Planted faults")
    for verdict in verdicts:
        found = verdict.found
        style = "green" if verdict.caught else "bold red"
        table.add_row(
            verdict.fault.id,
            verdict.framework,
            verdict.fault.tap,
            f"[{style}]{found.tap or found.outcome if found else 'not caught'}[/]",
            found.message[:110] if found else "",
        )
    terminal = Terminal()
    terminal.print(table)
    caught = sum(verdict.caught for verdict in verdicts)
    terminal.print(f"{caught} of {len(verdicts)} planted faults caught at the right tap")


if __name__ == "__main__":
    end(main)
