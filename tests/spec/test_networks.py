"""The shipped networks against figures that were counted elsewhere: the paper, Caffe's and torchvision's releases."""

from math import prod

import pytest

from spec.load import load, shipped
from tests.spec.networks import branches

# Parameters and multiplications of each layer with weights, worked out by hand from the paper.
PAPER_LAYERS = {
    "conv1": (34_944, 105_415_200),
    "conv2": (307_456, 223_948_800),
    "conv3": (885_120, 149_520_384),
    "conv4": (663_936, 112_140_288),
    "conv5": (442_624, 74_760_192),
    "fc6": (37_752_832, 37_748_736),
    "fc7": (16_781_312, 16_777_216),
    "fc8": (4_097_000, 4_096_000),
}

PAPER_SHAPES = {
    "conv1": (96, 55, 55),
    "pool1": (96, 27, 27),
    "conv2": (256, 27, 27),
    "pool2": (256, 13, 13),
    "conv3": (384, 13, 13),
    "conv4": (384, 13, 13),
    "conv5": (256, 13, 13),
    "pool5": (256, 6, 6),
    "fc6": (4096,),
    "fc7": (4096,),
    "fc8": (1000,),
}

# Parameters, multiplications, neurons.
TOTALS = {
    "alexnet": (60_965_224, 724_406_816, 659_272),
    "alexnet_code2012": (60_965_224, 724_406_816, 659_272),
    "alexnet_one_tower": (62_378_344, 1_135_256_096, 659_272),
    "alexnet_owt": (61_100_840, 714_188_480, 494_184),
    "bvlc_alexnet": (60_965_224, 724_406_816, 659_272),
    "caffenet": (60_965_224, 724_406_816, 659_272),
    "alexnet_six_conv": (61_555_304, 745_640_480, 668_488),
    "alexnet_v2_slim": (50_303_912, 736_555_776, 473_064),
    "zfnet": (62_357_608, 1_168_032_896, 1_516_904),
    "lenet5": (61_706, 416_520, 6_518),
    "vgg11": (132_863_336, 7_609_090_048, 7_435_240),
    "vgg16": (138_357_544, 15_470_264_320, 13_556_712),
    "googlenet": (6_998_552, 1_582_671_872, 3_227_160),
    "googlenet_torchvision": (6_624_904, 1_498_376_192, 3_227_160),
    "resnet18": (11_689_512, 1_814_073_344, 2_484_712),
    "resnet50": (25_557_032, 4_089_184_256, 11_114_984),
}
BRANCHED = {"googlenet", "googlenet_torchvision", "resnet18", "resnet50"}


@pytest.mark.parametrize("name", shipped())
def test_shipped_network_loads_under_the_name_of_its_file(name: str) -> None:
    network = load(name)
    assert network.name == name
    assert network.is_linear() == (name not in BRANCHED)


@pytest.mark.parametrize("name", TOTALS)
def test_totals_are_the_published_ones(name: str) -> None:
    network = load(name)
    assert (network.parameters, network.macs, network.neurons) == TOTALS[name]


def test_every_shipped_network_but_our_own_has_published_totals() -> None:
    assert set(shipped()) - set(TOTALS) == {"alexnet_digits", "alexnet_narrow"}


def test_layers_of_the_paper_have_its_parameters_and_macs() -> None:
    counts = {layer.name: (layer.parameters, layer.macs) for layer in load("alexnet").layers if layer.parameters}
    assert counts == PAPER_LAYERS


def test_layers_of_the_paper_have_its_shapes() -> None:
    shapes = {layer.name: layer.output_shape for layer in load("alexnet").layers}
    assert {name: shapes[name] for name in PAPER_SHAPES} == PAPER_SHAPES


def test_neurons_of_the_paper_are_those_of_its_figure() -> None:
    neurons = [layer.neurons for layer in load("alexnet").layers if layer.neurons]
    assert neurons == [290_400, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]


def test_without_groups_the_second_fourth_and_fifth_layers_double_their_kernels() -> None:
    counts = {layer.name: layer.parameters for layer in load("alexnet_one_tower").layers}
    assert [counts[name] for name in ("conv2", "conv4", "conv5")] == [614_656, 1_327_488, 884_992]


@pytest.mark.parametrize(
    ("name", "alpha_sum", "alpha_mean", "k", "towers"),
    [
        ("alexnet", 1e-4, 5e-4, 2.0, 1),
        ("alexnet_code2012", 2e-5, 1e-4, 2.0, 2),
        ("bvlc_alexnet", 2e-5, 1e-4, 1.0, 1),
        ("caffenet", 2e-5, 1e-4, 1.0, 1),
    ],
)
def test_normalisation_means_the_same_in_both_conventions(
    name: str, alpha_sum: float, alpha_mean: float, k: float, towers: int
) -> None:
    norms = [layer.operator for layer in load(name).layers if layer.operator.op == "lrn"]
    assert len(norms) == 2
    for norm in norms:
        assert norm.alpha_sum == pytest.approx(alpha_sum, rel=1e-15)
        assert norm.alpha_mean == pytest.approx(alpha_mean, rel=1e-15)
        assert (norm.n, norm.k, norm.beta, norm.towers) == (5, k, 0.75, towers)


def test_order_of_the_first_block_tells_the_networks_apart() -> None:
    orders = {name: [operator.op for operator in load(name).graph[1:4]] for name in shipped()}
    assert orders["alexnet"] == ["relu", "lrn", "max_pool"]
    assert orders["alexnet_code2012"] == ["lrn", "max_pool", "relu"]
    assert orders["caffenet"] == ["relu", "max_pool", "lrn"]
    assert orders["alexnet_owt"] == ["relu", "max_pool", "conv"]


def test_narrow_network_has_no_two_extents_alike_in_its_input() -> None:
    network = load("alexnet_narrow")
    batch = 2
    assert len({batch, *network.input.shape}) == 4
    assert {operator.op for operator in network.graph} == {operator.op for operator in load("alexnet").graph}


def test_tensor_names_are_operator_and_role() -> None:
    assert load("alexnet").tensor_shapes["conv2.weight"] == (256, 48, 5, 5)
    assert load("alexnet").tensor_shapes["fc6.weight"] == (4096, 9216)
    assert list(branches().tensor_shapes) == [
        "left.weight",
        "norm.scale",
        "norm.shift",
        "norm.mean",
        "norm.variance",
        "right.weight",
        "right.bias",
        "fc.weight",
        "fc.bias",
    ]


def test_bytes_needed_count_input_taps_and_weights() -> None:
    network = load("alexnet")
    activations = prod(network.input.shape) + sum(prod(layer.output_shape) for layer in network.layers)
    assert network.bytes_needed(2) == 4 * (2 * activations + 60_965_224)


def test_hash_depends_on_the_graph_and_the_recipe_and_not_on_published_results() -> None:
    evaluation = load("alexnet").evaluation
    assert evaluation is not None
    unpublished = evaluation.model_copy(update={"results": (), "contradicted": ()})
    assert load("alexnet").sha256 == load("alexnet").model_copy(update={"evaluation": unpublished}).sha256
    assert load("alexnet").sha256 != load("alexnet").model_copy(update={"training": None}).sha256
    assert load("alexnet").sha256 != load("alexnet_one_tower").sha256
