"""Networks that differ in what a claim is about, and in nothing else."""

from collections.abc import Callable

import pytest

from conformance.claims.variants import (
    unregularised,
    with_biases_of_zero,
    with_first_weights,
    with_plain_pooling,
    with_rate,
    with_tanh,
    without,
)
from spec.exits import InputError
from spec.load import load, parse
from spec.network import Network
from spec.operators import Dropout, Lrn, MaxPool
from spec.recipe import Constant, Normal, Training
from tests.conformance.train.specs import TINY

DIGITS = load("alexnet_digits")


def kinds(network: Network) -> dict[str, str]:
    return {operator.name: operator.op for operator in network.graph}


def recipe(network: Network) -> Training:
    assert network.training is not None
    return network.training


def test_tanh_stands_where_relu_stood() -> None:
    before = kinds(DIGITS)
    expected = {name: "tanh" if kind == "relu" else kind for name, kind in before.items()}
    assert kinds(with_tanh(DIGITS)) == expected
    assert expected != before


@pytest.mark.parametrize(("kind", "op"), [(Lrn, "lrn"), (Dropout, "dropout")])
def test_what_is_left_out_is_read_past(kind: type[Lrn] | type[Dropout], op: str) -> None:
    network = without(DIGITS, kind)
    assert kinds(network) == {name: each for name, each in kinds(DIGITS).items() if each != op}
    assert network.is_linear()
    assert network.tensor_shapes == DIGITS.tensor_shapes
    assert network.layers[-1].output_shape == DIGITS.layers[-1].output_shape


def test_plain_pools_are_as_large_as_their_stride_and_give_the_same_shapes() -> None:
    network = with_plain_pooling(DIGITS)
    pools = [operator for operator in network.graph if isinstance(operator, MaxPool)]
    assert [(pool.kernel, pool.stride) for pool in pools] == [((2, 2), (2, 2))] * 2
    assert [layer.output_shape for layer in network.layers] == [layer.output_shape for layer in DIGITS.layers]


def test_without_regularisation_there_is_neither_dropout_nor_decay() -> None:
    network = unregularised(DIGITS)
    assert "dropout" not in kinds(network).values()
    optimizer = recipe(network).optimizer
    assert optimizer.weight_decay == 0
    assert optimizer == recipe(DIGITS).optimizer.model_copy(update={"weight_decay": 0.0})


def test_only_the_first_rate_is_another() -> None:
    schedule = recipe(with_rate(DIGITS, 0.03)).schedule
    assert schedule == recipe(DIGITS).schedule.model_copy(update={"rate": 0.03})


def test_biases_of_zero_leave_overrides_of_weights() -> None:
    stated = recipe(with_biases_of_zero(DIGITS)).initialisers
    assert stated.biases == Constant(kind="constant", value=0.0)
    assert list(stated.overrides) == ["conv1.weight"]


def test_first_weights_are_scaled_and_no_others() -> None:
    stated = recipe(with_first_weights(DIGITS, 0.2)).initialisers
    assert stated.overrides["conv1.weight"] == Normal(kind="normal", mean=0.0, std=0.2 * 0.01)
    assert stated.weights == recipe(DIGITS).initialisers.weights


@pytest.mark.parametrize(
    "change",
    [with_tanh, with_plain_pooling, unregularised, with_biases_of_zero, lambda network: with_rate(network, 1.0)],
)
def test_each_change_is_another_network_and_leaves_the_given_one(change: Callable[[Network], Network]) -> None:
    before = DIGITS.sha256
    assert change(DIGITS).sha256 != before
    assert load("alexnet_digits").sha256 == DIGITS.sha256 == before


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (with_plain_pooling, "tiny: expected a max pool whose windows overlap, found none"),
        (lambda network: without(network, Lrn), "tiny: expected an operator 'lrn', found none"),
        (lambda network: with_tanh(with_tanh(network)), "tiny: expected an operator 'relu', found none"),
    ],
)
def test_a_network_that_lacks_what_a_claim_is_about_is_refused(change: Callable[[Network], Network], says: str) -> None:
    with pytest.raises(InputError) as raised:
        change(parse(TINY, "tiny.yaml"))
    assert str(raised.value) == says


def test_pools_that_cannot_be_plain_are_refused() -> None:
    network = DIGITS.with_operator("pool2", kernel=(3, 3), stride=(1, 1))
    with pytest.raises(InputError, match="expected pools that may touch instead of overlap, found: "):
        with_plain_pooling(network)
