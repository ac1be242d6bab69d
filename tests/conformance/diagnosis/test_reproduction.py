"""Scripts that show one operator's difference: short, right where the framework is right, and run by the framework."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.diagnosis.reproduction import DRIVER, LINES, Wrong, reproduced, scripts
from conformance.diagnosis.words import sentences
from conformance.participants import Entrant, Files, Settings
from conformance.report import Report
from conformance.results import Case
from conformance.suite import run
from impls.client import framework_command
from impls.environments import interpreters
from impls.frameworks import FRAMEWORKS, FrameworkName
from impls.generate import source_text
from spec.load import load
from spec.network import Network
from spec.store import Store
from tests.conformance.synthetic import variant

ALL = Path(__file__).parents[2] / "impls" / "all_operators.yaml"


@pytest.fixture(scope="module")
def pythons() -> Mapping[str, str]:
    return interpreters(FRAMEWORKS, print)


def wrong(network: Network, tap: str, framework: FrameworkName, folder: Path, *lines: tuple[str, str]) -> Wrong:
    """An operator of a source in which some lines are others."""
    text = source_text(network, framework, "native")
    for right, other in lines:
        assert right in text
        text = text.replace(right, other)
    source = folder / f"{framework}.py"
    source.write_text(text, encoding="utf-8")
    layer = next(own for own in network.layers if own.name == tap)
    x = np.random.default_rng(1).standard_normal((2, *layer.input_shape), np.float32)
    own = replace(variant(framework), mode="compiled" if framework == "onnx" else "eager")
    return Wrong(network, layer, x, (0, *[0] * len(layer.output_shape)), own, "1.0", source)


def said(python: str, folder: Path) -> tuple[dict[str, str], str]:
    """What the scripts of a folder ended with, and what could not be run."""
    ended = subprocess.run([python, "-I", "-c", DRIVER, str(folder)], capture_output=True, text=True, check=True)
    return json.loads((folder / "said.json").read_text(encoding="utf-8")), ended.stderr


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_scripts_of_right_operators_show_nothing(
    pythons: Mapping[str, str], framework: FrameworkName, tmp_path: Path
) -> None:
    network = load(str(ALL))
    texts = [text for layer in network.layers for text in scripts(wrong(network, layer.name, framework, tmp_path))]
    assert len(texts) > 3 * len(network.layers)
    assert max(text.count("\n") for text in texts) <= LINES
    folder = tmp_path / "scripts"
    folder.mkdir()
    for index, text in enumerate(texts):
        (folder / f"{index:03}.py").write_text(text, encoding="utf-8")
    shown, failed = said(pythons[framework], folder)
    assert {texts[int(name[:3])]: what for name, what in shown.items()} == {}
    assert [line for line in failed.splitlines() if line[:3].isdigit() and line[3:6] == ".py"] == []


@pytest.mark.parametrize(
    ("framework", "tap", "lines"),
    [
        ("jax", "conv3", ('conv(x, p["conv3"]', 'conv(x * x * x, p["conv3"]')),
        ("onnx", "pool2", ('node("pool2", "MaxPool", x', 'node("pool2", "MaxPool", node("exp", "Exp", x)')),
    ],
)
def test_a_script_shows_the_difference_by_itself(
    pythons: Mapping[str, str], framework: FrameworkName, tap: str, lines: tuple[str, str], tmp_path: Path
) -> None:
    script = reproduced(wrong(load("alexnet_narrow"), tap, framework, tmp_path, lines), pythons[framework])
    assert script is not None
    assert script.name == f"{framework}_native_{tap}.py"
    assert script.text.count("\n") <= LINES
    assert "lockstep" not in script.text.lower().replace("producer_name='lockstep'", "")
    path = tmp_path / script.name
    path.write_text(script.text, encoding="utf-8")
    ended = subprocess.run([pythons[framework], "-I", str(path)], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "expected" in ended.stderr.splitlines()[-1]


def test_inputs_in_another_order_are_shown(pythons: Mapping[str, str], tmp_path: Path) -> None:
    lines = ("[pool_a, pool_b, pool_c]", "[pool_a, pool_c, pool_b]")
    script = reproduced(wrong(load(str(ALL)), "join", "torch", tmp_path, lines), pythons["torch"])
    assert script is not None
    assert "= (x * 2, x * 4, x * 8)" in script.text


def test_a_run_writes_the_script_that_its_report_names(pythons: Mapping[str, str], tmp_path: Path) -> None:
    network, store = load("alexnet_narrow"), Store(tmp_path / "cache")
    case = Case("scaled", "photographs", 0, 2)
    files = Files(case, store.weights_file(network, "scaled", 0), store.input_file(network, "photographs", 0, 2))
    own = wrong(network, "relu3", "torch", tmp_path, ('"relu3", F.relu(x)', '"relu3", F.relu(x) + 0.001 * x.mean()'))
    entrant = Entrant(own.variant, tuple(framework_command("torch", pythons["torch"])), own.source)
    columns = run(network, [entrant], [files], Settings(1, 300, print), ["forward"])
    report = Report(network, columns, 1)
    report.write(tmp_path / "reports")
    (first,) = report.fields()["first_divergences"]
    assert (first["tap"], first["explanations"], first["reproduction"]) == (
        "relu3",
        [],
        "reproductions/torch_native_relu3.py",
    )
    assert sentences(first) == [
        f"relu3: none of {first['tried']} changes explains it; reproductions/torch_native_relu3.py shows the difference"
    ]
    script = tmp_path / "reports" / first["reproduction"]
    ended = subprocess.run([pythons["torch"], "-I", str(script)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.split()[:1]) == (1, ["at"])


def test_an_operator_that_is_right_alone_has_no_script(pythons: Mapping[str, str], tmp_path: Path) -> None:
    assert reproduced(wrong(load("alexnet_narrow"), "conv3", "torch", tmp_path), pythons["torch"]) is None
