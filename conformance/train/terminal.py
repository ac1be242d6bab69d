"""The report of a training run on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from conformance.terminal import STYLES
from conformance.train.report import Report
from conformance.train.table import COLUMNS, conditions, headings, rows, together
from spec.exits import one_line
from spec.terminal import Terminal


def show(report: Report, files: Sequence[Path]) -> None:
    """Print the report, and where its files are."""
    terminal = Terminal()
    table = Table(title=f"training of {report.plan.network.name}")
    for name in headings(report):
        table.add_column(name, justify="right" if COLUMNS[name] else "left")
    for run, cells in rows(report):
        table.add_row(*(f"[{STYLES[run.outcome]}]{escape(one_line(text))}[/]" for text in cells))
    terminal.print(table)
    for run in report.runs:
        if run.message:
            said = escape(one_line(run.message))
            terminal.print(f"[{STYLES[run.outcome]}]{run.outcome}[/] {escape(str(run.variant))}: {said}")
    terminal.print(escape(f"{conditions(report)}. {together(report)}"))
    style = {"passed": "green", "failed": "red", "errored": "magenta"}[report.verdict]
    terminal.print(f"[bold {style}]{report.verdict}[/]; report: {', '.join(map(str, files))}", soft_wrap=True)
