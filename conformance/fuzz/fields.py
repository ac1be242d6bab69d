"""The fields of every operator at random, such that it fits what it reads."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

from hypothesis import strategies as st

from spec.base import Shape
from spec.shapes import COMMON_WINDOW

Content = dict[str, Any]
Fields = st.SearchStrategy[Content]

#: Small, so that hundreds of networks are compiled and run in minutes.
MOST_CHANNELS = 8
LARGEST_JOINED = 1024
"""Larger values are not joined with others: these could grow without end."""
WIDEST_KERNEL = 5
LONGEST_STRIDE = 6
MOST_PADS = 3


@dataclass(frozen=True)
class Kind:
    """One operator of the language, as a network at random may have it."""

    rank: int | None
    """Rank of what it reads: 3 for images, 1 for features; none where both will do."""
    fields: Callable[[Shape], Fields]
    weight: int = 1
    """How likely it is among others."""
    several: bool = False
    """Whether it reads more than one value."""

    def fits(self, shape: Shape) -> bool:
        """Whether it can read a value of that shape."""
        return self.rank in (None, len(shape)) and not (self.several and prod(shape) > LARGEST_JOINED)


def _none(_: Shape) -> Fields:
    return st.just({})


@st.composite
def _conv(draw: st.DrawFn, shape: Shape) -> Content:
    channels = shape[0]
    pads = draw(_pads(MOST_PADS))
    groups = draw(_divisor(channels))
    return {
        "out_channels": groups * draw(st.integers(1, max(1, MOST_CHANNELS // groups))),
        "kernel": draw(_kernel(shape, pads)),
        "stride": draw(_pair(LONGEST_STRIDE)),
        "pads": pads,
        "groups": groups,
        "bias": draw(st.booleans()),
    }


@st.composite
def _pool(draw: st.DrawFn, shape: Shape) -> Content:
    """Padding is less than the kernel, which fits the image by itself or with it."""
    kernel = draw(st.tuples(*(st.integers(1, min(WIDEST_KERNEL, size + 1)) for size in shape[1:])))
    before, after = (draw(st.tuples(*(st.integers(0, min(side - 1, MOST_PADS)) for side in kernel))) for _ in range(2))
    if any(a + size + b < side for a, size, b, side in zip(before, shape[1:], after, kernel, strict=True)):
        before = tuple(side - 1 for side in kernel)
    return {
        "kernel": kernel,
        "stride": draw(_pair(LONGEST_STRIDE)),
        "pads": (*before, *after),
        "rounding": draw(st.sampled_from(["floor", "ceil"])),
    }


@st.composite
def _avg_pool(draw: st.DrawFn, shape: Shape) -> Content:
    return draw(_pool(shape)) | {"padding_counted": draw(st.booleans())}


@st.composite
def _lrn(draw: st.DrawFn, shape: Shape) -> Content:
    """Constants that activations of any scale above 1 make visible."""
    scope = draw(st.sampled_from(["whole", "per_group"]))
    groups = draw(_divisor(shape[0])) if scope == "per_group" else None
    widest = max(2 * (shape[0] // (groups or 1)) - 1, COMMON_WINDOW)
    return {
        "n": 2 * draw(st.integers(0, widest // 2)) + 1,
        "k": draw(st.sampled_from([1.0, 2.0, 0.5, 3.7])),
        "alpha": draw(st.sampled_from([1.0e-2, 1.0e-3, 1.0e-4, 0.7])),
        "alpha_convention": draw(st.sampled_from(["sum", "mean"])),
        "beta": draw(st.sampled_from([0.75, 0.5, 1.0, 0.6, 1.3])),
        "scope": scope,
        "groups": groups,
    }


@st.composite
def _dense(draw: st.DrawFn, shape: Shape) -> Content:
    return {"in_features": shape[0], "out_features": draw(st.integers(2, 16)), "bias": draw(st.booleans())}


@st.composite
def _dropout(draw: st.DrawFn, _: Shape) -> Content:
    return {
        "drop_probability": draw(st.sampled_from([0.5, 0.0, 0.25, 0.3])),
        "convention": draw(st.sampled_from(["test_time", "inverted"])),
    }


def _batch_norm(_: Shape) -> Fields:
    return st.fixed_dictionaries({"epsilon": st.sampled_from([1.0e-5, 1.0e-3, 0.1])})


KINDS: dict[str, Kind] = {
    "relu": Kind(None, _none, weight=2),
    "conv": Kind(3, _conv, weight=4),
    "max_pool": Kind(3, _pool, weight=2),
    "avg_pool": Kind(3, _avg_pool, weight=2),
    "lrn": Kind(3, _lrn, weight=2),
    "batch_norm": Kind(3, _batch_norm, weight=2),
    "tanh": Kind(None, _none),
    "dropout": Kind(None, _dropout),
    "add": Kind(None, _none, several=True),
    "concat": Kind(None, _none, several=True),
    "global_avg_pool": Kind(3, _none),
    "flatten": Kind(3, _none),
    "dense": Kind(1, _dense),
    "softmax": Kind(1, _none),
}
"""Every operator by its name in a spec."""


@st.composite
def _pads(draw: st.DrawFn, most: int) -> tuple[int, ...]:
    """None, alike on all sides, or each side its own."""
    match draw(st.sampled_from(["none", "alike", "any"])):
        case "none":
            return (0, 0, 0, 0)
        case "alike":
            return (draw(st.integers(1, most)),) * 4
        case _:
            return draw(st.tuples(*[st.integers(0, most)] * 4))


@st.composite
def _kernel(draw: st.DrawFn, shape: Shape, pads: tuple[int, ...]) -> tuple[int, ...]:
    """One that fits the padded image."""
    _, height, width = shape
    sides = (pads[0] + height + pads[2], pads[1] + width + pads[3])
    return draw(st.tuples(*(st.integers(1, min(WIDEST_KERNEL, side)) for side in sides)))


def _pair(most: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(1, most), st.integers(1, most))


def _divisor(number: int) -> st.SearchStrategy[int]:
    return st.sampled_from([divisor for divisor in range(1, number + 1) if number % divisor == 0])
