"""The report on the terminal: the matrix, what went wrong first, and where the files are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from conformance.matrix import cell, columns
from spec.exits import one_line
from spec.network import Network
from spec.terminal import Terminal

STYLES = {"passed": "green", "failed": "bold red", "errored": "bold magenta", "skipped": "dim", "xfailed": "yellow"}
MARKS = {"passed": "", "failed": " ✗", "errored": " !", "skipped": " –", "xfailed": " x"}


def show(report: Mapping[str, Any], network: Network, files: Sequence[Path]) -> None:
    """Print the report, from the fields of conformance.json."""
    terminal = Terminal()
    results = report["results"]
    table = Table(title=f"{network.name}: effective bits, each operator by itself / end to end, worst case")
    table.add_column("tap")
    table.add_column("operator")
    variants = columns(results)
    for variant, column in zip(variants, report["variants"], strict=True):
        table.add_column(f"{variant.replace(' ', chr(10), 1)}\n{_plain(column['version'])}", justify="right")
    for layer in network.layers:
        cells = [cell(results, variant, layer.name) for variant in variants]
        texts = [f"[{STYLES[own.outcome]}]{own.text}{MARKS[own.outcome]}[/]" if own else "" for own in cells]
        table.add_row(layer.name, layer.operator.op, *texts)
    observed = [f"{column['dtype']} → {column['observed_precision']}" for column in report["variants"]]
    table.add_section()
    table.add_row("precision", "declared → observed", *observed)
    terminal.print(table)
    for result in report["first_divergences"]:
        tap = f"{result['tap']} ({result['operator']}, {result['check']})"
        where = f"{result['framework']} {result['case']}: first divergence at {tap}"
        terminal.print(f"[bold red]failed[/] {_plain(where)}: {_plain(result['message'])}")
    for result in results:
        if result["outcome"] == "errored":
            terminal.print(
                f"[bold magenta]errored[/] {result['framework']} {_plain(result['case'])}: {_plain(result['message'])}"
            )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report["outcomes"].items() if count)
    style = {"passed": "green", "failed": "red", "errored": "magenta"}[report["verdict"]]
    terminal.print(
        f"[bold {style}]{report['verdict']}[/]: {counts}; report: {', '.join(map(str, files))}", soft_wrap=True
    )


def _plain(text: str) -> str:
    """Text of others on one line, with nothing in it that a terminal or rich would obey."""
    return escape(one_line(text))
