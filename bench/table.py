"""The rows of a benchmark as words and figures: what terminal and Markdown both show."""

from bench.report import Report
from bench.statistics import ratio
from bench.timing import Row
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
    "memory MiB",
)


def cells(report: Report, row: Row) -> tuple[str, ...]:
    """One row of the table; a row without a time says why."""
    if row.median_s is None:
        return str(row.variant), str(row.batch), row.outcome, *[""] * (len(HEADINGS) - 3)
    fields = next(
        fields
        for fields in report.fields()["lockstep"]["rows"]
        if (fields["batch"], fields["framework"], fields["device"], fields["dtype"], fields["mode"], fields["lowering"])
        == (row.batch, *row.variant.fields().values())
    )
    ordered = sorted(row.samples)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    return (
        str(row.variant),
        str(row.batch),
        f"{1e3 * row.median_s:,.1f}",
        f"{1e3 * low:,.1f}–{1e3 * high:,.1f}",
        f"{fields['images_per_s']:,.1f}",
        f"{fields['flops_per_s'] / 1e9:,.0f}",
        f"{fields['bytes_per_s'] / 1e9:,.1f}",
        f"{fields['roofline_fraction']:.2f}",
        _speed_up(report, row, lowering="native") if row.variant.lowering == "fast" else "",
        _speed_up(report, row, device="cpu") if row.variant.device == "cuda" else "",
        _seconds(row.first_call_s),
        _seconds(row.build_s),
        _seconds(row.import_s),
        f"{(row.peak_bytes or 0) / 2**20:,.0f}",
    )


def remarks(report: Report) -> list[str]:
    """What a reader must know before believing the table."""
    limits = report.limits
    peak = (
        f"Limits of this machine with {limits.threads} threads: {limits.flops_per_s / 1e9:,.0f} GFLOP/s in float32, "
        f"{limits.bytes_per_s / 1e9:,.1f} GB/s. The roofline is the sum over layers of max(FLOP/peak, bytes/bandwidth)."
    )
    lines = [peak]
    if report.is_noisy:
        lines.append(
            f"NOISY: a kernel that no framework has a part in varied by {report.control_spread:.0%} between rounds "
            f"(10% is usual at most), {report.steal_s:.1f} s were taken by the host: compare ratios only."
        )
    else:
        lines.append(f"The control kernel varied by {report.control_spread:.0%} between rounds: the machine was quiet.")
    lines += [f"{row.variant}, batch {row.batch}: {row.outcome}: {row.message}" for row in report.rows if row.message]
    return lines


def _speed_up(report: Report, row: Row, **other: str) -> str:
    """How many times faster a row is than the same variant with other fields."""
    slower = report.row(Variant(**{**row.variant.fields(), **other}), row.batch)  # type: ignore[arg-type]
    if slower is None or slower.median_s is None:
        return ""
    return f"{ratio(slower.rounds, row.rounds).value:.2f}"


def _seconds(duration_s: float | None) -> str:
    return "" if duration_s is None else f"{duration_s:.2f}"
