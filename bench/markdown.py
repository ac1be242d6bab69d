"""The report of a benchmark as Markdown."""

from bench.floor import layer_floors
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
        *_layer_table(report),
        "| machine | |",
        "|---|---|",
        *(f"| {key} | {value.replace('|', '/')} |" for key, value in report.environment.items()),
        "",
    ]
    return "\n".join(lines)


def _layer_table(report: Report) -> list[str]:
    """Each layer by itself, in milliseconds, beside its floor."""
    if report.layers is None:
        return []
    times = report.layers.durations_s
    floors = layer_floors(report.network, report.layers.batch, report.limits)
    timed = [floor for floor in floors if any(floor.name in durations for durations in times.values())]
    return [
        f"Milliseconds of each layer by itself at batch {report.layers.batch}:",
        "",
        "| layer | floor | " + " | ".join(times) + " |",
        "|---" * (2 + len(times)) + "|",
        *(
            f"| {floor.name} | {1e3 * floor.duration_s:.2f} | "
            + " | ".join(f"{1e3 * own[floor.name]:.2f}" if floor.name in own else "" for own in times.values())
            + " |"
            for floor in timed
        ),
        "",
    ]
