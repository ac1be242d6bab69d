"""Images on which no ReLU and no pool decides otherwise in float32."""

import numpy as np
import pytest

from conformance.decisions import is_decided, nearest
from conformance.dropout import drawn_masks
from spec.inputs import inputs
from spec.load import load
from spec.network import Network
from spec.operators import Conv, MaxPool, Relu
from spec.shapes import Layer, shaped
from spec.weights import weights


def relu() -> Layer:
    return shaped(Relu.model_validate({"name": "r", "op": "relu", "inputs": ["image"]}), ((1, 2, 2),))


def pool(kernel: int = 2) -> Layer:
    window = {"kernel": kernel, "stride": kernel, "pads": 0, "rounding": "floor"}
    operator = MaxPool.model_validate({"name": "p", "op": "max_pool", "inputs": ["image"], **window})
    return shaped(operator, ((1, 2, 4),))


def test_a_relu_is_as_near_as_its_smallest_element_but_an_exact_zero() -> None:
    assert nearest(relu(), np.array([[[[3.0, -0.25], [0.0, 2.0]]]])) == 0.25
    assert nearest(relu(), np.zeros((1, 1, 2, 2))) == np.inf


def test_a_pool_is_as_near_as_the_least_lead_of_a_window() -> None:
    x = np.array([[[[1.0, 3.0, 5.0, 4.0], [2.5, 0.0, 4.5, 0.0]]]])
    assert nearest(pool(), x) == 0.5
    assert nearest(pool(1), x) == np.inf


def test_windows_whose_largest_is_an_exact_zero_are_decided_and_other_ties_are_not() -> None:
    x = np.array([[[[0.0, 0.0, 5.0, 4.0], [0.0, 0.0, 1.0, 0.0]]]])
    assert nearest(pool(), x) == 1.0
    x[..., 3] = 5.0
    assert nearest(pool(), x) == 0.0


def test_what_decides_nothing_is_infinitely_far() -> None:
    network = load("alexnet_narrow")
    conv = next(layer for layer in network.layers if isinstance(layer.operator, Conv))
    assert nearest(conv, np.zeros((1, 3, 135, 99))) == np.inf


def decided(network: Network, margin: float, image: int, shifted: float = 0.0) -> bool:
    tensors = weights(network, "paper", 0)
    exact = {name: value.astype(np.float64) for name, value in tensors.items()}
    exact["conv1.bias"] = exact["conv1.bias"] + shifted
    x = inputs(network, "noise", 1, image + 1)[image:]
    return is_decided(network, exact, tensors, x, drawn_masks(network, 1, 0, 0), margin)


def test_a_wider_margin_is_harder_to_keep() -> None:
    network = load("alexnet_narrow")
    kept = [sum(decided(network, margin, image) for image in range(8)) for margin in (0.0, 10.0, 1e5)]
    assert kept[0] == 8
    assert kept[1] >= 4
    assert kept[2] == 0


@pytest.mark.parametrize("image", range(3))
def test_what_counts_is_the_error_of_float32_where_the_decision_is_taken(image: int) -> None:
    assert not decided(load("alexnet_narrow"), 10.0, image, shifted=0.5)
