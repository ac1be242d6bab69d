"""The report as Markdown: a step summary or a comment, with what decides first."""

from collections.abc import Iterator

from conformance.matrix import words
from gate.advice import Action, actions
from gate.results import Effect
from gate.table import headline, numerics_text, percent, rate_text, reasons, smallest, speed_text
from gate.verdict import Cell, Report, Run
from spec.exits import one_line
from spec.text import safe

MARKS = {"passed": "✅", "failed": "❌", "not-run": "💥", "undecided": "❔"}


def markdown_text(report: Report) -> str:
    """The whole report."""
    lines = [
        f"# {MARKS[report.verdict]} Gate {report.verdict}: {safe(report.title)}",
        "",
        f"{safe(headline(report))}.",
        "",
    ]
    lines += [_row("network", "framework", "numerics", "speed", "why"), "|---" * 5 + "|"]
    for cell in report.cells:
        variant = cell.variant
        framework = f"{cell.run.title}, {variant.device} {variant.dtype} {variant.mode} {variant.lowering}"
        lines.append(_row(cell.network, framework, numerics_text(cell), speed_text(cell), reasons(cell)))
    found = actions(report)
    if found:
        lines += ["", "## To act on", ""]
        for action in found:
            lines += _action(action)
    for run in report.runs:
        lines += ["", *_changes(run)]
    timed = [cell for cell in report.cells if cell.speed]
    if timed:
        lines += ["", "## Speed", "", *_speed(timed)]
        lines += [
            "",
            *(f"{safe(text)}." for text in dict.fromkeys(rate_text(r.finding.calibration) for r in report.runs)),
        ]
    for cell in report.cells:
        if cell.numerics is not None and cell.numerics.taps:
            lines += ["", *_taps(cell)]
    lines += ["", *dict.fromkeys(map(_about, report.runs)), *(f"Note: {safe(note)}." for note in report.notes), ""]
    return "\n".join(lines)


def _action(action: Action) -> Iterator[str]:
    yield f"- **{safe(action.verdict)}** {safe(action.place)}"
    for line in action.what:
        yield f"  - {safe(line)}"
    if action.command:
        yield f"  - again: {_code(action.command)}"
    if action.accept:
        yield f"  - to accept it, add to {safe(action.accept_in)}:"
        yield ""
        yield "    ```toml"
        for line in action.accept.splitlines():
            yield f"    {one_line(line)}"
        yield "    ```"


def _changes(run: Run) -> Iterator[str]:
    changes = run.finding.sides.changes
    yield f"## What changed: {safe(run.title)}"
    yield ""
    yield _row("package", "before", "after", "")
    yield "|---" * 4 + "|"
    for change in changes:
        yield _row(
            change.package,
            change.before or "none",
            change.after or "none",
            "asked" if change.asked else "moved with it",
        )


def _speed(cells: list[Cell]) -> Iterator[str]:
    yield "Candidate over baseline, with the limits of the verdict, and the smallest slow-down that could be seen."
    yield ""
    yield _row(
        "network", "variant", "batch", "quantity", "verdict", "change", "limits", "smallest effect", "blocks (dropped)"
    )
    yield "|---" * 9 + "|"
    for cell in cells:
        for batch, effect in cell.effects:
            yield _row(cell.network, str(cell.variant), str(batch), effect.quantity, effect.verdict, *_figures(effect))


def _figures(effect: Effect) -> tuple[str, str, str, str]:
    if effect.estimate is None:
        return "", "", "", str(effect.blocks)
    limits = f"{percent(effect.low)} to {percent(effect.high)}"
    return percent(effect.estimate), limits, smallest(effect), f"{effect.blocks} ({effect.dropped})"


def _taps(cell: Cell) -> Iterator[str]:
    assert cell.numerics is not None
    yield f"<details><summary>Taps of {safe(cell.network)}, {safe(str(cell.variant))}</summary>"
    yield ""
    yield _row("tap", "operator", "check", "verdict", "bits", "noise", "class", "change")
    yield "|---" * 8 + "|"
    for tap in cell.numerics.taps:
        bits = _pair(tap.bits_before, tap.bits_after, ".1f")
        noise = f"{_pair(tap.noise_before, tap.noise_after, '.3g')} {tap.unit}".strip()
        classes = tap.class_before if tap.class_before == tap.class_after else f"{tap.class_before} → {tap.class_after}"
        yield _row(tap.tap, tap.operator, words(tap.check), tap.verdict, bits, noise, classes, tap.change)
    yield ""
    yield "</details>"


def _about(run: Run) -> str:
    machine = run.finding.machine
    told = ", ".join(f"{key} {machine[key]}" for key in ("processor", "cores", "platform", "device") if key in machine)
    minutes, seconds = divmod(round(run.duration_s), 60)
    return f"{safe(run.title)}, {run.device}: {minutes} min {seconds} s; {safe(told)}."


def _pair(before: float | None, after: float | None, form: str) -> str:
    texts = ["–" if value is None else format(value, form) for value in (before, after)]
    return " → ".join(texts) if before is not None or after is not None else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(safe(str(cell)) for cell in cells) + " |"


def _code(text: str) -> str:
    """Text of others in back quotes, out of which it cannot come."""
    return f"`{one_line(text).replace('`', chr(39))}`"
