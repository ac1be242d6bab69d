"""The oracle's gradients against the complex step: Im f(x + ih) / h is the derivative to the last digits.

The oracle's forward pass is analytic where no kink lies, and takes complex numbers as it takes others.
"""

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.backpropagation import Masks, backpropagate, backward, logits_tap, train_forward, train_layer
from conformance.dropout import Mask, drawn_masks
from conformance.gradients import gradient_scales, gradients
from conformance.losses import loss, loss_gradient
from conformance.ties import undecided
from spec.exits import InputError
from spec.load import load
from spec.network import Network
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
from spec.recipe import Loss
from spec.shapes import Layer, shaped
from spec.weights import weights
from tests.conformance.second_formulations import Array
from tests.conformance.test_oracle import IMAGES, SEEDS, convs, drawn, pools
from tests.spec.networks import branches

QUICK = settings(max_examples=25, deadline=None)
H = 1e-30
RELATIVE = 1e-10
SAMPLED = 25
"""Elements of each input and parameter whose derivative is compared one by one."""
MEAN = Loss(kind="softmax_cross_entropy", reduction="mean")


def assert_derivatives(
    operator: AnyOperator, inputs: tuple[Array, ...], tensors: dict[str, Array], seed: int, mask: Mask | None = None
) -> None:
    """Every gradient of g·op(x, w) equals its complex step, element by element, and no larger than S allows."""
    layer = shaped(operator, tuple(x.shape[1:] for x in inputs))
    tensors = {f"{operator.name}.{name}": value for name, value in tensors.items()}
    g = drawn(seed + 99, (len(inputs[0]), *layer.output_shape))
    found = gradients(layer, inputs, tensors, g, mask)
    for index, x in enumerate(inputs):
        assert found.inputs[index].shape == x.shape
        for place in _places(x, seed):
            stepped = tuple(_stepped(other, place) if other is x else other for other in inputs)
            _assert_derivative(layer, stepped, tensors, g, mask, found.inputs[index][place])
    assert found.parameters.keys() == layer.parameter_shapes.keys()
    for name, gradient in found.parameters.items():
        assert gradient.shape == layer.parameter_shapes[name]
        for place in _places(tensors[name], seed):
            stepped_tensors = tensors | {name: _stepped(tensors[name], place)}
            _assert_derivative(layer, inputs, stepped_tensors, g, mask, gradient[place])


def _places(values: Array, seed: int) -> list[tuple[int, ...]]:
    places = list(np.ndindex(values.shape))
    random = np.random.default_rng(seed)
    return [places[index] for index in random.permutation(len(places))[:SAMPLED]]


def _stepped(values: Array, place: tuple[int, ...]) -> Array:
    stepped: Array = values.astype(np.complex128)
    stepped[place] += 1j * H
    return stepped


def _assert_derivative(
    layer: Layer, inputs: tuple[Array, ...], tensors: dict[str, Array], g: Array, mask: Mask | None, actual: float
) -> None:
    wide: tuple[Array, ...] = tuple(x.astype(np.complex128) for x in inputs)
    terms = g * train_layer(layer, wide, tensors, mask).imag / H
    assert abs(actual - terms.sum()) <= RELATIVE * np.abs(terms).sum() + 1e-300


@QUICK
@given(convs(), SEEDS)
def test_conv(case: tuple[tuple[int, ...], Conv], seed: int) -> None:
    shape, operator = case
    kernel = drawn(seed + 1, (operator.out_channels, shape[1] // operator.groups, *operator.kernel))
    tensors = {"weight": kernel} | ({"bias": drawn(seed + 2, kernel.shape[:1])} if operator.bias else {})
    assert_derivatives(operator, (drawn(seed, shape),), tensors, seed)


def test_conv_whose_stride_jumps_over_pixels_and_whose_pads_are_lopsided() -> None:
    operator = Conv(
        name="conv", op="conv", out_channels=4, kernel=(2, 3), stride=(3, 5), pads=(3, 0, 1, 4), groups=2, bias=True
    )
    tensors = {"weight": drawn(1, (4, 3, 2, 3)), "bias": drawn(2, (4,))}
    assert_derivatives(operator, (drawn(0, (2, 6, 11, 7)),), tensors, 3)


@QUICK
@given(st.integers(1, 4), st.integers(1, 30), st.integers(1, 40), st.booleans(), SEEDS)
def test_dense(images: int, in_features: int, out_features: int, bias: bool, seed: int) -> None:
    operator = Dense(name="fc", op="dense", in_features=in_features, out_features=out_features, bias=bias)
    tensors = {"weight": drawn(seed + 1, (out_features, in_features))}
    tensors |= {"bias": drawn(seed + 2, (out_features,))} if bias else {}
    assert_derivatives(operator, (drawn(seed, (images, in_features)),), tensors, seed)


@QUICK
@given(IMAGES, st.sampled_from([1, 3, 5, 7]), st.integers(1, 3), SEEDS)
def test_lrn_with_its_denominator(shape: tuple[int, int, int, int], n: int, towers: int, seed: int) -> None:
    images, channels, height, width = shape
    operator = Lrn.model_validate(
        {"name": "norm", "op": "lrn", "n": n, "k": 1.5, "alpha": 0.3, "alpha_convention": "sum", "beta": 0.75}
        | ({"scope": "per_group", "groups": towers} if towers > 1 else {"scope": "whole"})
    )
    assert_derivatives(operator, (drawn(seed, (images, channels * towers, height, width)),), {}, seed)


@settings(QUICK, max_examples=60)
@given(pools(), SEEDS)
def test_max_pool(case: tuple[tuple[int, ...], dict[str, Any]], seed: int) -> None:
    shape, values = case
    operator = MaxPool.model_validate({"name": "pool", "op": "max_pool"} | values)
    assert_derivatives(operator, (drawn(seed, shape) - 5,), {}, seed)


@settings(QUICK, max_examples=60)
@given(pools(), st.booleans(), SEEDS)
def test_avg_pool(case: tuple[tuple[int, ...], dict[str, Any]], counted: bool, seed: int) -> None:
    shape, values = case
    operator = AvgPool.model_validate({"name": "pool", "op": "avg_pool", "padding_counted": counted} | values)
    assert_derivatives(operator, (drawn(seed, shape),), {}, seed)


@QUICK
@given(IMAGES, SEEDS)
def test_batch_norm(shape: tuple[int, int, int, int], seed: int) -> None:
    own = {name: drawn(seed + index, shape[1:2]) for index, name in enumerate(("mean", "scale", "shift"), 1)}
    own["variance"] = drawn(seed + 4, shape[1:2]) ** 2
    assert_derivatives(BatchNorm(name="norm", op="batch_norm", epsilon=1e-3), (drawn(seed, shape),), own, seed)


@QUICK
@given(IMAGES, SEEDS)
def test_operators_without_parameters(shape: tuple[int, int, int, int], seed: int) -> None:
    x = drawn(seed, shape)
    assert_derivatives(Relu(name="a", op="relu"), (x,), {}, seed)
    assert_derivatives(Tanh(name="a", op="tanh"), (x,), {}, seed)
    assert_derivatives(GlobalAvgPool(name="a", op="global_avg_pool"), (x,), {}, seed)
    assert_derivatives(Flatten(name="a", op="flatten"), (x,), {}, seed)
    assert_derivatives(Softmax(name="a", op="softmax"), (x.reshape(len(x), -1),), {}, seed)
    assert_derivatives(Add(name="a", op="add"), (x, drawn(seed + 1, shape), drawn(seed + 2, shape)), {}, seed)
    more = drawn(seed + 1, (shape[0], shape[1] + 2, *shape[2:]))
    assert_derivatives(Concat(name="a", op="concat"), (x, more), {}, seed)


@pytest.mark.parametrize(("convention", "kept"), [("test_time", 1.0), ("inverted", 1.25)])
def test_dropout_passes_what_it_keeps(convention: str, kept: float) -> None:
    operator = Dropout.model_validate(
        {"name": "drop", "op": "dropout", "drop_probability": 0.2, "convention": convention}
    )
    x, mask = drawn(0, (3, 8)), np.random.default_rng(1).random((3, 8)) < 0.5
    assert_derivatives(operator, (x,), {}, 0, mask)
    layer = shaped(operator, ((8,),))
    np.testing.assert_allclose(train_layer(layer, (x,), {}, mask), np.where(mask, kept * x, 0.0), rtol=1e-15)
    with pytest.raises(InputError, match=r"dropout 'drop': expected a mask of shape \[3, 8\], found \[3, 1\]"):
        gradients(layer, (x,), {}, x, mask[:, :1])


def test_every_operator_of_the_language_is_checked_here() -> None:
    checked = "conv dense lrn max_pool avg_pool batch_norm relu tanh global_avg_pool flatten softmax add concat dropout"
    assert {get_args(kind.model_fields["op"].annotation)[0] for kind in OPERATORS} == set(checked.split())


# --- Where there is no derivative -------------------------------------------------------------------------------------


def test_relu_has_slope_0_at_0() -> None:
    layer = shaped(Relu(name="a", op="relu"), ((4,),))
    x = np.array([[0.0, -0.0, 1.0, -1.0]])
    assert gradients(layer, (x,), {}, np.ones((1, 4))).inputs[0].tolist() == [[0.0, 0.0, 1.0, 0.0]]
    near = undecided(layer, x, np.zeros_like(x))
    assert near is not None and near.tolist() == [[True, True, False, False]]


def test_max_pool_passes_all_to_the_first_of_equal_elements() -> None:
    operator = MaxPool(name="p", op="max_pool", kernel=(2, 2), stride=(2, 2), pads=(0, 0, 0, 0), rounding="floor")
    layer = shaped(operator, ((1, 2, 4),))
    x = np.array([[1.0, 3.0, 5.0, 4.0], [3.0, 3.0, 2.0, 4.5]])[None, None]
    g = np.array([[[[7.0, 9.0]]]])
    assert gradients(layer, (x,), {}, g).inputs[0][0, 0].tolist() == [[0, 7, 9, 0], [0, 0, 0, 0]]
    ties = undecided(layer, x, np.zeros_like(x))
    assert ties is not None and ties[0, 0].tolist() == [[False, True, False, False], [True, True, False, False]]
    near = undecided(layer, x, np.full_like(x, 0.3))
    assert near is not None and near[0, 0].tolist() == [[False, True, True, False], [True, True, False, True]]
    assert undecided(shaped(Tanh(name="t", op="tanh"), ((3,),)), np.zeros((1, 3)), np.zeros((1, 3))) is None


# --- S ----------------------------------------------------------------------------------------------------------------


@QUICK
@given(convs(), SEEDS)
def test_noise_scales_of_a_convolution_are_its_gradients_of_squares(
    case: tuple[tuple[int, ...], Conv], seed: int
) -> None:
    shape, operator = case
    kernel = drawn(seed + 1, (operator.out_channels, shape[1] // operator.groups, *operator.kernel))
    tensors = {"conv.weight": kernel} | ({"conv.bias": drawn(seed + 2, kernel.shape[:1])} if operator.bias else {})
    layer, x = shaped(operator, (shape[1:],)), drawn(seed, shape)
    g = drawn(seed + 3, (len(x), *layer.output_shape))
    scales = gradient_scales(layer, (x,), tensors, g)
    squared = gradients(layer, (x**2,), {name: value**2 for name, value in tensors.items()}, g**2)
    assert scales.inputs is not None
    np.testing.assert_allclose(scales.inputs[0] ** 2, squared.inputs[0], rtol=1e-12)
    for name, scale in scales.parameters.items():
        np.testing.assert_allclose(scale**2, squared.parameters[name], rtol=1e-12)


LOSSY: dict[str, AnyOperator] = {
    "conv": Conv(
        name="a", op="conv", out_channels=8, kernel=(3, 5), stride=(2, 1), pads=(1, 2, 0, 1), groups=2, bias=True
    ),
    "dense": Dense(name="a", op="dense", in_features=40, out_features=30, bias=True),
    "lrn": Lrn(name="a", op="lrn", n=5, k=2.0, alpha=0.1, alpha_convention="sum", beta=0.75, scope="whole"),
    "max": MaxPool(name="a", op="max_pool", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), rounding="ceil"),
    "avg": AvgPool(
        name="a", op="avg_pool", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1), rounding="ceil",
        padding_counted=False,
    ),
    "mean": GlobalAvgPool(name="a", op="global_avg_pool"),
    "tanh": Tanh(name="a", op="tanh"),
    "softmax": Softmax(name="a", op="softmax"),
    "batch": BatchNorm(name="a", op="batch_norm", epsilon=1e-3),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSY)
def test_float32_gradients_stay_within_a_few_noise_units(name: str) -> None:
    operator = LOSSY[name]
    shape = (3, 40) if name in ("dense", "softmax") else (3, 6, 11, 9)
    layer = shaped(operator, (shape[1:],))
    x = drawn(0, shape).astype(np.float32)
    tensors = {
        key: (drawn(index, size) ** 2 if key.endswith("variance") else drawn(index, size)).astype(np.float32)
        for index, (key, size) in enumerate(layer.tensor_shapes.items(), 1)
    }
    g = drawn(9, (3, *layer.output_shape)).astype(np.float32)
    wide = {key: value.astype(np.float64) for key, value in tensors.items()}
    single, double = gradients(layer, (x,), tensors, g), gradients(layer, (x.astype(float),), wide, g.astype(float))
    scales = gradient_scales(layer, (x.astype(float),), wide, g.astype(float))
    assert scales.inputs is not None
    pairs = [(single.inputs[0], double.inputs[0], scales.inputs[0])]
    pairs += [(single.parameters[key], double.parameters[key], scales.parameters[key]) for key in single.parameters]
    for actual, expected, scale in pairs:
        assert actual.dtype == np.float32
        seen = scale > 0
        assert np.all(actual[~seen] == expected[~seen])
        assert np.max(np.abs(actual - expected)[seen] / (2.0**-24 * scale[seen])) < 64


# --- Whole networks ---------------------------------------------------------------------------------------------------


def _directional(
    network: Network, tensors: dict[str, Array], x: Array, labels: Any, masks: Masks, name: str, direction: Array
) -> float:
    """The loss's derivative along `direction` of one tensor, or of the input, by the complex step."""
    still = x if name == network.input.name else tensors[name]
    moved: Array = still.astype(np.complex128) + 1j * H * direction
    wide: Array = x.astype(np.complex128)
    if name == network.input.name:
        taps = train_forward(network, tensors, moved, masks)
    else:
        taps = train_forward(network, tensors | {name: moved}, wide, masks)
    return float(loss(taps[logits_tap(network)], labels, MEAN).imag / H)


def assert_whole_gradient(network: Network, x: Array, labels: Any) -> None:
    tensors: dict[str, Array] = {
        name: value.astype(np.float64) for name, value in weights(network, "scaled", 3).items()
    }
    masks = drawn_masks(network, len(x), 5, 0)
    back = backpropagate(network, tensors, x, labels, masks, MEAN)
    assert list(back.parameters) == [name for layer in network.layers for name in layer.parameter_shapes]
    for name, gradient in {**back.parameters, network.input.name: back.cotangents[network.input.name]}.items():
        assert np.any(gradient != 0)
        direction = np.sign(gradient) * np.abs(drawn(7, gradient.shape))
        expected = _directional(network, tensors, x, labels, masks, name, direction)
        assert abs((gradient * direction).sum() - expected) <= RELATIVE * abs(expected)


def test_whole_gradient_of_the_narrow_alexnet() -> None:
    network = load("alexnet_narrow")
    assert_whole_gradient(network, drawn(0, (2, *network.input.shape), 60.0), np.array([1, 0]))


def test_whole_gradient_where_branches_meet_and_the_network_ends_in_a_softmax() -> None:
    network = branches()
    assert logits_tap(network) == "fc"
    assert_whole_gradient(network, drawn(0, (2, *network.input.shape)), np.array([1, 0]))


def test_cotangents_of_inner_taps_join_those_that_flow_back() -> None:
    network = branches()
    tensors = {name: value.astype(np.float64) for name, value in weights(network, "scaled", 3).items()}
    taps = train_forward(network, tensors, drawn(0, (2, *network.input.shape)), {})
    ends = {"fc": drawn(1, taps["fc"].shape)}
    inner = {"relu": drawn(2, taps["relu"].shape)}
    apart = [backward(network, tensors, taps, start, {})[1] for start in (ends, inner)]
    together = backward(network, tensors, taps, ends | inner, {})[1]
    for name, gradient in together.items():
        np.testing.assert_allclose(gradient, apart[0][name] + apart[1][name], rtol=1e-12, atol=1e-13)
    assert not apart[1]["fc.weight"].any()


# --- Loss -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_and_its_gradient(reduction: str) -> None:
    stated = Loss.model_validate({"kind": "softmax_cross_entropy", "reduction": reduction})
    logits, labels = drawn(0, (4, 7), 30.0), np.array([6, 0, 3, 3])
    each = [float(np.log(np.exp(row).sum()) - row[label]) for row, label in zip(logits, labels, strict=True)]
    assert float(loss(logits, labels, stated)) == pytest.approx(
        sum(each) / (4 if reduction == "mean" else 1), rel=1e-12
    )
    found = loss_gradient(logits, labels, stated)
    for place in np.ndindex(logits.shape):
        derivative = float(loss(_stepped(logits, place), labels, stated).imag / H)
        assert found[place] == pytest.approx(derivative, rel=1e-9, abs=1e-15)


def test_loss_of_huge_logits_is_finite() -> None:
    assert float(loss(np.array([[1e5, -1e5]]), np.array([1]), MEAN)) == 2e5


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 7]), "expected classes from 0 to 6, found 7 at example 1"),
        (np.array([-1, 0]), "expected classes from 0 to 6, found -1 at example 0"),
        (np.array([0]), "expected 2 whole numbers, found int64 of shape"),
        (np.array([0.0, 1.0]), "expected 2 whole numbers, found float64 of shape"),
    ],
)
def test_labels_out_of_range_are_rejected(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        loss(drawn(0, (2, 7)), labels, MEAN)


def test_masks_that_are_missing_or_of_another_shape_are_rejected() -> None:
    network = load("alexnet_narrow")
    masks = drawn_masks(network, 2, 0, 0)
    x = drawn(0, (2, *network.input.shape))
    name = next(iter(masks))
    with pytest.raises(InputError, match=f"dropout '{name}': expected a mask of shape .*, found none"):
        train_forward(network, {}, x, {})
    with pytest.raises(InputError, match="dropout mask 'drop9': expected one of drop6, drop7"):
        train_forward(network, {}, x, masks | {"drop9": masks[name]})
    with pytest.raises(InputError, match=f"dropout '{name}': expected a mask of shape"):
        train_forward(network, {}, x, masks | {name: masks[name][:1]})


def test_masks_keep_what_the_spec_says_and_differ_from_step_to_step() -> None:
    network = load("alexnet_narrow").with_operator("drop6", drop_probability=0.25)
    first, again, other = (drawn_masks(network, 400, 1, step) for step in (0, 0, 1))
    assert abs(first["drop6"].mean() - 0.75) < 5 * np.sqrt(0.75 * 0.25 / first["drop6"].size)
    assert abs(first["drop7"].mean() - 0.5) < 5 * np.sqrt(0.25 / first["drop7"].size)
    assert np.array_equal(first["drop6"], again["drop6"])
    assert not np.array_equal(first["drop6"], other["drop6"])
