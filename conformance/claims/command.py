"""`python -m conformance claims`: hold what the paper says of its parts against small runs, from several seeds."""

import shlex
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

from conformance.claims.final_errors import error_findings
from conformance.claims.report import Report, verdict
from conformance.claims.speed import speed_finding
from conformance.claims.study import Study
from conformance.claims.variants import with_tanh
from conformance.lane import OUT_OF_SCOPE
from conformance.options import add_worker_options, entrants_of, seed_number
from conformance.participants import Entrant
from conformance.train.dataset import dataset_of
from conformance.train.plan import Plan, Settings, plan_of, usual_threads
from impls.frameworks import DEVICES, FRAMEWORKS
from impls.options import count
from spec.arguments import Arguments
from spec.exits import Exit, InputError
from spec.files import write_all
from spec.load import load
from spec.network import Network
from spec.terminal import Terminal, progress


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = _parser()
    options = parser.parse_args(arguments)
    options.lowering, options.dtype = ["native"], "float32"
    network = load(options.spec)
    with_tanh(network)  # a network without ReLUs is refused before anything is trained
    settings = Settings(options.threads or usual_threads(network), options.timeout, options.epochs)
    seeds = range(options.seed, options.seed + options.seeds)
    with progress() as tell:

        def plan(seed: int) -> Plan:
            return plan_of(network, dataset_of(options.data, seed), seed, settings, tell)

        def entrant_of(changed: Network) -> Entrant:
            return _entrant(changed, options, tell)

        variant = entrant_of(network).variant
        study = Study(tuple(map(plan, seeds)), plan(seeds.stop), entrant_of, tell)
        findings = [*error_findings(study), speed_finding(study)]
    report = Report(study, variant, findings, _shown(parser, options))
    files = write_all(Path(options.report), {"claims.json": report.json_text(), "claims.md": report.markdown_text()})
    if options.docs:
        files += write_all(Path(options.docs).parent, {Path(options.docs).name: report.markdown_text()})
    terminal = Terminal()
    for finding in findings:
        terminal.print(f"{verdict(finding):>10}  {finding.claim} ({finding.section}): {finding.measure}", markup=False)
    terminal.print(f"report: {', '.join(map(str, files))}", soft_wrap=True, markup=False)
    return Exit.PASSED


def _parser() -> Arguments:
    parser = Arguments(prog="python -m conformance claims", description=__doc__)
    add = parser.add_argument
    add("--spec", default="alexnet_digits", metavar="NETWORK", help="name of a shipped network, or path of a spec")
    add("--data", metavar="FOLDER", help="images, a folder a class; default: scikit-learn's digits")
    add(
        "--framework",
        choices=[name for name in FRAMEWORKS if name not in OUT_OF_SCOPE],
        default="torch",
        help="who trains; default: torch; a --runner does instead, where one is named",
    )
    add("--seed", type=seed_number, default=0, metavar="N", help="the first")
    add("--seeds", type=count, default=5, metavar="N", help="how many; one more chooses rates")
    add("--epochs", type=count, metavar="N", help="how far to go; default: as the recipe says")
    add("--device", choices=DEVICES, default="cpu")
    add("--report", default="reports", metavar="DIR")
    add("--docs", metavar="FILE", help="a Markdown file to write too, such as docs/paper-claims.md")
    add_worker_options(parser, timeout_s=600)
    parser.set_defaults(threads=None)  # what is usual depends on the network
    return parser


def _entrant(network: Network, options: Namespace, tell: Callable[[str], None]) -> Entrant:
    """Who trains; raises InputError."""
    options.frameworks = [] if options.runner else [options.framework]
    entrants = entrants_of(network, options, tell)
    if len(entrants) != 1:
        raise InputError(f"--runner: expected one, found {len(entrants)}")
    return entrants[0]


def _shown(parser: Arguments, options: Namespace) -> str:
    """The command that gives the same figures again: what decides about them, where it is not usual."""
    words = [parser.prog]
    for name in ("spec", "data", "framework", "seed", "seeds", "epochs", "device"):
        value = getattr(options, name)
        if value != parser.get_default(name):
            words.append(f"--{name} {shlex.quote(str(value))}")
    return " ".join(words)
