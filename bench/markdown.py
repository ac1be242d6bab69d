"""The report of a benchmark as Markdown."""

from bench.report import Report
from bench.table import HEADINGS, cells, remarks


def markdown_text(report: Report, pictures: list[str]) -> str:
    """The table, what a reader must know about it, the pictures and the machine."""
    lines = [
        f"# {report.workload} of {report.network.name}: how fast",
        "",
        *(f"{remark}\n" for remark in remarks(report)),
        "| " + " | ".join(HEADINGS) + " |",
        "|---" * len(HEADINGS) + "|",
        *("| " + " | ".join(cells(report, row)) + " |" for row in report.rows),
        "",
        *(f"![{name.removesuffix('.svg')}]({name})" for name in pictures),
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {key} | {value.replace('|', '/')} |" for key, value in report.environment.items()),
        "",
    ]
    return "\n".join(lines)
