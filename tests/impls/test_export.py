"""Exported networks: plain code of each framework loads them, and they compute what the oracle does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.expected import cap_key, write_expected
from conformance.measure import relative_rms
from impls.environments import interpreter
from impls.frameworks import FRAMEWORKS, FrameworkName
from spec.load import load
from spec.network import Network
from spec.store import Store
from spec.tensors import metadata, read
from tests.impls.goldens import HERE

ROOT = Path(__file__).parents[2]
SPEC = HERE / "all_operators.yaml"

#: What a user of each framework writes to load and run what was exported: argv is the export, images, and the output.
LOADERS: dict[FrameworkName, str] = {
    "torch": """
import sys
import numpy as np
import torch
sys.path.insert(0, ".")
from all_operators_torch import AllOperators
model = AllOperators()
model.load_state_dict(torch.load(sys.argv[1], weights_only=True))
with torch.inference_mode():
    y = model.eval()(torch.from_numpy(np.load(sys.argv[2])))
np.save(sys.argv[3], y.numpy())
""",
    "jax": """
import sys
import jax
import jax.numpy as jnp
import numpy as np
sys.path.insert(0, ".")
from all_operators_jax import forward
tree = {}
for path, leaf in np.load(sys.argv[1]).items():
    layer, name = path.split("/")
    tree.setdefault(layer, {})[name] = jnp.asarray(leaf)
np.save(sys.argv[3], jax.jit(forward)(tree, np.load(sys.argv[2])))
""",
    "tensorflow": """
import sys
import numpy as np
import tensorflow as tf
serve = tf.saved_model.load(sys.argv[1]).signatures["serving_default"]
(y,) = serve(x=tf.constant(np.load(sys.argv[2]).transpose(0, 2, 3, 1))).values()
np.save(sys.argv[3], y.numpy())
""",
    "onnx": """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
(y,) = session.run(None, {session.get_inputs()[0].name: np.load(sys.argv[2])})
np.save(sys.argv[3], y)
""",
}


def export(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spec", "export", *words]
    return subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)


def seeded(network: Network) -> Path:
    return Store().weights_file(network, "scaled", 0)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_plain_code_of_the_framework_loads_it_and_conforms(framework: FrameworkName, tmp_path: Path) -> None:
    network, python = load(SPEC), interpreter(framework, print)
    weights, inputs = seeded(network), Store().input_file(network, "noise", 0, 3)
    x = read(inputs)[network.input.name]
    words = ("--to", framework, "-o", tmp_path / "net", "--python", f"{framework}={python}")
    done = export(SPEC, "--weights", weights, *words)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == sorted(map(str, tmp_path.iterdir()))
    np.save(tmp_path / "x.npy", x)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(
        [python, "-c", LOADERS[framework], "net", "x.npy", "y.npy"], cwd=tmp_path, env=environment, check=True
    )
    write_expected(network, read(weights), x, tmp_path / "expected")
    expected, actual = read(tmp_path / "expected")["expected"], np.load(tmp_path / "y.npy")
    assert actual.dtype == np.float32
    cap = float(metadata(tmp_path / "expected")[cap_key("float32")])
    assert relative_rms(actual.astype(np.float64), expected) <= cap


NARROW = "alexnet_narrow"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--to", "caffe", "-o", "net"], "argument --to: invalid choice: 'caffe'"),
        (["--to", "onnx", "-o", "there"], "-o there: expected a place for an ONNX model, found a folder"),
        (["--to", "tensorflow", "-o", "there"], "-o there: expected a place for a SavedModel, found a folder"),
        (["--to", "tensorflow", "-o", "file"], "-o file: expected a new folder for a SavedModel, found a file"),
        (["--to", "jax", "-o", f"{NARROW}_jax.py"], f"expected a name other than that of its source, {NARROW}_jax.py"),
        (["--to", "jax", "-o", "net", "--python", "jax=/no/such"], "--python jax: expected an interpreter, found none"),
        (
            ["--to", "jax", "-o", "net", "--weights", "file"],
            "--weights: file: expected a safetensors file, found",
        ),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from impls.export import main
    from spec.exits import InputError

    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "precious").touch()
    (tmp_path / "file").write_text("short")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as caught:
        main([NARROW, "--weights", str(seeded(load(NARROW))), *words])
    assert message in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    done = export(NARROW, "--weights", seeded(load(SPEC)), "--to", "onnx", "-o", tmp_path / "net.onnx")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'conv1.weight': expected float32 [8, 3, 11, 11], found float32" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_protobuf_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from impls import export as exporter
    from spec.exits import InputError

    small = exporter.Form("an ONNX model", has_source=False, limit_bytes=1000)
    monkeypatch.setitem(exporter.FORMS, "onnx", small)
    with pytest.raises(InputError, match=r"at most 1,000 bytes of tensors, which an ONNX model can hold"):
        exporter.main([NARROW, "--weights", str(seeded(load(NARROW))), "--to", "onnx", "-o", str(tmp_path / "net")])
    assert list(tmp_path.iterdir()) == []


def test_an_interpreter_without_the_framework_leaves_nothing(tmp_path: Path) -> None:
    output, python = tmp_path / "new" / "net.pt", f"torch={sys.executable}"
    done = export(NARROW, "--weights", seeded(load(NARROW)), "--to", "torch", "-o", output, "--python", python)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.splitlines()[-1].endswith("found: ModuleNotFoundError: No module named 'torch'")
    assert list(tmp_path.iterdir()) == []
