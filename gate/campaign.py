"""The campaign that measures the gate: `python -m gate.campaign --python onnx=PATH`.

It judges one environment against itself: as it is, beside processes that take the processors, and with a candidate
that does a known share of extra work. What is finished is kept under the folder of `--report`, and a stopped campaign
goes on from there. At its end the table in docs/gate-statistics.md is renewed.
"""

import subprocess
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.table import Table

from bench.environment import capture
from conformance.rates import rate_interval
from gate.calibration import verdicts_of
from gate.characteristics import CELLS as CELLS_TOGETHER
from gate.characteristics import Characteristic, characteristics
from gate.plan import Cell, Plan
from gate.results import Effect, Quantity, Side, Sides, Speed, SpeedVerdict
from gate.speed import Commands, Tell, judge
from impls.client import framework_command
from impls.frameworks import FRAMEWORKS, MODES, FrameworkName, Variant
from impls.options import count, named, pythons_of
from spec.arguments import Arguments
from spec.exits import Exit, NotRunError, end
from spec.load import load
from spec.page import Page
from spec.terminal import Terminal, progress

PAGE = Page(
    Path(__file__).parents[1] / "docs" / "gate-statistics.md",
    "<!-- campaign: written by python -m gate.campaign -->",
    "<!-- end of campaign -->",
)
BLOCKS = "blocks.jsonl"
NETWORK = "alexnet_narrow"
#: Lowering and batch of the cells of a run: a step takes 2 to 5 ms in ONNX Runtime on one core.
CELLS = (("native", 8), ("native", 16), ("fast", 16), ("fast", 32))
#: Families of simulated cells for each effect and noise.
FAMILIES = 1000


@dataclass(frozen=True)
class Experiment:
    """Many verdicts on one known difference."""

    name: str
    share: float
    """Extra work of the candidate over a step's own."""
    is_disturbed: bool
    """Whether processes that never rest run beside it, one a processor."""
    verdicts: int
    fewest_slower: int
    most_slower: int
    """What must be found: so many `SLOWER` steady states, no fewer and no more."""


EXPERIMENTS = (
    Experiment("the same, A/A", 0.0, False, 60, 0, 0),
    Experiment("the same, A/A, beside a process a core that never rests", 0.0, True, 20, 0, 0),
    Experiment("10% extra work", 0.10, False, 20, 20, 20),
    Experiment("5% extra work", 0.05, False, 20, 19, 20),
)


@dataclass(frozen=True)
class Outcome:
    """What became of an experiment."""

    experiment: Experiment
    found: tuple[Speed, ...]

    @property
    def steady(self) -> list[Effect]:
        """The effects on the steady state, which the figures are about."""
        return self.of(Quantity.STEADY)

    def of(self, quantity: Quantity) -> list[Effect]:
        """The effects on one quantity."""
        return [effect for speed in self.found for effect in speed.effects if effect.quantity is quantity]

    @property
    def slower(self) -> int:
        """How many steady states are `SLOWER`."""
        return sum(effect.verdict is SpeedVerdict.SLOWER for effect in self.steady)

    @property
    def is_met(self) -> bool:
        """Whether as many are `SLOWER` as must be."""
        return self.experiment.fewest_slower <= self.slower <= self.experiment.most_slower


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    options = _parser().parse_args(arguments)
    folder = Path(options.report)
    if options.verdicts is None:
        PAGE.require()
    with progress() as tell:
        python = pythons_of([options.framework], options.python, options.locked, tell)[options.framework]
        outcomes = run(options.framework, python, _plan(options), _experiments(options), folder / BLOCKS, tell)
        tell("simulate")
        simulated = characteristics(FAMILIES, Plan())
    machine = capture(options.threads)
    where = (options.framework, machine["processor"], machine["allowed_cores"])
    text = markdown(outcomes, simulated, _plan(options), *where)
    if options.verdicts is None:
        PAGE.renew(text)
    else:
        Terminal().print(text, markup=False)
    Terminal().print(_table(outcomes))
    return Exit.PASSED if all(outcome.is_met for outcome in outcomes) else Exit.DIVERGED


def run(
    framework: FrameworkName,
    python: str,
    plan: Plan,
    experiments: Sequence[Experiment],
    journal: Path,
    tell: Tell,
    cells: Sequence[Cell] | None = None,
) -> list[Outcome]:
    """Judge until every experiment has its verdicts; raises NotRunError where a cell cannot be run."""
    cells = cells or cells_of(framework)
    outcomes = []
    for place, experiment in enumerate(experiments):
        found: list[Speed] = []
        number = 0
        while len(found) < experiment.verdicts:
            number += 1
            head = f"{experiment.name}: {len(found)} of {experiment.verdicts} verdicts"
            side = Side("baseline", python, python)
            sides = Sides(framework, side, Side("candidate", f"{python}, {experiment.name}", python), ())
            own = replace(plan, seed=1000 * (place + 1) + number)
            with _company(experiment, plan.threads):
                found += judge(
                    sides,
                    cells,
                    own,
                    lambda text, head=head: tell(f"{head}: {text}"),  # type: ignore[misc]
                    journal,
                    commands(framework, python, experiment.share),
                )
            _require_run(found)
        outcomes.append(Outcome(experiment, tuple(found[: experiment.verdicts])))
    return outcomes


def cells_of(framework: FrameworkName) -> tuple[Cell, ...]:
    """The cells of a run, which share their processes."""
    network, mode = load(NETWORK), MODES[framework][0]
    return tuple(
        Cell(network, Variant(framework, "cpu", "float32", mode, lowering), batch) for lowering, batch in CELLS
    )


def commands(framework: str, python: str, share: float) -> Commands:
    """How the workers are started: the candidate's does extra work where there is a share of it."""
    plain = tuple(framework_command(framework, python))
    planted = (python, "-m", "gate.planted", str(share), framework)
    return plain, planted if share else plain


@contextmanager
def _company(experiment: Experiment, threads: int) -> Iterator[None]:
    """Processes that never rest, one a processor, where the experiment asks for them."""
    spin = "while True: pass"
    busy = max(threads, int(capture(threads)["allowed_cores"])) if experiment.is_disturbed else 0
    processes = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(busy)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _require_run(found: Sequence[Speed]) -> None:
    for speed in found:
        if SpeedVerdict.ERRORED in verdicts_of(speed):
            reason = next(effect.reason for effect in speed.effects if effect.verdict is SpeedVerdict.ERRORED)
            raise NotRunError(f"{speed.variant} batch {speed.batch}: expected verdicts, found: {reason}")


def markdown(
    outcomes: Sequence[Outcome],
    simulated: Sequence[Characteristic],
    plan: Plan,
    framework: str,
    processor: str,
    cores: str,
) -> str:
    """What is said in docs/gate-statistics.md: measured, and simulated."""
    lines = [
        f"Measured with {framework} on {NETWORK}, {cores} cores of {processor}: steady state, a verdict a cell.",
        f"The plan is not the gate's own in this: {_plan_text(plan)}.",
        "",
        *_head("candidate | verdicts | SLOWER | required | 95% interval | undecided | OK, faster | blocks | seen from"),
        *(_measured(outcome) for outcome in outcomes),
        "",
        "Blocks, and the smallest effect that could have been seen, are medians. The other quantities of the same runs",
        "without extra work, where `SLOWER` is a false alarm:",
        "",
        *_head("quantity | verdicts | SLOWER | 95% interval | undecided"),
        *_others(outcomes),
        "",
        f"Simulated: families of {CELLS_TOGETHER} cells which all have the same effect; shares of verdicts, and the",
        "blocks of a cell with its confirmation.",
        "",
        *_head("noise of a block | effect | SLOWER | 95% interval | undecided | OK, faster | blocks"),
        *(_simulated(one) for one in simulated),
    ]
    return "\n".join(lines)


def _plan_text(plan: Plan) -> str:
    """Where the plan differs from the gate's own: `turns 6 (10)`."""
    usual = asdict(Plan())
    own = {name: value for name, value in asdict(plan).items() if value != usual[name] and name != "seed"}
    return ", ".join(f"{name} {value} ({usual[name]})" for name, value in own.items()) or "nothing"


def _head(titles: str) -> tuple[str, str]:
    return f"| {titles} |", "|---" * (titles.count("|") + 1) + "|"


def _measured(outcome: Outcome) -> str:
    steady = outcome.steady
    counts = Counter(effect.verdict for effect in steady)
    blocks = sorted(effect.blocks for effect in steady)[len(steady) // 2]
    smallest = sorted(effect.smallest_effect or float("inf") for effect in steady)[len(steady) // 2]
    required = _required(outcome.experiment)
    return (
        f"| {outcome.experiment.name} | {len(steady)} | {outcome.slower} | {required} | "
        f"{_interval(outcome.slower, len(steady))} | {counts[SpeedVerdict.UNDECIDED]} | "
        f"{counts[SpeedVerdict.OK] + counts[SpeedVerdict.FASTER]} | {blocks} | {smallest:+.1%} |"
    )


def _required(experiment: Experiment) -> str:
    fewest, most = experiment.fewest_slower, experiment.most_slower
    return str(most) if fewest == most else f"{fewest} to {most}"


def _others(outcomes: Sequence[Outcome]) -> Iterator[str]:
    same = [outcome for outcome in outcomes if outcome.experiment.share == 0.0]
    for quantity in Quantity:
        counts = Counter(effect.verdict for outcome in same for effect in outcome.of(quantity))
        of = counts.total() - counts[SpeedVerdict.SKIPPED]
        if quantity is not Quantity.STEADY and of:
            slower = counts[SpeedVerdict.SLOWER]
            yield f"| {quantity} | {of} | {slower} | {_interval(slower, of)} | {counts[SpeedVerdict.UNDECIDED]} |"


def _simulated(one: Characteristic) -> str:
    slower, undecided = one.verdicts[SpeedVerdict.SLOWER], one.verdicts[SpeedVerdict.UNDECIDED]
    return (
        f"| {one.noise} | {one.effect:+.0%} | {slower / one.cells:.1%} | {_interval(slower, one.cells)} | "
        f"{undecided / one.cells:.1%} | {(one.cells - slower - undecided) / one.cells:.1%} | {one.blocks:.1f} |"
    )


def _interval(events: int, of: int) -> str:
    low, high = rate_interval(events, of)
    return f"{low:.1%} to {high:.1%}"


def _table(outcomes: Sequence[Outcome]) -> Table:
    table = Table("candidate", "verdicts", "SLOWER", "required", "met")
    for outcome in outcomes:
        experiment = outcome.experiment
        met = "yes" if outcome.is_met else "NO"
        table.add_row(experiment.name, str(len(outcome.steady)), str(outcome.slower), _required(experiment), met)
    return table


def _plan(options: Namespace) -> Plan:
    return Plan(threads=options.threads, turns=6, chunk_s=0.05, shared=True)


def _experiments(options: Namespace) -> tuple[Experiment, ...]:
    """All experiments, or fewer verdicts of each for a look, of which the same shares must be found."""
    if options.verdicts is None:
        return EXPERIMENTS
    few = options.verdicts
    return tuple(
        Experiment(
            experiment.name,
            experiment.share,
            experiment.is_disturbed,
            few,
            few if experiment.share else 0,
            few if experiment.share else 0,
        )
        for experiment in EXPERIMENTS
    )


def _parser() -> Arguments:
    parser = Arguments(prog="python -m gate.campaign", description=__doc__)
    add = parser.add_argument
    add("--framework", choices=FRAMEWORKS, default="onnx")
    add(
        "--python", type=named, action="append", default=[], metavar="FRAMEWORK=PATH", help="an interpreter that exists"
    )
    add("--locked", action="store_true", help="make and use the environment of requirements/*.txt")
    add("--threads", type=count, default=1, metavar="N", help="threads of each worker")
    add("--verdicts", type=count, metavar="N", help="so many of each only: for a look; the page is left as it is")
    add("--report", default="reports/campaign", metavar="DIR", help="where raw blocks are kept, and read again")
    return parser


if __name__ == "__main__":
    end(main)
