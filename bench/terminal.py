"""The report of a benchmark on the terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from bench.report import Report
from bench.speed_up import batches, speed_ups
from bench.table import HEADINGS, cells, remarks
from spec.terminal import Terminal

STYLES = {"timed": "", "nonconforming": "bold red", "errored": "bold magenta", "skipped": "dim", "incomplete": "yellow"}


def show(report: Report, files: Sequence[Path]) -> None:
    """Print the table, what a reader must know about it, and where the files are."""
    terminal = Terminal()
    table = Table(
        title=f"{report.workload} of {report.network.name}: milliseconds a call, and the share of the roofline"
    )
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if number < 1 else "right")
    batch = None
    for row in report.rows:
        if batch not in (None, row.batch):
            table.add_section()
        batch = row.batch
        table.add_row(*map(escape, cells(report, row)), style=STYLES[row.outcome])
    terminal.print(table)
    if found := speed_ups(report):
        columns = batches(report)
        pairs = Table(
            "cuda : cpu", *(f"batch {batch}" for batch in columns), title="times as fast as the CPU [95% interval]"
        )
        for pair in found:
            pairs.add_row(*map(escape, pair.cells(columns)))
        terminal.print(pairs)
    for remark in remarks(report):
        terminal.print(escape(remark), soft_wrap=True)
    terminal.print(f"report: {', '.join(map(str, files)) or 'none'}", soft_wrap=True)
