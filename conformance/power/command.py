"""`python -m conformance power`: plant every fault in every framework, and count what the suite catches.

With `--clean N` nothing is planted: N right networks, of which the suite must reject none.
"""

from argparse import ArgumentTypeError
from pathlib import Path

from rich.table import Table

from conformance.power import clean
from conformance.power.catalogue import FAULTS
from conformance.power.fault import Fault
from conformance.power.planting import plant, plantings_of
from conformance.power.report import Report, mark, misses
from impls.frameworks import FRAMEWORKS
from impls.options import count, named, pythons_of, words
from spec.arguments import Arguments
from spec.exits import Exit
from spec.files import require_folder, write_all
from spec.page import Page
from spec.terminal import Terminal, progress

PAGE = Page(
    Path(__file__).parents[2] / "docs" / "power.md",
    "<!-- power: written by python -m conformance power --write-docs -->",
    "<!-- end of power -->",
)
PLANTED, CLEANED = "power.jsonl", "power-clean.jsonl"


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    options = _parser().parse_args(arguments)
    folder = Path(options.report)
    require_folder(folder)
    page = PAGE if options.clean is None else clean.PAGE
    if options.write_docs:
        page.require()
    found: Report | clean.CleanReport
    with progress() as tell:
        pythons = pythons_of(options.frameworks, options.python, options.locked, tell)
        if options.clean is not None:
            found = clean.clean(pythons, options.clean, folder / CLEANED, tell)
        else:
            found = Report(plant(pythons, plantings_of(options.faults, pythons), folder / PLANTED, tell))
    name = "power" if options.clean is None else "power-clean"
    written = write_all(folder, {f"{name}.json": found.json_text(), f"{name}.md": found.markdown_text()})
    if options.write_docs:
        page.renew(found.tables())
    terminal = Terminal()
    if isinstance(found, Report):
        _show(found, terminal)
    else:
        terminal.print(found.tables(), markup=False)
    terminal.print(f"report: {', '.join(map(str, written))}", markup=False)
    return Exit.PASSED if found.is_met else Exit.DIVERGED


def _show(report: Report, terminal: Terminal) -> None:
    verdicts = report.power.verdicts
    names = list(dict.fromkeys(verdict.framework for verdict in verdicts))
    table = Table("fault", "what is wrong", "must be caught at", *names, title="Planted faults")
    by_fault = {(verdict.fault.id, verdict.framework): verdict for verdict in verdicts}
    for fault in {verdict.fault.id: verdict.fault for verdict in verdicts}.values():
        table.add_row(fault.id, fault.what, fault.tap, *(mark(by_fault.get((fault.id, name))) for name in names))
    terminal.print(table)
    for line in misses(verdicts):
        terminal.print(line, markup=False)
    for name, counted in report.totals.items():
        terminal.print(f"{name}: {counted}", markup=False)
    others = Table("rule", *next(iter(report.others.values())), title="Other rules on the same forward runs")
    for rule, counts in report.others.items():
        others.add_row(rule, *map(str, counts.values()))
    terminal.print(others)


def _parser() -> Arguments:
    parser = Arguments(prog="python -m conformance power", description=__doc__)
    add = parser.add_argument
    add("--frameworks", type=words(FRAMEWORKS), default=list(FRAMEWORKS), metavar="A,B", help="default: all four")
    add("--faults", type=_faults, default=list(FAULTS), metavar="ID,ID", help="of the catalogue; default: all")
    add("--clean", type=count, metavar="N", help="plant nothing: run N right networks, and count false alarms")
    add(
        "--python", type=named, action="append", default=[], metavar="FRAMEWORK=PATH", help="an interpreter that exists"
    )
    add("--locked", action="store_true", help="make and use the environments of requirements/*.txt")
    add("--report", default="reports", metavar="DIR", help="where raw results are kept, too, and read again")
    add("--write-docs", action="store_true", help="renew the table in docs/power.md")
    return parser


def _faults(text: str) -> list[Fault]:
    """The type of the option that names faults."""
    known: dict[str, Fault] = {fault.id: fault for fault in FAULTS}
    wanted = text.split(",")
    for name in wanted:
        if name not in known:
            raise ArgumentTypeError(f"expected ids of conformance/power/catalogue.py, found {name!r:.80}")
    return [known[name] for name in dict.fromkeys(wanted)]
