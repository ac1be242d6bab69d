"""Other formulas in the place of an operator's own, where they are often met."""

from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np

from conformance.oracle import by_channel, lrn_sums, max_pool, own_tensors, softmax
from conformance.windows import Array, pool_windows, window_sums
from spec.operators import (
    Add,
    AnyOperator,
    AvgPool,
    BatchNorm,
    Concat,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Lrn,
    MaxPool,
    Relu,
    Softmax,
    Tanh,
)

Formula = Callable[[Any], Array]
"""From what is asked (alternatives.Asked) to a value."""


#: What is about images together.
OF_BATCH = frozenset({"axis: images", "statistics: of the batch"})


def formulas(operator: AnyOperator) -> Iterator[tuple[str, Formula, bool]]:
    """What is other, in words, the formula, and whether it computes nothing (but chooses and moves numbers)."""
    match operator:
        case Relu() | Tanh():
            yield from ((f"operator: {name}", _of_x(formula), exact) for name, (formula, exact) in ACTIVATIONS.items())
        case Lrn():
            yield from _of_lrn(operator)
        case MaxPool():
            yield (
                "padding: zeros that can win",
                lambda own: pool_windows(own.inputs[0], operator, 0.0).max((4, 5)),
                True,
            )
            yield "operator: mean", lambda own: pool_windows(own.inputs[0], operator, 0.0).mean((4, 5)), False
            yield "operator: minimum", lambda own: pool_windows(own.inputs[0], operator, np.inf).min((4, 5)), True
        case AvgPool():
            area = prod(operator.kernel)
            yield "divisor: all of the kernel", lambda own: window_sums(own.inputs[0], operator) / area, False
            yield "operator: sum", lambda own: window_sums(own.inputs[0], operator), False
            largest = MaxPool(**operator.model_dump(exclude={"op", "padding_counted"}), op="max_pool")
            yield "operator: maximum", lambda own: max_pool(own.inputs[0], largest), True
        case GlobalAvgPool():
            yield "operator: sum", lambda own: own.inputs[0].sum(axis=(2, 3), keepdims=True), False
            yield "operator: maximum", lambda own: own.inputs[0].max(axis=(2, 3), keepdims=True), True
        case Flatten():
            yield from ((f"order: {name}", _flattened(axes), True) for name, axes in ORDERS.items())
        case Softmax():
            yield "axis: images", lambda own: softmax(own.inputs[0].T).T, False
            yield "temperature: 2", lambda own: softmax(own.inputs[0] / 2), False
            yield "temperature: 0.5", lambda own: softmax(own.inputs[0] * 2), False
            yield "operator: sigmoid", lambda own: _sigmoid(own.inputs[0]), False
            yield "base: 2", lambda own: softmax(own.inputs[0] * np.log(2.0)), False
            yield "divisor: missing", lambda own: np.exp(own.inputs[0] - own.inputs[0].max(1, keepdims=True)), False
        case Add():
            yield "operator: mean", lambda own: np.mean(own.inputs, axis=0), False
            yield "operator: product", lambda own: np.prod(own.inputs, axis=0), False
            yield "operator: maximum", lambda own: np.max(own.inputs, axis=0), True
        case Dropout():
            scale = 1.0 - operator.drop_probability
            yield "scale: the keep probability", lambda own: own.inputs[0] * scale, False
            yield "scale: its inverse", lambda own: own.inputs[0] / scale, False
            yield "scale: the drop probability", lambda own: own.inputs[0] * operator.drop_probability, False
        case BatchNorm():
            yield from _of_batch_norm(operator)
        case Concat():
            yield "order: channels in turn", _in_turn, True
        case _:
            return  # an operator that nothing is known of


def _sigmoid(x: Array) -> Array:
    y: Array = 0.5 * (1.0 + np.tanh(0.5 * x))
    return y


def _of_x(formula: Callable[[Array], Array]) -> Formula:
    return lambda own: formula(own.inputs[0])


def _flattened(axes: tuple[int, ...]) -> Formula:
    return lambda own: own.inputs[0].transpose(0, *axes).reshape(len(own.inputs[0]), -1)


def _in_turn(own: Any) -> Array:
    """The first channel of each input, then the second of each; of inputs with as many channels."""
    first = own.inputs[0]
    return np.stack(own.inputs, axis=2).reshape(len(first), -1, *first.shape[2:])


def _of_lrn(operator: Lrn) -> Iterator[tuple[str, Formula, bool]]:
    def normalised(x: Array, sums: Array) -> Array:
        y: Array = x / (operator.k + operator.alpha_sum * sums) ** operator.beta
        return y

    def moved(by: int) -> Formula:
        return lambda own: normalised(own.inputs[0], _moved_sums(own.inputs[0] ** 2, operator, by))

    yield "window: one channel up", moved(1), False
    yield "window: one channel down", moved(-1), False
    yield (
        "window: rows and columns",
        lambda own: normalised(own.inputs[0], _sums_within(own.inputs[0] ** 2, operator.n) / operator.n),
        False,
    )
    yield (
        "squares: missing",
        lambda own: normalised(own.inputs[0], _moved_sums(np.abs(own.inputs[0]), operator, 0)),
        False,
    )
    yield (
        "beta: of the sum alone",
        lambda own: (
            own.inputs[0] / (operator.k + operator.alpha_sum * lrn_sums(own.inputs[0], operator) ** operator.beta)
        ),
        False,
    )
    yield (
        "division: of 1 by the denominator",
        lambda own: normalised(np.ones_like(own.inputs[0]), lrn_sums(own.inputs[0], operator)),
        False,
    )


def _moved_sums(values: Array, operator: Lrn, by: int) -> Array:
    """Sums over windows of channels that begin `by` channels later."""
    images, channels, height, width = values.shape
    towers = values.reshape(images, operator.towers, channels // operator.towers, height, width)
    reach = operator.n // 2
    padded = np.pad(towers, ((0, 0), (0, 0), (reach - by, reach + by), (0, 0), (0, 0))) if reach else towers
    sums = sum(padded[:, :, shift : shift + towers.shape[2]] for shift in range(operator.n))
    return np.asarray(sums, values.dtype).reshape(values.shape) if reach else values


def _sums_within(values: Array, n: int) -> Array:
    """Sums over windows of n rows and n columns, a channel by itself."""
    reach = n // 2
    padded = np.pad(values, ((0, 0), (0, 0), (reach, n - 1 - reach), (reach, n - 1 - reach)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (n, n), axis=(2, 3))
    y: Array = windows.sum(axis=(4, 5))
    return y


def _of_batch_norm(operator: BatchNorm) -> Iterator[tuple[str, Formula, bool]]:
    def normalised(own: Any, deviation: Array, mean: Array | None = None) -> Array:
        tensors = {key: value.astype(np.float64) for key, value in own_tensors(own.layer, own.tensors).items()}
        mean = tensors["mean"] if mean is None else mean
        y: Array = (own.inputs[0] - by_channel(mean)) * by_channel(tensors["scale"] / deviation)
        return y + by_channel(tensors["shift"])

    def variance(own: Any) -> Array:
        return own_tensors(own.layer, own.tensors)["variance"].astype(np.float64)

    def of_batch(own: Any) -> Array:
        x = own.inputs[0]
        return normalised(own, np.sqrt(x.var(axis=(0, 2, 3)) + operator.epsilon), x.mean(axis=(0, 2, 3)))

    yield "epsilon: outside the root", lambda own: normalised(own, np.sqrt(variance(own)) + operator.epsilon), False
    yield "statistics: of the batch", of_batch, False


def _leaky(slope: float) -> Callable[[Array], Array]:
    return lambda x: np.where(x > 0, x, slope * x)


#: In the place of ReLU or tanh, and whether nothing is computed.
ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], bool]] = {
    **{f"leaky, slope {slope}": (_leaky(slope), False) for slope in (0.01, 0.2, 0.3, 0.1, 0.05)},
    "relu": (lambda x: np.maximum(x, 0.0), True),
    "tanh": (np.tanh, False),
    "absolute value": (np.abs, True),
    "relu6": (lambda x: np.clip(x, 0.0, 6.0), True),
    "clipped to 1": (lambda x: np.clip(x, -1.0, 1.0), True),
    "negative part": (lambda x: np.minimum(x, 0.0), True),
    "sigmoid": (_sigmoid, False),
    "silu": (lambda x: x * _sigmoid(x), False),
    "softplus": (lambda x: np.logaddexp(0.0, x), False),
    "elu": (lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0.0))), False),
    "scaled tanh": (lambda x: 1.7159 * np.tanh(x * 2.0 / 3.0), False),
}

#: Axes of an image (C, H, W) in another order.
ORDERS = {
    "height, width, channels": (2, 3, 1),
    "width, height, channels": (3, 2, 1),
    "channels, width, height": (1, 3, 2),
    "height, channels, width": (2, 1, 3),
    "width, channels, height": (3, 1, 2),
}
