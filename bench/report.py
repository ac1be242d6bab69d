"""The report of a benchmark: bench.json in pytest-benchmark's format, bench.md and pictures."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from pytest_benchmark import __version__ as pytest_benchmark_version
from pytest_benchmark.stats import Stats

from bench.floor import floor_s, layer_floors
from bench.layers import LayerTimes
from bench.limits import Limits, element_bytes, key
from bench.timing import Row
from bench.work import flops, moved_bytes
from impls.frameworks import Variant
from spec.exits import Exit
from spec.files import write_all
from spec.network import Network

FORMAT = "lockstep-bench/1"
#: Beyond this spread of the control kernel (90th percentile over median, less 1) the machine was not idle.
NOISY = 0.10


@dataclass(frozen=True)
class Report:
    """All that a run measured."""

    network: Network
    workload: str
    rows: Sequence[Row]
    limits: Mapping[str, Limits]
    """By device and precision (`bench.limits.key`)."""
    environment: Mapping[str, str]
    control_spread: float
    steal_s: float
    layers: LayerTimes | None = None

    @property
    def is_noisy(self) -> bool:
        """Whether the machine's own speed changed while it measured."""
        return self.control_spread > NOISY

    @property
    def is_complete(self) -> bool:
        """Whether no row was left unfinished by a stop."""
        return all(row.outcome != "incomplete" for row in self.rows)

    @property
    def exit(self) -> Exit:
        """0 if all rows are timed or skipped by name, 1 if one does not conform, 3 if one could not be run."""
        outcomes = {row.outcome for row in self.rows}
        if "nonconforming" in outcomes:
            return Exit.DIVERGED
        done = outcomes <= {"timed", "skipped"} and "timed" in outcomes
        return Exit.PASSED if done else Exit.NOT_RUN

    def floor_s(self, variant: Variant, batch: int) -> float | None:
        """The least time of the workload on this machine, in seconds, where its limits could be measured."""
        limits = self.limits.get(key(variant))
        return floor_s(self.network, self.workload, batch, limits) if limits else None

    def fraction(self, row: Row) -> float | None:
        """How much of the machine a variant used: the floor over its median."""
        least_s = self.floor_s(row.variant, row.batch)
        return least_s / row.median_s if least_s and row.median_s else None

    def bytes_per_s(self, row: Row) -> float | None:
        """Bytes that a variant must move, as it stores them, over its median."""
        moved = moved_bytes(self.network, self.workload, row.batch, element_bytes(row.variant.dtype))
        return moved / row.median_s if row.median_s else None

    def row(self, variant: Variant, batch: int) -> Row | None:
        """The row of a variant at a batch."""
        return next((row for row in self.rows if (row.variant, row.batch) == (variant, batch)), None)

    def fields(self) -> dict[str, Any]:
        """The report as bench.json writes it: pytest-benchmark's keys, and ours beside them."""
        return {
            "machine_info": {**self.environment, "node": "", "system": self.environment.get("platform", "")},
            "commit_info": {
                "id": "unversioned",
                "dirty": False,
                "time": None,
                "author_time": None,
                "project": "lockstep",
            },
            "benchmarks": [self._benchmark(row) for row in self.rows if row.median_s],
            "datetime": datetime.now(UTC).isoformat(),
            "version": pytest_benchmark_version,
            "lockstep": {
                "format": FORMAT,
                "complete": self.is_complete,
                "network": {"name": self.network.name, "sha256": self.network.sha256},
                "workload": self.workload,
                "limits": {name: limits.fields() for name, limits in self.limits.items()},
                "control_spread": self.control_spread,
                "steal_s": self.steal_s,
                "noisy": self.is_noisy,
                "rows": [self._row(row) for row in self.rows],
                "floors": {
                    name: {
                        str(batch): {
                            floor.name: floor.duration_s for floor in layer_floors(self.network, batch, limits)
                        }
                        for batch in dict.fromkeys(row.batch for row in self.rows)
                    }
                    for name, limits in self.limits.items()
                },
                "layers": {"batch": self.layers.batch, "durations_s": self.layers.named_s} if self.layers else None,
            },
        }

    def _row(self, row: Row) -> dict[str, Any]:
        duration_s = row.median_s
        return {
            **row.variant.fields(),
            "batch": row.batch,
            "version": row.version,
            "outcome": row.outcome,
            "message": row.message,
            "import_s": row.import_s,
            "build_s": row.build_s,
            "first_call_s": row.first_call_s,
            "overhead_s": row.overhead_s,
            "median_s": duration_s,
            "images_per_s": row.batch / duration_s if duration_s else None,
            "flops_per_s": flops(self.network, self.workload, row.batch) / duration_s if duration_s else None,
            "bytes_per_s": self.bytes_per_s(row),
            "roofline_fraction": self.fraction(row),
            "busy_threads": row.busy_threads,
            "cpus": list(row.cpus),
            "peak_bytes": row.peak_bytes,
            "device_peak_bytes": row.device_peak_bytes,
            "relative_rms": row.relative_rms,
            "settings": dict(row.settings),
            "environment": row.environment,
        }

    def _benchmark(self, row: Row) -> dict[str, Any]:
        stats: Any = Stats()  # type: ignore[no-untyped-call]
        for duration_s in row.samples:
            stats.update(duration_s)
        name = f"{self.workload}[{self.network.name}-{row.variant}-{row.batch}]".replace(" ", "-")
        return {
            "group": f"{self.workload} {self.network.name} batch {row.batch}",
            "name": name,
            "fullname": f"bench::{name}",
            "params": {**row.variant.fields(), "batch": row.batch},
            "param": f"{row.variant}-{row.batch}",
            "extra_info": {
                "version": row.version,
                "block": [number for number, samples in enumerate(row.rounds) for _ in samples],
                "process": str(row.variant),
                "control_s": row.control_s,
            },
            "options": {
                "disable_gc": True,
                "timer": "perf_counter",
                "min_rounds": len(row.rounds),
                "max_time": sum(row.samples),
                "min_time": min(row.samples),
                "warmup": True,
            },
            "stats": {**stats.as_dict(), "data": row.samples, "iterations": 1},
        }


def write(report: Report, folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write bench.json with `texts` (Markdown, pictures) beside it, whole or not at all; raises NotRunError."""
    return write_all(folder, {"bench.json": json.dumps(report.fields(), indent=1, allow_nan=False) + "\n", **texts})


def round_medians_s(row: Row) -> list[float]:
    """The median of each round, in seconds."""
    return [median(samples) for samples in row.rounds]
