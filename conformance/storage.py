"""Tensors that are stored as bfloat16, operands that are rounded to TF32: what rounding makes of float32 values."""

import numpy as np

from conformance.measure import Array
from impls.frameworks import Dtype

#: Last bits of a float32 that TF32 and bfloat16 lack.
TF32_DROPPED, BF16_DROPPED = 13, 16


def stored(values: Array, dtype: Dtype) -> Array:
    """Float32 values as a variant of that precision stores them, in float32 again."""
    return _rounded(values, BF16_DROPPED) if dtype == "bf16" else values


def operand(values: Array, dtype: Dtype) -> Array:
    """Stored float32 values as products of that precision read them."""
    return _rounded(values, TF32_DROPPED) if dtype == "tf32" else values


def is_stored(values: Array, dtype: Dtype) -> bool:
    """Whether storing float32 `values` in that precision leaves them as they are."""
    return dtype != "bf16" or np.array_equal(stored(values, dtype), values, equal_nan=True)


def _rounded(values: Array, dropped: int) -> Array:
    """Without the last bits, to nearest and ties to even, as every framework rounds."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    last, half = np.uint32(1), np.uint32((1 << (dropped - 1)) - 1)
    shift, kept = np.uint32(dropped), np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)
    rounded = (bits + half + ((bits >> shift) & last)) & kept
    return np.where(np.isfinite(values), rounded.view(np.float32), values)
