"""The oracle against second formulations: to 1e-12, for shapes whose extents all differ."""

from collections.abc import Mapping
from typing import Any, get_args

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.caps import caps
from conformance.one_sequence import mean_in_one_sequence
from conformance.oracle import evaluate, noise_scale
from impls.frameworks import Variant
from spec.operators import (
    OPERATORS,
    Add,
    AnyOperator,
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
from spec.shapes import shaped
from tests.conformance import second_formulations as second
from tests.conformance.second_formulations import Array

QUICK = settings(max_examples=40, deadline=None)
RELATIVE = 1e-12

#: Batch, channels, height, width: no two alike.
IMAGES = st.lists(st.integers(1, 7), min_size=4, max_size=4, unique=True).map(tuple)
SEEDS = st.integers(0, 2**32 - 1)
SCALES = st.sampled_from([1e-3, 1.0, 300.0])


def drawn(seed: int, shape: tuple[int, ...], scale: float = 1.0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape) * scale


def value(operator: AnyOperator, *inputs: Array, **tensors: Array) -> Array:
    """What the oracle says, which must have the shape that the spec says."""
    layer = shaped(operator, tuple(x.shape[1:] for x in inputs))
    y = evaluate(layer, inputs, _named(operator, tensors))
    assert y.shape == (len(inputs[0]), *layer.output_shape)
    assert y.dtype == inputs[0].dtype
    return y


def scale_of(operator: AnyOperator, *inputs: Array, **tensors: Array) -> Array | None:
    layer = shaped(operator, tuple(x.shape[1:] for x in inputs))
    return noise_scale(layer, inputs, _named(operator, tensors))


def _named(operator: AnyOperator, tensors: Mapping[str, Array]) -> dict[str, Array]:
    return {f"{operator.name}.{name}": tensor for name, tensor in tensors.items()}


def assert_same_sums(actual: Array, expected: Array, scale: Array) -> None:
    """Equal to 1e-12 of the size of what was added: where terms cancel, no formulation has more digits than that."""
    assert actual.shape == expected.shape
    assert np.all(np.abs(actual - expected) <= RELATIVE * scale)


def assert_same(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=0, strict=True)


@st.composite
def convs(draw: st.DrawFn) -> tuple[tuple[int, ...], Conv]:
    """An image and a convolution that fits it, lopsided in everything that can be."""
    images, _, height, width = draw(IMAGES)
    groups = draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 3))
    pads = draw(st.tuples(*[st.integers(0, 3)] * 4))
    operator = Conv(
        name="conv",
        op="conv",
        out_channels=groups * draw(st.integers(1, 3)),
        kernel=(
            draw(st.integers(1, min(4, pads[0] + height + pads[2]))),
            draw(st.integers(1, min(4, pads[1] + width + pads[3]))),
        ),
        stride=draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        pads=pads,
        groups=groups,
        bias=draw(st.booleans()),
    )
    return (images, channels, height, width), operator


@QUICK
@given(convs(), SEEDS, SCALES)
def test_conv_is_the_sum_of_its_products(case: tuple[tuple[int, ...], Conv], seed: int, scale: float) -> None:
    shape, operator = case
    x = drawn(seed, shape, scale)
    kernel = drawn(seed + 1, (operator.out_channels, shape[1] // operator.groups, *operator.kernel))
    tensors = {"weight": kernel} | ({"bias": drawn(seed + 2, kernel.shape[:1])} if operator.bias else {})
    given_ = (x, kernel, tensors.get("bias"), operator.stride, operator.pads, operator.groups)
    expected_scale = np.sqrt(second.conv(*given_, squares=True))
    assert_same_sums(value(operator, x, **tensors), second.conv(*given_), expected_scale)
    actual_scale = scale_of(operator, x, **tensors)
    assert actual_scale is not None
    assert_same(actual_scale, expected_scale)


def test_conv_agrees_with_scipy_and_with_fourier_transforms() -> None:
    x, kernel, bias = drawn(0, (2, 6, 23, 19)), drawn(1, (8, 3, 5, 4)), drawn(2, (8,))
    operator = Conv(
        name="conv", op="conv", out_channels=8, kernel=(5, 4), stride=(2, 3), pads=(2, 1, 0, 3),
        groups=2, bias=True,
    )  # fmt: skip
    padded = np.zeros((2, 6, 25, 23))
    padded[:, :, 2:25, 1:20] = x
    by_scipy, by_fourier = np.zeros((2, 2, 8, 11, 7))
    for image, out in np.ndindex(2, 8):
        own = padded[image, :3] if out < 4 else padded[image, 3:]
        full = scipy.signal.correlate(own, kernel[out], mode="valid", method="direct")[0]
        by_scipy[image, out] = full[::2, ::3] + bias[out]
        product = scipy.fft.rfft2(own) * np.conj(scipy.fft.rfft2(kernel[out], s=own.shape[1:]))
        circular = scipy.fft.irfft2(product.sum(axis=0), s=own.shape[1:])
        by_fourier[image, out] = circular[:21, :20][::2, ::3] + bias[out]
    scale = scale_of(operator, x, weight=kernel, bias=bias)
    assert scale is not None
    assert_same_sums(value(operator, x, weight=kernel, bias=bias), by_scipy, scale)
    assert_same_sums(value(operator, x, weight=kernel, bias=bias), by_fourier, scale)


@QUICK
@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 40), st.booleans(), SEEDS, SCALES)
def test_dense_is_the_sum_of_its_products(
    images: int, in_features: int, out_features: int, bias: bool, seed: int, scale: float
) -> None:
    operator = Dense(name="fc", op="dense", in_features=in_features, out_features=out_features, bias=bias)
    x, weight = drawn(seed, (images, in_features), scale), drawn(seed + 1, (out_features, in_features))
    tensors = {"weight": weight} | ({"bias": drawn(seed + 2, (out_features,))} if bias else {})
    expected_scale = np.sqrt(second.dense(x, weight, tensors.get("bias"), squares=True))
    assert_same_sums(value(operator, x, **tensors), second.dense(x, weight, tensors.get("bias")), expected_scale)
    actual_scale = scale_of(operator, x, **tensors)
    assert actual_scale is not None
    assert_same(actual_scale, expected_scale)


@QUICK
@given(IMAGES, st.sampled_from([1, 3, 5, 7]), st.sampled_from(["sum", "mean"]), st.integers(1, 3), SEEDS, SCALES)
def test_lrn_divides_by_the_squares_of_its_window_and_tower(
    shape: tuple[int, int, int, int], n: int, convention: str, towers: int, seed: int, scale: float
) -> None:
    images, channels, height, width = shape
    x = drawn(seed, (images, channels * towers, height, width), scale)
    operator = Lrn.model_validate(
        {"name": "norm", "op": "lrn", "n": n, "k": 1.5, "alpha": 3e-2, "alpha_convention": convention, "beta": 0.75}
        | ({"scope": "per_group", "groups": towers} if towers > 1 else {"scope": "whole"})
    )
    alpha_sum = 3e-2 if convention == "sum" else 3e-2 / n
    assert_same(value(operator, x), second.lrn(x, n, 1.5, alpha_sum, 0.75, towers))


def test_lrn_gives_what_the_formula_gives_by_hand() -> None:
    operator = Lrn.model_validate(
        {"name": "norm", "op": "lrn", "n": 3, "k": 2.0, "alpha": 0.5, "alpha_convention": "sum", "beta": 1.0}
        | {"scope": "whole"}
    )
    x = np.array([1.0, 2.0, 4.0, 6.0]).reshape(1, 4, 1, 1)
    # Σ x² is 5, 21, 56, 52.
    assert_same(value(operator, x).ravel(), np.array([1 / 4.5, 2 / 12.5, 4 / 30.0, 6 / 28.0]))


@st.composite
def pools(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    """An image and the values of a pool that fits it."""
    shape = draw(IMAGES)
    kernel, before, after = [], [], []
    for size in shape[2:]:
        kernel.append(draw(st.integers(1, min(4, size))))
        before.append(draw(st.integers(0, kernel[-1] - 1)))
        after.append(draw(st.integers(0, kernel[-1] - 1)))
    return shape, {
        "kernel": tuple(kernel),
        "stride": draw(st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "pads": (before[0], before[1], after[0], after[1]),
        "rounding": draw(st.sampled_from(["floor", "ceil"])),
    }


@settings(QUICK, max_examples=100)
@given(pools(), SEEDS, SCALES)
def test_max_pool_is_the_largest_pixel_of_each_window(
    case: tuple[tuple[int, ...], dict[str, Any]], seed: int, scale: float
) -> None:
    shape, values = case
    x = drawn(seed, shape, scale) - 5 * scale  # all negative: padding with 0 would win
    operator = MaxPool.model_validate({"name": "pool", "op": "max_pool"} | values)
    np.testing.assert_array_equal(value(operator, x), second.max_pool(x, **values))


@settings(QUICK, max_examples=100)
@given(pools(), st.booleans(), SEEDS, SCALES)
def test_avg_pool_is_the_mean_of_what_counts(
    case: tuple[tuple[int, ...], dict[str, Any]], counted: bool, seed: int, scale: float
) -> None:
    shape, values = case
    x = drawn(seed, shape, scale)
    values = values | {"padding_counted": counted}
    operator = AvgPool.model_validate({"name": "pool", "op": "avg_pool"} | values)
    mean = second.avg_pool(x, **values)
    expected_scale = np.sqrt(second.avg_pool(x, **values, squares=True) + mean**2)
    assert_same_sums(value(operator, x), mean, expected_scale)
    actual_scale = scale_of(operator, x)
    assert actual_scale is not None
    assert_same(actual_scale, expected_scale)


@pytest.mark.parametrize(
    ("padding_counted", "expected"),
    [
        (True, [[1.0, 3.25, 3.0], [3.25, 11.25, 9.0], [3.5, 10.5, 9.0]]),
        (False, [[4.0, 6.5, 6.0], [6.5, 11.25, 9.0], [7.0, 10.5, 9.0]]),
    ],
)
def test_avg_pool_counts_by_hand(padding_counted: bool, expected: list[list[float]]) -> None:
    # One row of padding above and one column to the left; the last windows reach one pixel beyond, which never counts.
    x = np.array([[4, 5, 8, 6], [6, 9, 11, 8], [7, 10, 15, 10], [7, 9, 12, 9]], np.float64)[None, None]
    values = {"kernel": (2, 2), "stride": (2, 2), "pads": (1, 1, 0, 0), "rounding": "ceil"}
    operator = AvgPool.model_validate({"name": "pool", "op": "avg_pool", "padding_counted": padding_counted} | values)
    assert_same(value(operator, x)[0, 0], np.array(expected))


@QUICK
@given(IMAGES, SEEDS, SCALES)
def test_global_avg_pool_is_the_mean_of_each_channel(shape: tuple[int, int, int, int], seed: int, scale: float) -> None:
    x = drawn(seed, shape, scale)
    operator = GlobalAvgPool(name="mean", op="global_avg_pool")
    mean = second.global_avg_pool(x)
    expected_scale = np.sqrt(second.global_avg_pool(x, squares=True) + mean**2)
    assert_same_sums(value(operator, x), mean, expected_scale)
    actual_scale = scale_of(operator, x)
    assert actual_scale is not None
    assert_same(actual_scale, expected_scale)


@pytest.mark.parametrize("side", [7, 64, 250])
def test_a_long_mean_behind_a_relu_is_right_even_in_one_sequence(side: int) -> None:
    x = np.abs(drawn(0, (8, 8, side, side))).astype(np.float32)
    operator, wide = GlobalAvgPool(name="mean", op="global_avg_pool"), x.astype(np.float64)
    variant = Variant(framework="numpy", device="cpu", dtype="float32", mode="eager", lowering="native")
    scale = scale_of(operator, wide)
    assert scale is not None
    rms = np.sqrt(np.mean(((mean_in_one_sequence(x) - value(operator, wide)) / (scale * 2.0**-24)) ** 2))
    cap = caps().rule_for("global_avg_pool", variant, "2.0").rms
    assert cap is not None
    assert 1 < rms < cap


@QUICK
@given(IMAGES, SEEDS, SCALES)
def test_batch_norm_uses_the_stored_statistics_of_each_channel(
    shape: tuple[int, int, int, int], seed: int, scale: float
) -> None:
    x = drawn(seed, shape, scale)
    own = {name: drawn(seed + index, shape[1:2]) for index, name in enumerate(("mean", "scale", "shift"), 1)}
    own["variance"] = drawn(seed + 4, shape[1:2]) ** 2
    operator = BatchNorm(name="norm", op="batch_norm", epsilon=1e-3)
    expected_scale = np.sqrt(second.batch_norm(x, own, 1e-3, squares=True))
    assert_same_sums(value(operator, x, **own), second.batch_norm(x, own, 1e-3), expected_scale)
    actual_scale = scale_of(operator, x, **own)
    assert actual_scale is not None
    assert_same(actual_scale, expected_scale)


@QUICK
@given(IMAGES, st.integers(2, 4), SEEDS, SCALES)
def test_add_sums_all_of_its_inputs(shape: tuple[int, int, int, int], count: int, seed: int, scale: float) -> None:
    inputs = [drawn(seed + index, shape, scale) for index in range(count)]
    expected, squares = np.zeros(shape), np.zeros(shape)
    for x in inputs:
        expected, squares = expected + x, squares + x * x
    operator = Add(name="both", op="add")
    assert_same_sums(value(operator, *inputs), expected, np.sqrt(squares))
    actual_scale = scale_of(operator, *inputs)
    assert actual_scale is not None
    assert_same(actual_scale, np.sqrt(squares))


@QUICK
@given(IMAGES, st.integers(1, 3), SEEDS)
def test_concat_puts_channels_one_after_the_other(shape: tuple[int, int, int, int], more: int, seed: int) -> None:
    images, channels, height, width = shape
    first, last = drawn(seed, shape), drawn(seed + 1, (images, channels + more, height, width))
    y = value(Concat(name="joined", op="concat"), first, last)
    for channel in range(2 * channels + more):
        own = first[:, channel] if channel < channels else last[:, channel - channels]
        np.testing.assert_array_equal(y[:, channel], own)


@QUICK
@given(IMAGES, SEEDS)
def test_flatten_goes_through_channels_then_rows_then_columns(shape: tuple[int, int, int, int], seed: int) -> None:
    x = drawn(seed, shape)
    np.testing.assert_array_equal(value(Flatten(name="flatten", op="flatten"), x), second.flatten(x))


@QUICK
@given(st.integers(1, 4), st.integers(1, 30), SEEDS, SCALES)
def test_softmax_is_that_of_scipy(images: int, features: int, seed: int, scale: float) -> None:
    x = drawn(seed, (images, features), scale)
    expected = scipy.special.softmax(x, axis=1)
    np.testing.assert_allclose(
        value(Softmax(name="p", op="softmax"), x), expected, rtol=RELATIVE, atol=5e-324, strict=True
    )
    logs = scipy.special.log_softmax(x, axis=1)
    seen = logs > -600
    found = np.log(value(Softmax(name="p", op="softmax"), x)[seen])
    np.testing.assert_allclose(found, logs[seen], rtol=RELATIVE, atol=RELATIVE)


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    x = np.array([[1e4, 1e4, -1e4]])
    np.testing.assert_array_equal(value(Softmax(name="p", op="softmax"), x), [[0.5, 0.5, 0.0]])


@QUICK
@given(IMAGES, SEEDS, SCALES)
def test_tanh_is_the_quotient_of_exponentials(shape: tuple[int, int, int, int], seed: int, scale: float) -> None:
    x = drawn(seed, shape, scale)
    assert_same(value(Tanh(name="bent", op="tanh"), x), second.tanh(x))


@QUICK
@given(IMAGES, SEEDS)
def test_relu_keeps_what_is_positive(shape: tuple[int, int, int, int], seed: int) -> None:
    x = drawn(seed, shape)
    y = value(Relu(name="relu", op="relu"), x)
    for index in np.ndindex(x.shape):
        assert y[index] == (x[index] if x[index] > 0 else 0.0)


@pytest.mark.parametrize(("convention", "factor"), [("test_time", 0.75), ("inverted", 1.0)])
def test_dropout_scales_by_its_keep_probability_only_where_training_did_not(convention: str, factor: float) -> None:
    operator = Dropout.model_validate(
        {"name": "drop", "op": "dropout", "drop_probability": 0.25, "convention": convention}
    )
    x = drawn(0, (2, 7))
    np.testing.assert_array_equal(value(operator, x), x * factor)


def test_nan_stays_nan_in_relu_and_max_pool() -> None:
    x = np.ones((1, 2, 4, 6))
    x[0, 1, 2, 3] = np.nan
    y = value(Relu(name="relu", op="relu"), x)
    assert np.argwhere(np.isnan(y)).tolist() == [[0, 1, 2, 3]]
    pool = MaxPool(name="pool", op="max_pool", kernel=(2, 2), stride=(2, 2), pads=(1, 1, 0, 0), rounding="ceil")
    assert np.argwhere(np.isnan(value(pool, x))).tolist() == [[0, 1, 1, 2]]


def test_infinities_go_through_relu_and_max_pool() -> None:
    x = np.array([-np.inf, np.inf, 1.0, -np.inf]).reshape(1, 1, 2, 2)
    np.testing.assert_array_equal(value(Relu(name="relu", op="relu"), x).ravel(), [0.0, np.inf, 1.0, 0.0])
    pool = MaxPool(name="pool", op="max_pool", kernel=(2, 1), stride=(1, 1), pads=(0, 0, 0, 0), rounding="floor")
    np.testing.assert_array_equal(value(pool, x).ravel(), [1.0, np.inf])


def test_a_yardstick_in_float32_stays_in_float32() -> None:
    x = drawn(0, (2, 6, 9, 7)).astype(np.float32)
    tensors = {"weight": drawn(1, (4, 3, 3, 2)).astype(np.float32), "bias": drawn(2, (4,)).astype(np.float32)}
    operator = Conv(
        name="conv", op="conv", out_channels=4, kernel=(3, 2), stride=(1, 1), pads=(1, 0, 1, 0),
        groups=2, bias=True,
    )  # fmt: skip
    y = value(operator, x, **tensors)
    wide = value(operator, x.astype(np.float64), **tensors)
    assert 0 < np.abs(y - wide).max() < 1e-4


#: Operators whose output is a sum of products, by their definition.
SUMS = {"conv", "dense", "avg_pool", "global_avg_pool", "add", "batch_norm"}
EXAMPLES: list[AnyOperator] = [
    Relu(name="a", op="relu"),
    Tanh(name="a", op="tanh"),
    Lrn(name="a", op="lrn", n=3, k=1.0, alpha=1.0, alpha_convention="sum", beta=1.0, scope="whole"),
    MaxPool(name="a", op="max_pool", kernel=(2, 2), stride=(1, 1), pads=(0, 0, 0, 0), rounding="floor"),
    Flatten(name="a", op="flatten"),
    Dropout(name="a", op="dropout", drop_probability=0.5, convention="inverted"),
]


@pytest.mark.parametrize("operator", EXAMPLES, ids=lambda operator: operator.op)
def test_only_sums_of_products_have_a_noise_scale(operator: AnyOperator) -> None:
    assert scale_of(operator, drawn(0, (2, 3, 5, 4))) is None


def test_softmax_and_concat_have_no_noise_scale() -> None:
    assert scale_of(Softmax(name="a", op="softmax"), drawn(0, (2, 3))) is None
    assert scale_of(Concat(name="a", op="concat"), drawn(0, (2, 3)), drawn(1, (2, 4))) is None


def test_every_operator_of_the_language_is_checked_here() -> None:
    checked = {operator.op for operator in EXAMPLES} | {"softmax", "concat"} | SUMS
    assert {get_args(kind.model_fields["op"].annotation)[0] for kind in OPERATORS} == checked
