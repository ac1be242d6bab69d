"""How far an output is from the oracle's: noise units, ULP, effective bits, precision classes."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

#: Unit roundoff: half the distance between 1 and the next number.
UNIT = {"float32": 2.0**-24, "tf32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}
SMALLEST_NORMAL = 2.0**-126
#: Elements that are summed at once: few stay in the cache, and are too few for BLAS to wait for a second thread.
BLOCK = 1 << 13

#: The unit of errors of sums of products.
NOISE = "noise units"

#: Noise of a sum of products in float32 units, at the geometric middle between neighbouring classes: correct float32
#: has an RMS of 2–20, TF32 about 4,900 and bfloat16 about 39,500 (design, measured on AlexNet).
CLASSES = ((300.0, "float32"), (14_000.0, "tf32"), (200_000.0, "bfloat16"))
NO_CLASS = "none"
"""What is coarser than all of them."""


@dataclass(frozen=True)
class Error:
    """Errors of all elements of a tap, in some unit."""

    rms: float
    worst: float
    index: tuple[int, ...]
    """Where the worst error is."""


def error_in(units: Array) -> Error:
    """Summarise errors that are given in units; what is not a number is infinitely wrong."""
    magnitudes = np.where(np.isfinite(units), np.abs(units), np.inf)
    index = np.unravel_index(int(np.argmax(magnitudes)), magnitudes.shape)
    with np.errstate(over="ignore"):
        rms = float(np.sqrt(np.mean(magnitudes**2)))
    return Error(rms, float(magnitudes[index]), tuple(int(i) for i in index))


def noise(actual: Array, expected: Array, scale: Array) -> Array:
    """Errors in noise units e = (y − y64) / (u·S), with the u of float32. Where S is 0 only y64 is right.

    Denormals may be flushed to 0, terms of the sum too.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        errors = actual - expected
        return np.where(
            (errors == 0.0) | (np.abs(errors) <= SMALLEST_NORMAL) & (scale > 0.0),
            0.0,
            errors / (UNIT["float32"] * scale),
        )


def ulp(actual: Array, expected: Array, dtype: str = "float32") -> Array:
    """Errors in units of the last place of the float32 (or bfloat16) nearest to what was expected.

    Denormals may be flushed to 0.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        _, exponents = np.frexp(np.maximum(np.abs(expected), SMALLEST_NORMAL).astype(np.float32))
        errors = actual - expected
    spacing = np.ldexp(UNIT[dtype], exponents)
    return np.where(np.abs(errors) <= SMALLEST_NORMAL, 0.0, errors / spacing)


def log_units(actual: Array, expected: Array, logits: Array) -> Array:
    """Errors of log-probabilities in float32 roundoffs of the largest logit of each row."""
    scale = np.maximum(np.abs(logits).max(axis=1, keepdims=True), 1.0) * UNIT["float32"]
    with np.errstate(divide="ignore", invalid="ignore"):
        difference = np.log(actual) - np.log(expected)
    # A power is made as twice half of it, and that half is flushed to 0 where it would be denormal.
    vanished = (expected < 2 * SMALLEST_NORMAL) & (actual >= 0.0) & (actual < 2 * SMALLEST_NORMAL)
    return np.where(vanished, 0.0, difference / scale)


def differences(actual: Array, expected: Array) -> Array:
    """Plain differences: 0 where both are equal, ±0 and equal infinities included. Denormals may be flushed to 0."""
    with np.errstate(invalid="ignore"):
        flushed = (actual == 0.0) & (np.abs(expected) < SMALLEST_NORMAL)
        return np.where((actual == expected) | flushed, 0.0, actual - expected)


def relative_rms(actual: Array, expected: Array) -> float:
    """‖y − y64‖ / ‖y64‖; infinite where y is not finite, or where only y64 is 0."""
    size = norm(expected)
    with np.errstate(invalid="ignore"):
        distance = norm(actual - expected)
    if not np.isfinite(distance):
        return float("inf")
    if size == 0.0:
        return 0.0 if distance == 0.0 else float("inf")
    return distance / size


def norm(values: Array) -> float:
    """The root of the sum of the squares, block by block."""
    flat = values.reshape(-1)
    squares = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for start in range(0, flat.size, BLOCK):
            block = flat[start : start + BLOCK].astype(np.float64, copy=False)
            squares += float(block @ block)
    return sqrt(squares)


def effective_elements(errors: Array) -> float:
    """Over how many elements errors are spread: n for n normal ones, fewer where few elements have them all."""
    squares = np.square(errors.ravel() / max(float(np.abs(errors).max()), np.finfo(np.float64).tiny))
    fourth = float(np.square(squares).sum())
    return float(min(errors.size, 3.0 * float(squares.sum()) ** 2 / fourth)) if fourth > 0 else float(errors.size)


def effective_bits(relative: float) -> float:
    """−log2 of the relative RMS error: what people read. Infinite where every bit is right, 0 where none is."""
    if relative == 0.0:
        return float("inf")
    return max(0.0, float(-np.log2(relative)))


def precision_class(noise_rms: float) -> str:
    """The precision that a sum of products was observed to have."""
    return next((name for limit, name in CLASSES if noise_rms <= limit), NO_CLASS)
