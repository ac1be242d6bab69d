"""The report of a benchmark as Markdown."""

from bench.floor import layer_floors
from bench.report import Report
from bench.speed_up import batches, speed_ups
from bench.table import HEADINGS, cells, remarks
from spec.text import safe


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
        *_speed_up_table(report),
        *(f"![{name.removesuffix('.svg')}]({name})" for name in pictures),
        "",
        *_layer_table(report),
        "| machine | |",
        "|---|---|",
        *(f"| {key} | {safe(value)} |" for key, value in report.environment.items()),
        "",
        *_workers(report),
    ]
    return "\n".join(lines)


def _speed_up_table(report: Report) -> list[str]:
    """CPU against GPU, where both were asked for."""
    found, columns = speed_ups(report), batches(report)
    if not found:
        return []
    return [
        "Times as fast on cuda as on cpu, with 95% intervals:",
        "",
        "| cuda : cpu | " + " | ".join(f"batch {batch}" for batch in columns) + " |",
        "|---" * (1 + len(columns)) + "|",
        *("| " + " | ".join(pair.cells(columns)) + " |" for pair in found),
        "",
    ]


def _workers(report: Report) -> list[str]:
    """What each framework says of itself and of the device that it would use."""
    told = {row.variant.framework: (row.version, row.environment) for row in report.rows if row.environment}
    if not told:
        return []
    return [
        "| framework | |",
        "|---|---|",
        *(
            f"| {framework} {safe(version)} | {', '.join(f'{key} {safe(value)}' for key, value in facts.items())} |"
            for framework, (version, facts) in told.items()
        ),
        "",
    ]


def _layer_table(report: Report) -> list[str]:
    """Each layer by itself, in milliseconds, beside its floor."""
    if report.layers is None:
        return []
    columns = {
        f"floor {name}": {
            floor.name: floor.duration_s for floor in layer_floors(report.network, report.layers.batch, limits)
        }
        for name, limits in report.limits.items()
    } | report.layers.named_s
    names = [layer.name for layer in report.network.layers]
    timed = [name for name in names if any(name in times for times in report.layers.durations_s.values())]
    return [
        f"Milliseconds of each layer by itself at batch {report.layers.batch}:",
        "",
        "| layer | " + " | ".join(columns) + " |",
        "|---" * (1 + len(columns)) + "|",
        *(
            f"| {name} | "
            + " | ".join(f"{1e3 * own[name]:.2f}" if name in own else "" for own in columns.values())
            + " |"
            for name in timed
        ),
        "",
    ]
