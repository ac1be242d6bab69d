"""The report on the terminal: the matrix, what went wrong first, and where the files are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from conformance.diagnosis.words import sentences
from conformance.matrix import Matrix, matrices, notes, variant_of, words
from spec.exits import one_line
from spec.network import Network
from spec.terminal import Terminal

STYLES = {"passed": "green", "failed": "bold red", "errored": "bold magenta", "skipped": "dim", "xfailed": "yellow"}
MARKS = {"passed": "", "failed": " ✗", "errored": " !", "skipped": " –", "xfailed": " x"}


def show(report: Mapping[str, Any], network: Network, files: Sequence[Path]) -> None:
    """Print the report, from the fields of conformance.json."""
    terminal = Terminal()
    results = report["results"]
    for matrix in matrices(results, network):
        terminal.print(_drawn(matrix, report, network.name))
    for framework, reason in notes(results):
        terminal.print(f"[dim]skipped[/] {framework}: {_plain(reason)}")
    for result in report["first_divergences"]:
        tap = f"{result['tap']} ({result['operator'] or 'training'}, {words(result['check'])})"
        where = f"{result['framework']} {result['case']}: first divergence at {tap}"
        terminal.print(f"[bold red]failed[/] {_plain(where)}: {_plain(result['message'])}")
        for sentence in sentences(result):
            terminal.print(f"  {_plain(sentence)}", soft_wrap=True)
    for result in results:
        if result["outcome"] == "errored":
            terminal.print(
                f"[bold magenta]errored[/] {result['framework']} {_plain(result['case'])}: {_plain(result['message'])}"
            )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report["outcomes"].items() if count)
    style = {"passed": "green", "failed": "red", "errored": "magenta"}[report["verdict"]]
    terminal.print(
        f"[bold {style}]{report['verdict']}[/]: {counts}; report: {', '.join(map(str, files)) or 'none'}",
        soft_wrap=True,
    )


def _drawn(matrix: Matrix, report: Mapping[str, Any], network: str) -> Table:
    """A table for the terminal; that of the forward lane ends with precisions."""
    table = Table(title=f"{network}: {matrix.what}")
    table.add_column("tap")
    table.add_column(matrix.of)
    described = {variant_of(column): column for column in report["variants"]}
    for variant in matrix.variants:
        version = _plain(described[variant]["version"])
        table.add_column(f"{variant.replace(' ', chr(10), 1)}\n{version}", justify="right")
    for row in matrix.rows:
        texts = [f"[{STYLES[own.outcome]}]{own.text}{MARKS[own.outcome]}[/]" if own else "" for own in row.cells]
        table.add_row(row.tap, row.of, *texts)
    if matrix.lane == "forward":
        observed = [
            f"{own['dtype']} → {own['observed_precision']}" for own in map(described.__getitem__, matrix.variants)
        ]
        table.add_section()
        table.add_row("precision", "declared → observed", *observed)
    return table


def _plain(text: str) -> str:
    """Text of others on one line, with nothing in it that a terminal or rich would obey."""
    return escape(one_line(text))
