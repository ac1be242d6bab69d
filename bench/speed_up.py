"""CPU against GPU: how many times faster each variant is on the GPU, batch by batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.report import Report
from bench.statistics import Ratio, ratio
from impls.frameworks import CUDA_MODES, Variant


@dataclass(frozen=True)
class SpeedUp:
    """One variant on the GPU beside the one on the CPU that it is compared with."""

    on_cuda: Variant
    on_cpu: Variant
    by_batch: dict[int, Ratio | str]
    """Times as fast as the CPU; where one of the two has no time, which one and why (`cuda skipped`)."""

    def cells(self, batches: Sequence[int]) -> tuple[str, ...]:
        """The row of the table, one cell a batch."""
        return f"{self.on_cuda} : {self.on_cpu}", *(_cell(self.by_batch.get(batch, "")) for batch in batches)


def speed_ups(report: Report) -> list[SpeedUp]:
    """Every variant on the GPU that has a counterpart on the CPU; none where only one device was asked for."""
    variants = list(dict.fromkeys(row.variant for row in report.rows))
    pairs = [
        (variant, other)
        for variant in variants
        if variant.device == "cuda" and (other := _counterpart(variant, variants)) is not None
    ]
    return [
        SpeedUp(variant, other, {batch: _ratio(report, variant, other, batch) for batch in batches(report)})
        for variant, other in pairs
    ]


def batches(report: Report) -> list[int]:
    """All batches of a report."""
    return list(dict.fromkeys(row.batch for row in report.rows))


def _counterpart(variant: Variant, variants: Sequence[Variant]) -> Variant | None:
    """The same variant on the CPU in float32, of its mode if the CPU has that, else of the first mode."""
    on_cpu = replace(variant, device="cpu", dtype="float32")
    modes = [other.mode for other in variants if other.mode not in CUDA_MODES]
    others = [replace(on_cpu, mode=mode) for mode in modes if variant.mode in (mode, *CUDA_MODES)]
    return next((other for other in others if other in variants), None)


def _ratio(report: Report, on_cuda: Variant, on_cpu: Variant, batch: int) -> Ratio | str:
    fast, slow = report.row(on_cuda, batch), report.row(on_cpu, batch)
    for device, row in (("cuda", fast), ("cpu", slow)):
        if row is not None and row.median_s is None:
            return f"{device} {row.outcome}"
    if fast is None or slow is None:
        return "not timed"
    return ratio(slow.rounds, fast.rounds)


def _cell(found: Ratio | str) -> str:
    return found if isinstance(found, str) else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
