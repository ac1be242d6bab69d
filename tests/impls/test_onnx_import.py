"""ONNX files become specs: what they say is kept, what a spec cannot say is listed, and nothing else is written."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from impls.environments import interpreter
from impls.onnx_import.naming import Names, identifier
from spec.load import load
from spec.network import Network
from spec.tensors import read, write
from spec.yaml_text import network_text

ROOT = Path(__file__).parents[2]
#: Parameters of the networks that the onnx package ships without weights: those of their papers and model zoos.
LIGHT = {
    "bvlc_alexnet": 60_965_224,
    "inception_v1": 6_998_552,
    "resnet50": 25_557_032,
    "squeezenet": 1_235_496,
    "vgg19": 143_667_240,
    "zfnet512": 87_250_536,
}


@pytest.fixture(scope="session")
def onnx_python() -> Path:
    return interpreter("onnx", print)


@pytest.fixture(scope="session")
def models(onnx_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    subprocess.run([onnx_python, ROOT / "tests" / "impls" / "onnx_models.py", folder], check=True)
    return folder


def run(onnx_python: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spec", "import", *arguments, "--python", f"onnx={onnx_python}"]
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)


def imported(onnx_python: Path, model: Path, folder: Path, *options: str) -> tuple[Network, dict[str, np.ndarray]]:
    """The spec and the weights that the command writes."""
    spec, weights = folder / f"{model.stem}.yaml", folder / f"{model.stem}.safetensors"
    done = run(onnx_python, model, "-o", spec, "--weights", weights, *options)
    assert (done.returncode, done.stderr) == (0, "")
    return load(spec), read(weights)


def graph(network: Network) -> list[tuple[str, str]]:
    return [(operator.name, operator.op) for operator in network.graph]


def test_an_exporters_patterns_become_operators(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, weights = imported(onnx_python, models / "exported.onnx", tmp_path)
    assert graph(network) == [
        ("features_conv_a", "conv"),
        ("relu_out", "relu"),
        ("rows", "flatten"),
        ("kept", "dropout"),
        ("head", "dense"),
        ("y", "softmax"),
    ]
    conv, dropout = network.graph[0], network.graph[3]
    assert conv.model_dump(include={"stride", "pads", "bias"}) == {"stride": (2, 2), "pads": (1, 1, 1, 1), "bias": True}
    assert dropout.model_dump(include={"drop_probability", "convention"}) == {
        "drop_probability": 0.25,
        "convention": "inverted",
    }
    assert network.layers[0].output_shape == (4, 5, 4)
    assert {name: value.shape for name, value in weights.items()} == network.tensor_shapes


def test_factors_and_summands_join_the_layer_before_them(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, weights = imported(onnx_python, models / "scaled.onnx", tmp_path)
    assert [op for _, op in graph(network)] == [
        "batch_norm",
        "relu",
        "batch_norm",
        "avg_pool",
        "global_avg_pool",
        "flatten",
        "dropout",
        "dense",
    ]
    first, own, head = network.graph[0].name, network.graph[2].name, network.graph[-1].name
    assert network.graph[-2].model_dump(include={"drop_probability", "convention"}) == {
        "drop_probability": 0.5,
        "convention": "test_time",
    }
    np.testing.assert_array_equal(weights[f"{own}.mean"], np.zeros(3, np.float32))
    np.testing.assert_array_equal(weights[f"{own}.variance"], np.ones(3, np.float32))
    # The factor of the file, which stands alone in the second batch norm, is part of the first one's scale.
    factor = weights[f"{own}.scale"]
    assert np.abs(weights[f"{first}.scale"] / factor).max() < 5
    assert weights[f"{head}.weight"].shape == (4, 3)


def test_attributes_of_old_opsets_are_read(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, _ = imported(onnx_python, models / "old.onnx", tmp_path)
    assert [op for _, op in graph(network)] == ["lrn", "max_pool", "dropout", "flatten", "tanh", "softmax"]
    assert network.graph[0].model_dump(include={"n", "k", "alpha", "alpha_convention", "beta"}) == {
        "n": 3,
        "k": 2.0,
        "alpha": 3e-4,
        "alpha_convention": "mean",
        "beta": 0.75,
    }


def test_tensors_are_read_from_a_file_beside_the_model(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, weights = imported(onnx_python, models / "beside.onnx", tmp_path)
    assert [op for _, op in graph(network)] == ["batch_norm"]
    np.testing.assert_array_equal(weights[f"{network.output}.scale"], np.array([1, 2, 3], np.float32))


def beside_original(
    spec: Path, weights: Path, model: Path, folder: Path, *options: str
) -> tuple[int, list[dict[str, str]]]:
    """The exit code of the suite with the original beside the generated source, and the original's results."""
    command = [sys.executable, "-m", "conformance", "--spec", spec, "--weights", weights, "--original", model]
    more = ["--frameworks", "onnx", "--locked", "--lanes", "forward", "--inputs", "noise", "--report", folder, *options]
    done = subprocess.run([*map(str, command), *map(str, more)], cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads((folder / "conformance.json").read_text(encoding="utf-8"))
    return done.returncode, [result for result in report["results"] if result["framework"] == "original"]


def test_an_original_is_compared_by_its_output(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, tensors = imported(onnx_python, models / "scaled.onnx", tmp_path)
    spec, weights = tmp_path / "scaled.yaml", tmp_path / "scaled.safetensors"
    code, results = beside_original(spec, weights, models / "scaled.onnx", tmp_path)
    assert code == 0
    assert [(result["tap"], result["outcome"]) for result in results if result["check"] == "untapped"] == [
        (network.output, "passed")
    ]
    assert {result["outcome"] for result in results if result["check"] != "untapped"} == {"skipped"}
    write(weights, tensors | {f"{network.output}.bias": tensors[f"{network.output}.bias"] + np.float32(0.01)})
    code, results = beside_original(spec, weights, models / "scaled.onnx", tmp_path)
    assert code == 1
    assert [result["outcome"] for result in results if result["check"] == "untapped"] == ["failed"]


@pytest.mark.parametrize("name", ["y", "b"])
def test_an_original_is_compared_by_the_value_that_was_imported(
    name: str, onnx_python: Path, models: Path, tmp_path: Path
) -> None:
    """`y` is the second output of the file, and `b` is none of its outputs."""
    model, option = models / "two_outputs.onnx", ("--output-name", name)
    network, _ = imported(onnx_python, model, tmp_path, *option)
    spec, weights = tmp_path / "two_outputs.yaml", tmp_path / "two_outputs.safetensors"
    code, results = beside_original(spec, weights, model, tmp_path, *option)
    assert code == 0
    untapped = [(result["tap"], result["outcome"]) for result in results if result["check"] == "untapped"]
    assert untapped == [(network.output, "passed")]


def test_a_file_of_several_outputs_is_not_compared_by_whichever_is_first(
    onnx_python: Path, models: Path, tmp_path: Path
) -> None:
    model = models / "two_outputs.onnx"
    imported(onnx_python, model, tmp_path, "--output-name", "y")
    spec, weights = tmp_path / "two_outputs.yaml", tmp_path / "two_outputs.safetensors"
    code, results = beside_original(spec, weights, model, tmp_path)
    assert (code, [result["outcome"] for result in results]) == (3, ["errored"])
    assert "expected --output-name beside a file of several outputs, found a, y" in results[0]["message"]
    code, results = beside_original(spec, weights, model, tmp_path, "--output-name", "a")
    assert code == 1
    assert [result["outcome"] for result in results if result["check"] == "untapped"] == ["failed"]


def test_an_original_needs_its_weights(models: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "conformance", "--spec", "alexnet_narrow", "--original", models / "old.onnx"]
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --original: expected --weights FILE.safetensors beside it")


def test_an_open_shape_is_stated_by_an_option(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    network, _ = imported(onnx_python, models / "open.onnx", tmp_path, "--input-shape", "3,20,30")
    assert network.input.shape == (3, 20, 30)


@pytest.fixture(scope="session")
def light(onnx_python: Path) -> Path:
    """The folder of the models that the onnx package ships."""
    asked = "import onnx, pathlib; print(pathlib.Path(onnx.__file__).parent / 'backend' / 'test' / 'data' / 'light')"
    done = subprocess.run([onnx_python, "-c", asked], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


@pytest.mark.parametrize("name", LIGHT)
def test_the_networks_of_the_onnx_package_have_their_totals(
    name: str, onnx_python: Path, light: Path, tmp_path: Path
) -> None:
    spec = tmp_path / f"{name}.yaml"
    done = run(onnx_python, light / f"light_{name}.onnx", "-o", spec)
    assert done.returncode == 0, done.stderr
    assert load(spec).parameters == LIGHT[name]


def test_a_network_of_the_onnx_package_agrees_with_its_file(onnx_python: Path, light: Path, tmp_path: Path) -> None:
    """The smallest of the six, with weights that are drawn: those of the file are all equal."""
    model, program = tmp_path / "squeezenet.onnx", ROOT / "tests" / "impls" / "onnx_light_models.py"
    subprocess.run([onnx_python, program, light / "light_squeezenet.onnx", model], check=True)
    network, _ = imported(onnx_python, model, tmp_path)
    spec, weights = tmp_path / "squeezenet.yaml", tmp_path / "squeezenet.safetensors"
    code, results = beside_original(spec, weights, model, tmp_path, "--batch", "1")
    assert code == 0
    untapped = [(result["tap"], result["outcome"]) for result in results if result["check"] == "untapped"]
    assert untapped == [(network.output, "passed")]


def test_all_nodes_that_a_spec_cannot_say_are_listed(onnx_python: Path, models: Path, tmp_path: Path) -> None:
    model = models / "unsupported.onnx"
    done = run(onnx_python, model, "-o", tmp_path / "spec.yaml", "--weights", tmp_path / "weights")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {model}: LeakyRelu leak (opset 13): no operator of the spec does that",
        f"error: {model}: Transpose turn (opset 13): no operator of the spec does that",
        f"error: {model}: Conv wide (opset 13): expected dilations=[1, 1], found [2, 2]",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("open", "input 'x': expected a known shape behind the batch, found 'batch', 3, 'height', 'width'; state it"),
        ("wrong_size", "Gemm y (opset 13): expected 5 input features, found 6"),
        ("huge", "'c': expected less than 2 GiB, found the shape [1048576, 1048576]"),
        ("outside", "tensor 'w': expected external data in the model's folder, found '../secret.bin'"),
        ("beyond", "tensor 'w': expected 12 bytes in 'beside.bin', found 12 claimed from byte 8 on of 16"),
        ("short", "tensor 'w': expected 4,000,000 bytes for its shape [1000, 1000], found 4"),
        ("twice", "expected every value once, found 'w' twice"),
        ("untouched", "expected an operator that reads the input, found none"),
        ("ancient", "expected an opset from 3 to"),
        ("two_inputs", "expected a network of one input, found 'x', 'z'"),
        ("text", "expected an ONNX model, found a file that is none, or truncated"),
        ("truncated", "expected an ONNX model, found a file that is none, or truncated"),
        ("empty", "expected an ONNX model, found none in 0 bytes"),
        ("giant", "expected a file of less than 2 GiB, found 3,221,225,472 bytes; store tensors outside"),
        ("absent", "expected a readable ONNX file, found: No such file or directory"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    name: str, message: str, onnx_python: Path, models: Path, tmp_path: Path
) -> None:
    done = run(onnx_python, models / f"{name}.onnx", "-o", tmp_path / "spec.yaml", "--weights", tmp_path / "weights")
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert message in line
    assert line.startswith(f"error: {models / name}.onnx: ")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_is_the_same_after_export_and_import(onnx_python: Path, tmp_path: Path) -> None:
    """The narrow network, exported with weights, is that network again."""
    from spec.store import Store

    network, model = load("alexnet_narrow"), tmp_path / "again.onnx"
    weights = Store().weights_file(network, "scaled", 3)
    words = ["alexnet_narrow", "--weights", weights, "--to", "onnx", "-o", model, "--python", f"onnx={onnx_python}"]
    subprocess.run([sys.executable, "-m", "spec", "export", *map(str, words)], cwd=ROOT, check=True)
    again, tensors = imported(onnx_python, model, tmp_path)

    def comparable(one: Network) -> list[dict[str, object]]:
        dumped = [json.loads(operator.model_dump_json(exclude={"source"})) for operator in one.graph]
        return [
            {**fields, "alpha": one.graph[index].alpha_sum, "alpha_convention": "sum"}  # type: ignore[union-attr]
            if fields["op"] == "lrn"
            else fields
            for index, fields in enumerate(dumped)
        ]

    assert comparable(again) == comparable(network)
    for name, value in read(weights).items():
        np.testing.assert_array_equal(tensors[name], value)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/features/0/Conv", "features_0_conv"),
        ("gpu_0/fc1", "gpu_0_fc1"),
        ("0", ""),
        ("class", ""),
        ("Ünïx", "n_x"),
    ],
)
def test_names_are_kept_where_they_can_be(text: str, name: str) -> None:
    assert identifier(text) == name


def test_numbered_names_give_way_to_better_ones() -> None:
    names = Names(["image"])
    assert names.chosen("conv", "n12", ["conv1_w_0", "conv1_b_0"], "r3") == "conv1"
    assert names.chosen("relu", "n13", [], "r4") == "relu1"
    assert names.chosen("relu", "image", [], "r5") == "relu2"
    assert names.chosen("fc", "n14", ["gpu_0/fc6_w_0", "gpu_0/fc6_b_0"], "r6") == "gpu_0_fc6"


@pytest.mark.parametrize("name", ["alexnet", "alexnet_code2012", "alexnet_owt"])
def test_the_text_of_a_network_reads_as_the_network(name: str, tmp_path: Path) -> None:
    network = load(name)
    path = tmp_path / "again.yaml"
    path.write_text(network_text(network, "again"), encoding="utf-8")
    assert load(path) == network
