"""`python -m conformance.meta`: plant every fault in every framework, and see that each is caught at the right tap."""

import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from conformance.forward import run_forward
from conformance.lane import run_training
from conformance.meta.faults import FAULTS, NETWORK, Fault
from conformance.part_gradients import GradientsPart
from conformance.participants import Entrant, Files, Participant, Settings, participants_of
from conformance.reference import reference
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

#: Weights that preserve scale: the biases of 1 in the paper's set would outweigh the few products of a narrow layer.
CASE = Case("scaled", "photographs", 0, 2)


@dataclass(frozen=True)
class Verdict:
    """What became of one fault in one framework."""

    fault: str
    framework: str
    expected_tap: str
    found: Result | None
    """The first failure, layer-local before end to end; none if the suite saw nothing wrong."""

    @property
    def caught(self) -> bool:
        """Whether it was caught at the right tap."""
        return self.found is not None and self.found.tap == self.expected_tap and self.found.outcome is Outcome.FAILED


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
    network = load(NETWORK)
    store = Store()
    clean = Files(CASE, store.weights_file(network, "scaled", 0), store.input_file(network, "photographs", 0, 2))
    expected = reference(network, read(clean.weights), read(clean.input)[network.input.name])
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="lockstep-meta-") as folder:
        work = Path(folder)
        settings = Settings(threads=os.cpu_count() or 1, timeout_s=300, progress=lambda _: None)
        entrants = [_entrant(name, framework_command(name, python), work) for name, python in pythons.items()]
        for entrant in entrants:
            _write_source(network, entrant, Fault("clean", "", ""))
        with participants_of(network, entrants, settings) as participants:
            _must_pass(run_forward(participants, clean, expected))
            for fault in FAULTS:
                tell(f"{fault.id}: {fault.what}")
                planted = [each for each in participants if each.entrant.variant.framework in fault.frameworks]
                files = _planted(network, fault, planted, clean, work)
                if fault.runner:
                    results = _run_wrong_runner(network, fault, clean, settings)
                    verdicts.append(Verdict(fault.id, "numpy", fault.tap, _first(network, results)))
                else:
                    for participant, results in zip(planted, run_forward(planted, files, expected), strict=True):
                        framework = participant.entrant.variant.framework
                        verdicts.append(Verdict(fault.id, framework, fault.tap, _first(network, results)))
    return verdicts


def _entrant(name: str, command: Sequence[str], work: Path) -> Entrant:
    mode = next((modes[0] for framework, modes in MODES.items() if framework == name), "eager")
    return Entrant(Variant(name, "cpu", "float32", mode, "native"), tuple(command), work / f"{name}.py")


def _planted(network: Network, fault: Fault, participants: Sequence[Participant], clean: Files, work: Path) -> Files:
    """Write what the participants load: sources with the fault in them, weights with the fault in them."""
    for participant in participants:
        source = work / fault.id / f"{participant.entrant.variant.framework}.py"
        participant.entrant = replace(participant.entrant, source=source)
        _write_source(network, participant.entrant, fault)
    if fault.tensors is None:
        return clean
    weights = work / f"{fault.id}.safetensors"
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


def _run_wrong_runner(network: Network, fault: Fault, clean: Files, settings: Settings) -> list[Result]:
    command = (sys.executable, "-m", "conformance.meta.wrong_runner", fault.id)
    entrant = Entrant(Variant("numpy", "cpu", "float32", "eager", "native"), command, None)
    with participants_of(network, [entrant], settings) as participants:
        if fault.trains:
            return run_training(network, participants, clean, [GradientsPart()])[0]
        expected = reference(network, read(clean.weights), read(clean.input)[network.input.name])
        return run_forward(participants, clean, expected)[0]


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
        key=lambda result: (checks.index(result.check), order.get(result.tap.partition(".")[0], -1)),
        default=None,
    )


def _show(verdicts: Sequence[Verdict]) -> None:
    table = Table("fault", "framework", "must be caught at", "caught at", "message", title="Planted faults")
    for verdict in verdicts:
        found = verdict.found
        style = "green" if verdict.caught else "bold red"
        table.add_row(
            verdict.fault,
            verdict.framework,
            verdict.expected_tap,
            f"[{style}]{found.tap or found.outcome if found else 'not caught'}[/]",
            found.message[:110] if found else "",
        )
    terminal = Terminal()
    terminal.print(table)
    caught = sum(verdict.caught for verdict in verdicts)
    terminal.print(f"{caught} of {len(verdicts)} planted faults caught at the right tap")


if __name__ == "__main__":
    end(main)
