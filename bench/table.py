"""The rows of a benchmark as words and figures: what terminal and Markdown both show."""

from collections.abc import Sequence

from bench.report import Report
from bench.statistics import ratio
from bench.timing import Row
from bench.work import flops
from impls.frameworks import Variant

HEADINGS = (
    "variant",
    "batch",
    "ms",
    "q10–q90",
    "images/s",
    "GFLOP/s",
    "GB/s",
    "roofline",
    "fast : native",
    "cpu : cuda",
    "first call s",
    "build s",
    "import s",
    "memory MiB (device)",
)


def cells(report: Report, row: Row) -> tuple[str, ...]:
    """One row of the table; a row without a time says why."""
    if row.median_s is None:
        return str(row.variant), str(row.batch), row.outcome, *[""] * (len(HEADINGS) - 3)
    fraction = report.fraction(row)
    ordered = sorted(row.samples)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return (
        str(row.variant),
        str(row.batch),
        f"{1e3 * row.median_s:,.1f}",
        f"{1e3 * low:,.1f}–{1e3 * high:,.1f}",
        f"{row.batch / row.median_s:,.1f}",
        f"{flops(report.network, report.workload, row.batch) / row.median_s / 1e9:,.0f}",
        f"{(report.bytes_per_s(row) or 0.0) / 1e9:,.1f}",
        "" if fraction is None else f"{fraction:.2f}",
        _speed_up(report, row, lowering="native") if row.variant.lowering == "fast" else "",
        _speed_up(report, row, device="cpu") if row.variant.device == "cuda" else "",
        _seconds(row.first_call_s),
        _seconds(row.build_s),
        _seconds(row.import_s),
        f"{_mib(row.peak_bytes)} ({_mib(row.device_peak_bytes)})" if row.device_peak_bytes else _mib(row.peak_bytes),
    )


def remarks(report: Report) -> list[str]:
    """What a reader must know before believing the table."""
    lines = [
        f"Limits of {name} with {limits.threads} threads: {limits.flops_per_s / 1e9:,.0f} GFLOP/s (by "
        f"{limits.flops_by}), {limits.bytes_per_s / 1e9:,.1f} GB/s (by {limits.bytes_by}). The roofline is the sum "
        "over layers of max(FLOP/peak, bytes/bandwidth)."
        for name, limits in report.limits.items()
    ]
    settings = {row.variant: " ".join(f"{key}={value}" for key, value in row.settings.items()) for row in report.rows}
    for given in dict.fromkeys(filter(None, settings.values())):
        lines.append(f"Started with {given}: {', '.join(str(v) for v, text in settings.items() if text == given)}.")
    shares = [row.overhead_s / row.median_s for row in report.rows if row.overhead_s and row.median_s]
    if shares:
        lines.append(
            f"The stopwatch adds at most {max(shares):.2%} to a call (measured around a step that does nothing)."
        )
    if report.is_noisy:
        lines.append(
            f"NOISY: a kernel that no framework has a part in varied by {report.control_spread:.0%} between rounds "
            f"(10% is usual at most), {report.steal_s:.1f} s were taken by the host: compare ratios only."
        )
    else:
        lines.append(f"The control kernel varied by {report.control_spread:.0%} between rounds: the machine was quiet.")
    return lines + _messages(report.rows)


def _messages(rows: Sequence[Row]) -> list[str]:
    """Why rows have no time; what is said of several batches of a variant is said once."""
    batches: dict[tuple[Variant, str, str], list[str]] = {}
    for row in rows:
        if row.message:
            batches.setdefault((row.variant, row.outcome, row.message), []).append(str(row.batch))
    return [
        f"{variant}, batch {', '.join(numbers)}: {outcome}: {message}"
        for (variant, outcome, message), numbers in batches.items()
    ]


def _speed_up(report: Report, row: Row, **other: str) -> str:
    """How many times faster a row is than the same variant with other fields."""
    slower = report.row(Variant(**{**row.variant.fields(), **other}), row.batch)  # type: ignore[arg-type]
    if slower is None or slower.median_s is None:
        return ""
    return f"{ratio(slower.rounds, row.rounds).value:.2f}"


def _mib(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / 2**20:,.0f}"


def _seconds(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{duration_s:.2f}"
