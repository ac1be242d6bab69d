"""The matrix of a run, taps × variants: each cell the bits of its worst case, and its outcome."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

#: From what must be seen first to what needs no look.
SEVERITY = ("failed", "errored", "xfailed", "skipped", "passed")


@dataclass(frozen=True)
class Cell:
    """One tap of one variant, over all cases."""

    outcome: str
    text: str
    """Bits by itself and end to end, `23.9 / 20.1`; `exact` where every bit is right."""


def columns(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """The variants in the order of the run."""
    return list(dict.fromkeys(variant_of(result) for result in results))


def variant_of(result: Mapping[str, Any]) -> str:
    """The variant of a result, in one line."""
    return " ".join(str(result[key]) for key in ("framework", "device", "dtype", "mode", "lowering"))


def cell(results: Iterable[Mapping[str, Any]], variant: str, tap: str) -> Cell | None:
    """The worst of a variant's results at a tap, or nothing where it has none."""
    own = [result for result in results if result["tap"] == tap and variant_of(result) == variant]
    if not own:
        return None
    return Cell(
        outcome=min((result["outcome"] for result in own), key=SEVERITY.index),
        text=f"{_worst(own, 'local')} / {_worst(own, 'end_to_end')}",
    )


def _worst(results: Iterable[Mapping[str, Any]], check: str) -> str:
    """The fewest bits among the results of a check; a result without bits is exact if its worst error is 0."""
    own = [result for result in results if result["check"] == check]
    bits = [result["effective_bits"] for result in own if result["effective_bits"] is not None]
    if bits:
        return f"{min(bits):.1f}"
    return "exact" if own and all(result["worst"] == 0 for result in own) else "–"
