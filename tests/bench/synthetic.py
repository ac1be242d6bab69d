"""Reports without a benchmark: rows with durations that a test chose."""

from bench.limits import Limits
from bench.report import Report
from bench.timing import Row
from impls.frameworks import Variant
from spec.load import load


def variant(framework: str = "torch", lowering: str = "native") -> Variant:
    return Variant(framework, "cpu", "float32", "eager", lowering)


def row(of: Variant, batch: int, rounds: list[tuple[float, ...]], outcome: str = "timed", message: str = "") -> Row:
    return Row(of, batch, "1.0", {}, outcome, message, 1.0, 0.5, 0.25, rounds, [0.01] * len(rounds), 1.9, (0, 1), 2**30)


def report(*rows: Row, control_spread: float = 0.02) -> Report:
    return Report(
        load("alexnet_narrow"),
        "forward",
        rows,
        {"cpu float32": Limits(1e11, 1e10, 2)},
        {"cores": "2"},
        control_spread,
        0.0,
    )
