"""What an operator must give, as lines of NumPy for a script that stands alone: `expected` from `x` and `tensors`."""

from collections.abc import Sequence
from math import prod
from typing import assert_never

from spec.operators import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Lrn,
    MaxPool,
    Relu,
    Softmax,
    Tanh,
)
from spec.shapes import Layer, window

WINDOWS = "np.lib.stride_tricks.sliding_window_view"


def expected_lines(layer: Layer, factors: Sequence[int] = (1,)) -> list[str]:
    """Lines that compute `expected` in float64 from `wide`, which is x, and from `tensors`.

    `factors`: how many times x each of several inputs is.
    """
    operator, name = layer.operator, layer.name
    match operator:
        case Conv():
            groups, weight = operator.groups, f"tensors['{name}.weight'].astype(np.float64)"
            towers = f"zip(np.split(windows, {groups}, 1), np.split({weight}, {groups}))"
            product = f"np.concatenate([np.einsum('nchwij,ocij->nohw', v, w) for v, w in {towers}], 1)"
            return [
                *_windows(layer, operator, "0"),
                f"expected = {product}{_bias(operator.bias, name, '[:, None, None]')}",
            ]
        case Dense():
            return [f"expected = wide @ tensors['{name}.weight'].T.astype(np.float64){_bias(operator.bias, name, '')}"]
        case Relu():
            return ["expected = np.maximum(wide, 0)"]
        case Tanh():
            return ["expected = np.tanh(wide)"]
        case Lrn():
            reach, k, beta = operator.n // 2, operator.k, operator.beta
            return [
                f"squares = wide.reshape(len(x), {operator.towers}, -1, *x.shape[2:]) ** 2",
                f"padded = np.pad(squares, [(0, 0), (0, 0), ({reach}, {reach}), (0, 0), (0, 0)])",
                f"sums = {WINDOWS}(padded, {operator.n}, 2).sum(-1).reshape(x.shape)",
                f"expected = wide / ({k!r} + {operator.alpha_sum!r} * sums) ** {beta!r}",
            ]
        case MaxPool():
            return [*_windows(layer, operator, "-np.inf"), "expected = windows.max((4, 5))"]
        case AvgPool():
            counted = 1 if operator.padding_counted else 0
            sums = _windows(layer, operator, "0")
            ones = [
                f"ones = np.pad(np.ones_like(wide), [(0, 0), (0, 0), {_sides(operator)}], constant_values={counted})",
                *(
                    line.replace("windows", "counts").replace("padded", "ones")
                    for line in _after_pad(layer, operator, "0")
                ),
            ]
            return [*sums, *ones, "expected = windows.sum((4, 5)) / counts.sum((4, 5))"]
        case GlobalAvgPool():
            return ["expected = wide.mean((2, 3), keepdims=True)"]
        case Flatten():
            return ["expected = wide.reshape(len(x), -1)"]
        case Dropout():
            return [f"expected = wide * {operator.evaluation_scale!r}"]
        case Softmax():
            return [
                "powers = np.exp(wide - wide.max(1, keepdims=True))",
                "expected = powers / powers.sum(1, keepdims=True)",
            ]
        case Add():
            return [f"expected = wide * {sum(factors)}"]
        case Concat():
            return [f"expected = np.concatenate([wide * times for times in {tuple(factors)}], 1)"]
        case BatchNorm():
            return [
                f"of = [tensors['{name}.' + key] for key in ('mean', 'variance', 'scale', 'shift')]",
                "mean, variance, scale, shift = (value.astype(np.float64)[:, None, None] for value in of)",
                f"expected = scale * (wide - mean) / np.sqrt(variance + {operator.epsilon!r}) + shift",
            ]
        case _:
            assert_never(operator)


def _bias(there: bool, name: str, places: str) -> str:
    return f" + tensors['{name}.bias'].astype(np.float64){places}" if there else ""


def _sides(operator: Conv | MaxPool | AvgPool) -> str:
    top, left, bottom, right = operator.pads
    return f"({top}, {bottom}), ({left}, {right})"


def _windows(layer: Layer, operator: Conv | MaxPool | AvgPool, value: str) -> list[str]:
    """`windows` (N, C, rows, columns, kernel rows, kernel columns)."""
    pad = f"padded = np.pad(wide, [(0, 0), (0, 0), {_sides(operator)}], constant_values={value})"
    return [pad, *_after_pad(layer, operator, value)]


def _after_pad(layer: Layer, operator: Conv | MaxPool | AvgPool, value: str) -> list[str]:
    placed = window(operator, *layer.input_shape[1:])
    (down, across), (rows, columns) = placed.overflow, placed.output
    beyond = f"padded = np.pad(padded, [(0, 0), (0, 0), (0, {down}), (0, {across})], constant_values={value})"
    strided = f"[:, :, :: {operator.stride[0]}, :: {operator.stride[1]}][:, :, :{rows}, :{columns}]"
    found = f"windows = {WINDOWS}(padded, {operator.kernel}, (2, 3)){strided}"
    return [beyond, found] if prod(placed.overflow) or down or across else [found]
