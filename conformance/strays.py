"""How far the tensors of a run are from the oracle's, in one pass over tensors of any size."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, isfinite, sqrt

import numpy as np

from conformance.measure import BLOCK, Array, norm


@dataclass(frozen=True)
class Stray:
    """The error of one tensor."""

    rms: float
    """Of all elements; infinite where one is not finite."""
    elements: float
    """Over how many elements the error is spread (measure.effective_elements)."""
    index: tuple[int, ...] = ()
    """The worst element."""
    actual: float = 0.0
    expected: float = 0.0
    unusable: str = ""
    """Why there is nothing to compare."""


def strays(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, Stray]:
    """The errors of all tensors that are expected."""
    return {name: stray(actual.get(name), value) for name, value in expected.items()}


def stray(actual: Array | None, expected: Array) -> Stray:
    """The error of one tensor, which must be float32 and of the expected shape."""
    unusable = _unusable(actual, expected)
    if unusable or actual is None:
        return Stray(inf, float(expected.size), unusable=unusable)
    found, wanted = actual.reshape(-1), expected.reshape(-1)
    squares = fourths = 0.0
    worst, place = -1.0, 0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, wanted.size, BLOCK):
            errors = found[start : start + BLOCK] - wanted[start : start + BLOCK].astype(np.float64, copy=False)
            errors *= errors
            squares += float(errors.sum())
            fourths += float(errors @ errors)
            furthest = int(errors.argmax())  # the first that is no number, if any is none
            if not errors[furthest] <= worst:
                worst, place = float(errors[furthest]), start + furthest
            if not isfinite(squares):
                break
    squares = squares if isfinite(squares) else inf
    spread = 3.0 * squares**2 / fourths if 0 < fourths < inf else float(wanted.size)
    return Stray(
        rms=sqrt(squares / wanted.size),
        elements=min(spread, float(wanted.size)),
        index=tuple(int(i) for i in np.unravel_index(place, expected.shape)),
        actual=float(found[place]),
        expected=float(wanted[place]),
    )


def rms(values: Array) -> float:
    """The root of the mean of the squares."""
    return norm(values) / sqrt(values.size)


def _unusable(actual: Array | None, expected: Array) -> str:
    if actual is None:
        return "expected a tensor of that name, found none"
    if actual.shape != expected.shape:
        return f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
    return "" if actual.dtype == np.float32 else f"expected float32, found {actual.dtype}"
