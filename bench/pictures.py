"""Pictures of a benchmark: throughput by batch, CPU against GPU, each layer's time against its floor."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure

from bench.floor import floor_s, layer_floors
from bench.layers import LayerTimes
from bench.report import Report
from bench.speed_up import SpeedUp, speed_ups
from bench.statistics import Ratio
from bench.timing import Row

mpl.rcParams["svg.hashsalt"] = "lockstep"  # the same figures give the same file


def pictures(report: Report) -> dict[str, str]:
    """File name and content of every picture that the rows allow."""
    timed = [row for row in report.rows if row.median_s]
    drawn: dict[str, str] = {}
    for device in dict.fromkeys(row.variant.device for row in timed):
        drawn[f"bench-throughput-{device}.svg"] = _throughput(report, [r for r in timed if r.variant.device == device])
    pairs = [pair for pair in speed_ups(report) if any(isinstance(found, Ratio) for found in pair.by_batch.values())]
    if pairs:
        drawn["bench-cpu-cuda.svg"] = _speed_up(report, pairs)
    if report.layers and any(report.layers.durations_s.values()):
        drawn["bench-layers.svg"] = _layers(report, report.layers)
    return drawn


def _layers(report: Report, layers: LayerTimes) -> str:
    """Each variant's layers, one on the other, beside the floor of each."""
    names = list(dict.fromkeys(name for durations in layers.durations_s.values() for name in durations))
    rooflines = {
        f"roofline {name}": {
            floor.name: floor.duration_s for floor in layer_floors(report.network, layers.batch, limits)
        }
        for name, limits in report.limits.items()
    }
    bars = rooflines | layers.named_s
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    colours = mpl.colormaps["tab20"]
    lefts = [0.0] * len(bars)
    for number, name in enumerate(names):
        widths = [1e3 * durations.get(name, 0.0) for durations in bars.values()]
        axes.barh(list(bars), widths, left=lefts, label=name, color=colours(number % 20))
        lefts = [left + width for left, width in zip(lefts, widths, strict=True)]
    axes.invert_yaxis()
    axes.set(xlabel=f"milliseconds at batch {layers.batch}, each layer by itself")
    axes.set_title(f"layers of {report.network.name}")
    axes.legend(fontsize="small", ncols=2)
    return _svg(figure)


def _throughput(report: Report, rows: Sequence[Row]) -> str:
    """Images a second over batch, a line a variant, and the roofline above them."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for variant in dict.fromkeys(row.variant for row in rows):
        own = [row for row in rows if row.variant == variant and row.median_s]
        batches, rates = [row.batch for row in own], [row.batch / (row.median_s or 1.0) for row in own]
        style = "-" if variant.lowering == "fast" else "--"
        axes.plot(batches, rates, style, marker="o", label=str(variant).replace(f" {variant.device} ", " "))
    batches = sorted({row.batch for row in rows})
    for name, limits in report.limits.items():
        if name.startswith(rows[0].variant.device):
            roofline = [batch / floor_s(report.network, report.workload, batch, limits) for batch in batches]
            axes.plot(batches, roofline, "k:", label=f"roofline {name}")
    axes.set(xscale="log", yscale="log", xlabel="batch", ylabel="images a second")
    axes.set_xticks(batches, [str(batch) for batch in batches])
    axes.set_title(f"{report.workload} of {report.network.name}, {rows[0].variant.device}")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    return _svg(figure)


def _speed_up(report: Report, pairs: Sequence[SpeedUp]) -> str:
    """How many times faster than the CPU the GPU is, over batch."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    for pair in pairs:
        points = [(batch, found) for batch, found in pair.by_batch.items() if isinstance(found, Ratio)]
        values = [found.value for _, found in points]
        spans = [[found.value - found.low for _, found in points], [found.high - found.value for _, found in points]]
        axes.errorbar([batch for batch, _ in points], values, spans, marker="o", label=str(pair.on_cuda))
    axes.set(xscale="log", yscale="log", xlabel="batch", ylabel="times as fast as the CPU")
    axes.set_title(f"{report.workload} of {report.network.name}: cuda over cpu")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend(fontsize="small")
    return _svg(figure)


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
