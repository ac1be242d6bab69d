"""The report of a training run as Markdown."""

from collections.abc import Sequence

from conformance.markdown import MARKS
from conformance.train.report import Report
from conformance.train.table import COLUMNS, conditions, headings, rows, together
from spec.text import safe


def markdown_text(report: Report, pictures: Sequence[str]) -> str:
    """The text of train.md; `pictures` are files beside it."""
    names = headings(report)
    table = [
        f"| {' | '.join(names)} |",
        "|" + "|".join("---:" if COLUMNS[name] else "---" for name in names) + "|",
    ]
    for _, cells in rows(report):
        marked = [f"{MARKS[text]} {text}" if text in MARKS else safe(text) for text in cells]
        table.append(f"| {' | '.join(marked)} |")
    paragraphs = [
        f"# Training of {report.plan.network.name}: {report.verdict}",
        f"{safe(conditions(report))}.",
        "\n".join(table),
        "\n".join(f"- **{safe(str(run.variant))}**: {safe(run.message)}" for run in report.runs if run.message),
        together(report),
        *(f"![loss and validation error of every epoch]({picture})" for picture in pictures),
    ]
    return "\n\n".join(filter(None, paragraphs)) + "\n"
