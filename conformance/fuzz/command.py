"""`python -m conformance fuzz`: networks at random through every framework, and what failed before first."""

import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from conformance.fuzz.cases import TRIES, OracleError, check, showing_case
from conformance.fuzz.corpus import SHIPPED, case_of, entries, require_replayed, save
from conformance.fuzz.networks import random_network
from conformance.fuzz.report import BAD, Failure, Report, Tally
from conformance.fuzz.shrink import shrunk
from conformance.memory import require_memory
from conformance.options import add_worker_options, entrants_of, seed_number
from conformance.participants import Participant, Settings, participants_of, require_device
from conformance.results import REFUSED, Case, Check, Outcome, Result
from impls.client import WorkerError
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS, LOWERINGS
from impls.options import words
from spec.arguments import Arguments
from spec.exits import Exit, NotRunError, one_line
from spec.files import require_folder
from spec.network import Network
from spec.terminal import Terminal, progress

#: Checks of one variant by itself: whether a smaller network fails alike needs no other variant.
ALONE = (Check.LOCAL, Check.GRADIENT_INPUT, Check.GRADIENT_PARAMETER, Check.LOSS, Check.LOSS_GRADIENT, Check.RUN)
FOUND = "fuzz"
"""The folder of a report that specs which failed are saved in, and replayed from."""

UNSUPPORTED = "unsupported"
Sign = tuple[str, str, Check]
"""What tells one failure from another: framework, operator, check."""


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    options = _parser().parse_args(arguments)
    folder = Path(options.report)
    require_folder(folder)
    replayed = entries([require_replayed(Path(options.replay))] if options.replay else [SHIPPED, folder / FOUND])
    for entry in replayed:
        require_memory(entry.network, entry.case.batch)
    with progress() as tell:
        first = random_network(options.seed)
        settings = Settings(options.threads, options.timeout, progress=lambda _: None, reproduces=False)
        with participants_of(first, entrants_of(first, options, tell), settings) as participants:
            _require_started(participants)
            run = _Run(participants, Tally(), folder / FOUND, options.gradients, options.shrink, tell)
            for entry in replayed:
                tell(f"replayed: {entry.path.name}")
                run.replay(entry.network, entry.case, entry.path)
            started_s, is_whole = time.monotonic(), False
            with suppress(KeyboardInterrupt):  # what was found until then is reported
                for seed in range(options.seed, options.seed + options.networks):
                    tell(f"network {seed}: {len(run.tally.failures)} failed so far")
                    run.try_seed(seed)
                is_whole = True
            duration_s = time.monotonic() - started_s
        report = Report(run.tally, options.seed, options.threads, duration_s, participants, is_whole)
    files = report.write(folder)
    _show(report, files)
    return report.exit


def _parser() -> Arguments:
    parser = Arguments(prog="python -m conformance fuzz", description=__doc__)
    add = parser.add_argument
    add("--networks", type=_number, default=100, metavar="N", help="how many; 0: only what is replayed")
    add("--seed", type=seed_number, default=0, metavar="S", help="of the first network; the next ones count up")
    add("--frameworks", type=words((*FRAMEWORKS, "none")), default=list(FRAMEWORKS), metavar="A,B")
    add("--device", choices=DEVICES, default="cpu")
    add("--dtype", choices=DTYPES, default="float32")
    add("--lowering", type=words(LOWERINGS), default=["native"], metavar="A,B", help="native, fast, or both")
    add("--gradients", action="store_true", help="gradients too, layer by layer, where a framework trains")
    add("--replay", metavar="FOLDER", help=f"specs that are run first; default: the shipped ones, and DIR/{FOUND}")
    add("--shrink", type=_number, default=100, metavar="N", help="tries that making a failure small may take")
    add("--report", default="reports", metavar="DIR")
    add_worker_options(parser, timeout_s=120)
    parser.set_defaults(threads=1)  # networks are small
    return parser


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 10**9:
        raise ArgumentTypeError(f"expected a whole number from 0 to 10⁹, found {text!r:.80}")
    return int(text)


def _require_started(participants: Sequence[Participant]) -> None:
    """Raise NotRunError where a worker does not start: every network would say so."""
    for participant in participants:
        try:
            participant.hello()
        except WorkerError as error:
            raise NotRunError(f"{participant.entrant.variant.framework}: {error.kind}: {error}") from None
    require_device(participants)


@dataclass(frozen=True)
class _Run:
    """Networks, one after the other, on the same workers."""

    participants: Sequence[Participant]
    tally: Tally
    found: Path
    """Where specs that fail are saved."""
    gradients: bool
    tries: int
    tell: Callable[[str], None]

    def replay(self, network: Network, case: Case, path: Path) -> None:
        """Check a spec that failed once, on the case that it failed with."""
        results = self._check(network, case, self.participants, self.gradients)
        self.tally.replayed += 1
        self.tally.add(network, results)
        if bad := _bad(results):
            self.tally.failures.append(Failure(-1, case, bad[0], network, path))

    def try_seed(self, seed: int) -> None:
        """Check the network of a seed; one that fails is made small, and saved."""
        network = random_network(seed)
        try:
            shown = self._shown(network, seed)
        except OracleError as error:
            case = case_of(seed * TRIES)
            path = save(network, seed, case, str(error), self.found)
            self.tally.failures.append(Failure(seed, case, error.result, network, path))
            return
        if not shown.forward:
            self.tally.vacuous[shown.hidden] += 1
            return
        if shown.hidden:
            self.tally.forward_only[shown.hidden] += 1
        results = self._check(network, shown.case, self.participants, shown.gradients)
        self.tally.networks += 1
        self.tally.add(network, results)
        if bad := _bad(results):
            self._keep(seed, network, shown.case, bad)

    def _check(
        self, network: Network, case: Case, participants: Sequence[Participant], gradients: bool
    ) -> list[list[Result]]:
        """All results; a worker that was lost is asked once more, and what a framework cannot do is only counted."""
        results = check(network, case, participants, gradients)
        if any(own.error and own.error not in REFUSED for own in _bad(results)):
            results = check(network, case, participants, gradients)
        refused = {
            f"{own.variant.framework}: {one_line(own.message)}" for own in _bad(results) if own.error == UNSUPPORTED
        }
        self.tally.unsupported.update(refused)
        return [
            [replace(own, outcome=Outcome.SKIPPED) if own.error == UNSUPPORTED else own for own in those]
            for those in results
        ]

    def _shown(self, network: Network, seed: int) -> "_Shown":
        dtype, case = self.participants[0].entrant.variant.dtype, case_of(seed * TRIES)
        gradients = self.gradients and network.training is not None
        first, hidden = showing_case(network, case, gradients, dtype)
        if not hidden or not gradients:
            return _Shown(first, not hidden, gradients, hidden)
        first, forward_hidden = showing_case(network, case, False, dtype)
        return _Shown(first, not forward_hidden, False, forward_hidden or hidden)

    def _keep(self, seed: int, network: Network, case: Case, bad: Sequence[Result]) -> None:
        signs = set(map(_sign, bad))
        alone = {framework for framework, _, checked in signs if checked in ALONE}
        those = [own for own in self.participants if not alone or own.entrant.variant.framework in alone]
        alike = {network.sha256: (case, bad[0])}

        def fails(smaller: Network) -> bool:
            self.tell(f"network {seed}: failed; {len(alike) - 1} smaller ones fail alike")
            shown = self._shown(smaller, seed)
            if not shown.forward:
                return False
            results = check(smaller, shown.case, those, shown.gradients)
            found = [own for own in _bad(results) if _sign(own) in signs and own.error != UNSUPPORTED]
            if found:
                alike[smaller.sha256] = shown.case, found[0]
            return bool(found)

        small = shrunk(seed, fails, self.tries)
        case, first = alike[small.sha256]
        what = f"{first.variant}: {first.tap} ({first.operator}, {first.check}): {first.message}"
        self.tally.failures.append(Failure(seed, case, first, small, save(small, seed, case, what, self.found)))


@dataclass(frozen=True)
class _Shown:
    """A case, and what of a network it shows."""

    case: Case
    forward: bool
    """Whether it shows every operator."""
    gradients: bool
    """Whether it shows every gradient too, where these are asked for."""
    hidden: str
    """What it does not show."""


def _bad(results: Sequence[Sequence[Result]]) -> list[Result]:
    return [result for own in results for result in own if result.outcome in BAD]


def _sign(result: Result) -> Sign:
    return result.variant.framework, result.operator, result.check


def _show(report: Report, files: Sequence[Path]) -> None:
    terminal = Terminal()
    tally = report.tally
    for failure in tally.failures:
        first = failure.first
        whose = f"{first.outcome} {first.variant}, {'replayed' if failure.seed < 0 else f'network {failure.seed}'}"
        terminal.print(
            f"{whose}: {first.tap} ({first.operator}, {first.check}): {one_line(first.message)}; {failure.path}",
            soft_wrap=True,
            markup=False,
        )
    for what, count in tally.unsupported.items():
        terminal.print(f"cannot be run, in {count} networks: {what}", soft_wrap=True, markup=False)
    for op in tally.never:
        terminal.print(f"never exercised: {op}", markup=False)
    checks = ", ".join(f"{count:,} {outcome}" for outcome, count in tally.outcomes.items())
    terminal.print(
        f"{report.verdict}: {tally.networks} networks ({report.per_minute:.1f}/min) and {tally.replayed} replayed, "
        f"{len(tally.failures)} failed; left out because they show too little: {sum(tally.vacuous.values())}, of "
        f"{sum(tally.forward_only.values())} the gradients; checks: {checks}; report: {', '.join(map(str, files))}",
        soft_wrap=True,
        markup=False,
    )
