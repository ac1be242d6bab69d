"""The report of a training run as Markdown."""

from conformance.markdown import MARKS, safe
from conformance.train.report import Report
from conformance.train.table import COLUMNS, conditions, headings, rows, together


def markdown_text(report: Report, picture: str) -> str:
    """The text of train.md; `picture` is the file beside it that shows the curves."""
    names = headings(report)
    lines = [
        f"# Training of {report.plan.network.name}: {report.verdict}",
        "",
        f"{safe(conditions(report))}.",
        "",
        f"| {' | '.join(names)} |",
        "|" + "|".join("---:" if COLUMNS[name] else "---" for name in names) + "|",
    ]
    for _, cells in rows(report):
        marked = [f"{MARKS[text]} {text}" if text in MARKS else safe(text) for text in cells]
        lines.append(f"| {' | '.join(marked)} |")
    lines += ["", *(f"- **{safe(str(run.variant))}**: {safe(run.message)}" for run in report.runs if run.message)]
    lines += ["", together(report), "", f"![loss and validation error of every epoch]({picture})", ""]
    return "\n".join(lines)
