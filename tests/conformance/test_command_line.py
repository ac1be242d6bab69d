"""`python -m conformance` given what is wrong: one line on stderr, exit code 2 (3: could not run), no report."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from spec.tensors import write
from tests.spec.networks import SMALL, changed, small

ROOT = Path(__file__).parents[2]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in an empty folder, with a cache of its own in it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOCKSTEP_CACHE": str(folder / "cache")}
    command = [sys.executable, "-m", "conformance", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", check=False, timeout=120
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def assert_refused(folder: Path, arguments: tuple[str, ...], *says: str) -> None:
    """Exit code 2, one line that says all of `says`, and nothing written."""
    before = files(folder)
    done = run(folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in says:
        assert part in done.stderr
    assert files(folder) == before


NARROW = ("--spec", "alexnet_narrow")

#: The arguments, and what the one line says.
OPTIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "unknown option": (("--tolerance", "1e-3"), ("--tolerance", "--help")),
    "unknown framework": (("--frameworks", "torch,mxnet"), ("--frameworks", "'mxnet'", "tensorflow")),
    "unknown device": (("--device", "tpu"), ("--device", "'tpu'", "cuda")),
    "tf32 on a processor": ((*NARROW, "--dtype", "tf32"), ("tf32", "cuda", "cpu")),
    "unknown lane": (("--lanes", "backward"), ("--lanes", "'backward'", "forward, training")),
    "unknown part": (("--parts", "backward"), ("--parts", "'backward'", "gradients", "trajectory")),
    "training on no seed": (("--training-seeds", "0"), ("--training-seeds", "'0'")),
    "unknown lowering": (("--lowering", "quick"), ("--lowering", "'quick'")),
    "mode that a framework lacks": ((*NARROW, "--mode", "onnx=eager"), ("--mode", "'eager'", "compiled")),
    "interpreter that is not there": ((*NARROW, "--python", "torch=/no/such"), ("--python", "torch", "/no/such")),
    "interpreter of an unknown framework": ((*NARROW, "--python", "mxnet=/x"), ("--python", "'mxnet'", "torch")),
    "interpreter without framework": ((*NARROW, "--python", sys.executable), ("--python", "=")),
    "runner without command": ((*NARROW, "--runner", "mine="), ("--runner",)),
    "runner with blank command": ((*NARROW, "--runner", "mine= "), ("--runner",)),
    "runner with open quote": ((*NARROW, "--runner", "mine='x"), ("--runner",)),
    "runner whose name is no identifier": ((*NARROW, "--runner", "my-own=x"), ("--runner", "my-own")),
    "runner with the name of a framework": ((*NARROW, "--runner", "torch=x"), ("--runner", "'torch'")),
    "two runners of one name": ((*NARROW, "--runner", "mine=x", "--runner", "mine=y"), ("--runner", "'mine'")),
    "unknown weights": ((*NARROW, "--weights", "xavier"), ("--weights", "'xavier'", "paper", "scaled")),
    "weights that are not there": ((*NARROW, "--weights", "none.safetensors"), ("--weights", "none.safetensors")),
    "unknown inputs": ((*NARROW, "--inputs", "cats"), ("--inputs", "'cats'", "photographs")),
    "no batch": ((*NARROW, "--batch", "0"), ("--batch", "'0'")),
    "batch that memory cannot hold": (("--batch", "1000000"), ("--batch 1000000", "GiB", "smaller")),
    "seed that is no number": ((*NARROW, "--seed", "one"), ("--seed", "'one'")),
    "unknown spec": (("--spec", "lenet"), ("'lenet'", "alexnet_narrow")),
    "spec that is a folder": (("--spec", "."), ("expected a spec file, found a folder",)),
    "spec with a name too long": (("--spec", "a" * 5000), ("aaa",)),
}


@pytest.mark.parametrize(("arguments", "says"), OPTIONS.values(), ids=OPTIONS.keys())
def test_wrong_option_ends_with_one_line_and_nothing_written(
    tmp_path: Path, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert_refused(tmp_path, arguments, *says)


#: What is in the file, and what the one line says beside its name.
SPECS: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", (":1:",)),
    "not UTF-8": (b"format: lockstep-network/1\nname: \xff\n", (":2:", "UTF-8", "0xff")),
    "not YAML": (b"graph: [1, 2\nname: }{\n", ("spec.yaml:",)),
    "a million lines": (b"x: 1\n" * 10**6, ("bytes",)),
    "unknown key": (changed(("    groups: 2\n", "    groups: 2\n    dilation: 1\n")).encode(), (":16:", "'dilation'")),
    "missing pad": (changed(("    pads: 1\n", "")).encode(), ("'pads'", "conv1")),
    "wrong shape": (changed(("in_features: 72", "in_features: 73")).encode(), ("fc2", "73", "72")),
    "dimensions that no memory holds": (
        SMALL.replace("[4, 9, 7]", "[4, 2000000000, 2000000000]").encode(),
        ("input.shape", "elements"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("content", "says"), SPECS.values(), ids=SPECS.keys())
def test_wrong_spec_ends_with_one_line_and_nothing_written(
    tmp_path: Path, content: bytes, says: tuple[str, ...]
) -> None:
    (tmp_path / "spec.yaml").write_bytes(content)
    assert_refused(tmp_path, ("--spec", "spec.yaml"), "spec.yaml", *says)


def test_tensors_that_each_fit_but_not_together_end_with_one_line(tmp_path: Path) -> None:
    names = [f"relu{number}" for number in range(40)]
    graph = "".join(f"  - {{name: {name}, op: relu}}\n" for name in names)
    shapes = "".join(f"    {name}: [3, 20000, 20000]\n" for name in names)
    head = SMALL[: SMALL.index("graph:")].replace("[4, 9, 7]", "[3, 20000, 20000]")
    expect = f"expect:\n  shapes:\n{shapes}  parameters: 0\n  macs: 0\n  neurons: 0\n"
    (tmp_path / "spec.yaml").write_text(f"{head}graph:\n{graph}{expect}", encoding="utf-8")
    assert_refused(tmp_path, ("--spec", "spec.yaml"), "small needs about", "GiB", "smaller")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_spec_ends_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL, encoding="utf-8")
    (tmp_path / "spec.yaml").chmod(0)
    assert_refused(tmp_path, ("--spec", "spec.yaml"), "spec.yaml", "Permission denied")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read: Linux has one")
def test_a_spec_that_cannot_be_read_ends_with_one_line(tmp_path: Path) -> None:
    assert_refused(tmp_path, ("--spec", "/proc/self/mem"), "/proc/self/mem", "expected a readable file")


def weights_file(path: Path, name: str, change: str) -> None:
    """Weights of the small network, with one tensor wrong."""
    tensors = {each: np.ones(shape, np.float32) for each, shape in small().tensor_shapes.items()}
    match change:
        case "shape":
            tensors[name] = tensors[name][:-1]
        case "dtype":
            tensors |= {name: tensors[name].astype(np.float16)}
        case "missing":
            del tensors[name]
        case "unknown":
            tensors[name] = np.ones(1, np.float32)
    write(path, tensors)


@pytest.mark.parametrize(
    ("change", "name", "says"),
    [
        ("shape", "conv1.weight", ("'conv1.weight'", "[6, 2, 3, 3]", "[5, 2, 3, 3]")),
        ("dtype", "fc2.bias", ("'fc2.bias'", "float32", "float16")),
        ("missing", "fc2.weight", ("'fc2.weight'", "none")),
        ("unknown", "fc9.weight", ("'fc9.weight'",)),
    ],
)
def test_weights_that_do_not_fit_end_with_one_line(
    tmp_path: Path, change: str, name: str, says: tuple[str, ...]
) -> None:
    (tmp_path / "spec.yaml").write_text(SMALL, encoding="utf-8")
    weights_file(tmp_path / "mine.safetensors", name, change)
    assert_refused(tmp_path, ("--spec", "spec.yaml", "--weights", "mine.safetensors"), "mine.safetensors", *says)


@pytest.mark.parametrize("content", [b"", b"nonsense" * 100, (2**60).to_bytes(8, "little") + b"{}"])
def test_weights_that_are_nonsense_end_with_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "mine.safetensors").write_bytes(content)
    assert_refused(tmp_path, (*NARROW, "--weights", "mine.safetensors"), "mine.safetensors", "expected")


RUNNER = f"mine={sys.executable} -m conformance.power.wrong_runner"


def test_a_device_that_is_not_there_is_named_and_could_not_be_run(tmp_path: Path) -> None:
    done = run(tmp_path, *NARROW, "--frameworks", "none", "--runner", RUNNER, "--device", "cuda", "--weights", "scaled")
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1] == "error: no cuda device: mine finds cpu"
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "reports").exists()


def test_a_right_runner_passes_and_leaves_three_files(tmp_path: Path) -> None:
    done = run(tmp_path, *NARROW, "--frameworks", "none", "--runner", RUNNER, "--weights", "scaled", "--report", "r")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed: " in done.stdout
    assert {path.name for path in (tmp_path / "r").iterdir()} == {
        "conformance.json", "conformance.md", "conformance.xml",
    }  # fmt: skip


def test_a_wrong_runner_diverges_at_the_tap_where_it_is_wrong(tmp_path: Path) -> None:
    runner = f"{RUNNER} one_element"
    done = run(tmp_path, *NARROW, "--frameworks", "none", "--runner", runner, "--weights", "scaled")
    assert done.returncode == 1
    assert "first divergence at conv5 (conv, local)" in " ".join(done.stdout.split())
    assert (tmp_path / "reports" / "conformance.json").exists()


def test_a_runner_that_does_not_start_could_not_be_run(tmp_path: Path) -> None:
    done = run(tmp_path, *NARROW, "--frameworks", "none", "--runner", "mine=/no/such/program", "--weights", "scaled")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert "errored" in done.stdout
