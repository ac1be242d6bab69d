"""The report on the terminal: the table, what to act on, and where the files are."""

from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from gate.advice import actions
from gate.results import NumericVerdict, SpeedVerdict
from gate.table import headline, numerics_text, rate_text, smallest, speed_text
from gate.verdict import Report, moved
from spec.exits import one_line
from spec.terminal import Terminal

STYLES = {"passed": "green", "failed": "red", "not-run": "magenta", "undecided": "yellow"}
_BAD = {
    str(v) for v in (NumericVerdict.DRIFTED, NumericVerdict.PRECISION, NumericVerdict.DIVERGED, SpeedVerdict.SLOWER)
}


def show(report: Report, files: Sequence[Path]) -> None:
    """Print the report."""
    terminal = Terminal()
    for run in report.runs:
        others = [moved(change) for change in run.finding.sides.changes if not change.asked]
        with_it = f"; with it: {', '.join(others)}" if others else "; nothing else differs"
        terminal.print(f"{_plain(run.title)}{_plain(with_it)}", soft_wrap=True)
    table = Table("network", "framework", "variant", "numerics", "speed", title=_plain(report.title))
    for cell in report.cells:
        variant = f"{cell.variant.device} {cell.variant.dtype} {cell.variant.mode} {cell.variant.lowering}"
        numerics = _styled(numerics_text(cell), str(cell.numerics.verdict) if cell.numerics else "")
        speed = _styled(speed_text(cell), str(cell.worst_speed))
        table.add_row(_plain(cell.network), cell.variant.framework, variant, numerics, speed)
    terminal.print(table)
    for action in actions(report):
        terminal.print(f"[bold red]{_plain(action.verdict)}[/] {_plain(action.place)}", soft_wrap=True)
        for line in action.what:
            terminal.print(f"  {_plain(line)}", soft_wrap=True)
        if action.command:
            terminal.print(f"  again: {_plain(action.command)}", soft_wrap=True)
        if action.accept:
            where = _plain(action.accept_in)
            terminal.print(f"  to accept it: gate.md has the entry for {where}", soft_wrap=True)
    for text in _speed_lines(report):
        terminal.print(_plain(text), soft_wrap=True)
    for note in report.notes:
        terminal.print(f"note: {_plain(note)}", soft_wrap=True)
    style = STYLES[report.verdict]
    terminal.print(
        f"[bold {style}]{report.verdict}[/]: {_plain(headline(report))}; report: {', '.join(map(str, files))}",
        soft_wrap=True,
    )


def _speed_lines(report: Report) -> list[str]:
    lines = []
    for cell in report.cells:
        for speed in cell.speed:
            told = [f"{effect.quantity} {smallest(effect)}" for effect in speed.effects if effect.estimate is not None]
            if told:
                lines.append(f"smallest effects to be seen, {cell.network} batch {speed.batch}: {', '.join(told)}")
    rates = [rate_text(run.finding.calibration) for run in report.runs if run.finding.speed]
    return [*lines, *dict.fromkeys(rates)]


def _styled(text: str, verdict: str) -> str:
    return f"[bold red]{_plain(text)}[/]" if verdict in _BAD else _plain(text)


def _plain(text: str) -> str:
    """Text of others on one line, with nothing in it that a terminal or rich would obey."""
    return escape(one_line(text))
