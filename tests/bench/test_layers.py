"""Each layer by itself: a network that every framework can be given."""

from itertools import product
from pathlib import Path

import pytest

from bench.layers import layers_alone
from impls.frameworks import FRAMEWORKS, LOWERINGS
from impls.generate import source_text
from spec.load import load
from spec.tensors import read


@pytest.mark.parametrize("name", ["alexnet_narrow", "googlenet", "resnet18"])
def test_each_layer_that_is_worth_timing_can_be_generated_alone(name: str, tmp_path: Path) -> None:
    network = load(name)
    layers = layers_alone(network, 2, 0, tmp_path)
    operators = {own.layer.operator.op for own in layers}
    assert operators >= {"conv", "max_pool", "dense"}
    assert not operators & {"relu", "dropout", "flatten", "add", "concat"}
    for own in layers:
        assert [layer.output_shape for layer in own.network.layers] == [own.layer.output_shape]
        assert read(own.input)["image"].shape == (2, *own.layer.input_shape)
        assert read(own.weights).keys() == own.layer.tensor_shapes.keys()
    one_of_each = {own.layer.operator.op: own for own in layers}.values()
    for own, framework, lowering in product(one_of_each, FRAMEWORKS, LOWERINGS):
        assert own.layer.name in source_text(own.network, framework, lowering)
