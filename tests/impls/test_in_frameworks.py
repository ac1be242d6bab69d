"""Generated sources in their frameworks: every operator conforms in every mode, and other readers accept them too."""

import json
import subprocess
import sys
from collections import Counter
from itertools import product, zip_longest
from pathlib import Path

import pytest

from impls.environments import interpreter
from impls.frameworks import CUDA_MODES, FRAMEWORKS, LOWERINGS, MODES, Lowering
from impls.generate import write_source
from spec import tensors
from spec.load import load
from spec.weights import weights
from tests.impls.goldens import HERE, SPECS

ROOT = Path(__file__).parents[2]
EXAMPLE = HERE / "example_runner.py"
#: All modes of all frameworks that a CPU has, in as few runs as there can be: one mode a framework and run.
ROUNDS = [
    {framework: mode for framework, mode in zip(FRAMEWORKS, modes, strict=True) if mode}
    for modes in zip_longest(*([m for m in MODES[name] if m not in CUDA_MODES] for name in FRAMEWORKS))
]


def conformance(folder: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """What `python -m conformance` reports, if it passed."""
    command = [sys.executable, "-m", "conformance", "--locked", "--lanes", "forward", *arguments]
    command += ["--report", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((folder / "conformance.json").read_text(encoding="utf-8"))
    assert (report["format"], report["verdict"]) == ("lockstep-conformance/1", "passed")
    found: dict[str, list[dict[str, str]]] = report
    return found


def run_in(framework: str, program: str, *arguments: object) -> str:
    """What a program prints in the environment of a framework."""
    command = [str(interpreter(framework, print)), "-W", "error", "-c", program, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("modes", ROUNDS, ids=lambda modes: "-".join(f"{name}_{mode}" for name, mode in modes.items()))
def test_every_operator_conforms_in_every_mode(spec: str, modes: dict[str, str], tmp_path: Path) -> None:
    if spec == "alexnet_narrow":  # ONNX's own evaluator takes a minute for it
        modes = {framework: mode for framework, mode in modes.items() if mode != "reference"}
    chosen = [word for framework, mode in modes.items() for word in ("--mode", f"{framework}={mode}")]
    report = conformance(
        tmp_path,
        "--spec",
        spec,
        "--lowering",
        ",".join(LOWERINGS),
        "--weights",
        "scaled",
        "--frameworks",
        ",".join(modes),
        *chosen,
    )
    assert {variant["framework"]: variant["mode"] for variant in report["variants"]} == modes
    taps = [layer.name for layer in load(spec).layers]
    expected = Counter({("local", tap): 1 for tap in taps} | {("end_to_end", tap): 1 for tap in taps})
    expected["untapped", taps[-1]] = 1
    expected["precision", "network"] = 1
    for framework, lowering in product(modes, LOWERINGS):
        results = [
            result for result in report["results"] if (result["framework"], result["lowering"]) == (framework, lowering)
        ]
        assert Counter((result["check"], result["tap"]) for result in results) == expected
        # ONNX's own evaluator is wrong in LRN (conformance/known.py), and right in the elementary operators of `fast`.
        wrong_lrn = (modes[framework], lowering) == ("reference", "native")
        assert {result["outcome"] for result in results} == {"passed", *(["xfailed"] if wrong_lrn else [])}


#: `native` in torch computes normalisation with a pooling that it lacks in bfloat16 on a CPU, and says so.
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("modes", [("eager", "compiled"), ("compiled", "eager")], ids="-".join)
def test_every_operator_conforms_in_bfloat16(spec: str, modes: tuple[str, str], tmp_path: Path) -> None:
    chosen = [f"--mode={framework}={mode}" for framework, mode in zip(("torch", "jax"), modes, strict=True)]
    words = ("--spec", spec, "--dtype", "bf16", "--lowering", "fast", "--frameworks", "torch,jax", *chosen)
    report = conformance(tmp_path, *words)
    assert {result["outcome"] for result in report["results"]} == {"passed"}
    assert {variant["observed_precision"] for variant in report["variants"]} == {"bfloat16"}


CAPTURED = """
from contextlib import contextmanager

import torch

from impls.run_torch import WARM_UP_CALLS, captured

happened = []


class Stream:
    def __init__(self, name="side"):
        self.name = name

    def wait_stream(self, other):
        happened.append(f"{self.name} waits for {other.name}")


class Graph:
    def replay(self):
        happened.append("replay")


@contextmanager
def within(what):
    happened.append(f"enter {what}")
    yield
    happened.append(f"leave {what}")


torch.cuda.Stream, torch.cuda.CUDAGraph = Stream, Graph
torch.cuda.current_stream = lambda: Stream("main")
torch.cuda.stream = lambda stream: within(stream.name)
torch.cuda.graph = lambda graph: within("capture")
outputs = []


def call():
    happened.append("call")
    outputs.append(object())
    return outputs[-1]


replay = captured(call)
captures = len(happened)
assert replay() is replay() is outputs[-1]
expected = ["side waits for main", "enter side", *["call"] * WARM_UP_CALLS, "leave side", "main waits for side"]
assert happened[:captures] == [*expected, "enter capture", "call", "leave capture"], happened
assert happened[captures:] == ["replay", "replay"], happened
print("as torch documents it")
"""


def test_cuda_graph_is_captured_after_a_warm_up_on_a_side_stream_and_replayed_without_a_call() -> None:
    """With stand-ins for torch's streams and graphs: what they are asked for, in which order."""
    assert run_in("torch", CAPTURED) == "as torch documents it\n"


ELSEWHERE = """
import sys
import warnings

import numpy as np

from impls import run_onnx
from impls.protocol import Load, RefusedError

warnings.simplefilter("ignore")  # ONNX Runtime warns of it, and goes on


class Hopeful(run_onnx.OnnxRunner):
    def devices(self):
        return ["cpu", "cuda"]  # as ONNX Runtime's own list where the build has CUDA and the machine has none


runner = Hopeful()
runner.load(Load("", sys.argv[1], sys.argv[2], "cuda", "float32", "compiled", "native", 1))
try:
    runner.trace(np.zeros((1, 3, 135, 99), np.float32), None, ["fc8"])
except RefusedError as error:
    print(error.kind, error)
"""


def test_onnx_runtime_that_would_compute_elsewhere_is_refused(tmp_path: Path) -> None:
    network = load("alexnet_narrow")
    tensors.write(tmp_path / "weights", weights(network, "scaled", 0))
    printed = run_in("onnx", ELSEWHERE, write_source(network, "onnx", tmp_path), tmp_path / "weights")
    assert printed.startswith("missing_device no cuda device for onnx; its CUDAExecutionProvider did not start")


def test_a_runner_of_a_stranger_conforms(tmp_path: Path) -> None:
    """The example knows impls/README.md only; without substitution it has no local checks, which are then skipped."""
    runners = {"mine": f"{sys.executable} {EXAMPLE}", "plain": f"{sys.executable} {EXAMPLE} --plain"}
    chosen = [word for name, command in runners.items() for word in ("--runner", f"{name}={command}")]
    report = conformance(tmp_path, "--spec", "alexnet_narrow", "--frameworks", "onnx", *chosen)
    outcomes = Counter(
        (result["framework"], result["check"], result["outcome"])
        for result in report["results"]
        if result["framework"] in runners
    )
    cases = len({result["case"] for result in report["results"]})
    taps = cases * len(load("alexnet_narrow").layers)
    assert outcomes == {
        ("mine", "local", "passed"): taps,
        ("mine", "end_to_end", "passed"): taps,
        ("mine", "untapped", "passed"): cases,
        ("mine", "precision", "passed"): cases,
        ("plain", "local", "skipped"): taps,
        ("plain", "end_to_end", "passed"): taps,
        ("plain", "untapped", "passed"): cases,
        ("plain", "precision", "skipped"): cases,
    }
    skipped = {result["message"] for result in report["results"] if result["outcome"] == "skipped"}
    assert skipped == {"the runner cannot substitute what operators read (hello: substitutes is false)"}


def test_the_example_imports_nothing_of_lockstep() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    imported = {
        line.split()[1].partition(".")[0] for line in text.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names | {"numpy"}


CHECKED_MODEL = """
import sys

import numpy as np
import onnx

from impls.runner import import_source

source, shapes, taps = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
model = import_source(source).build({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
onnx.checker.check_model(model, full_check=True)
inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
for value in (*inferred.graph.value_info, *inferred.graph.output):
    if value.name in taps:
        dims = [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        print(value.name, value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT, dims)
"""


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_onnx_model_passes_the_full_checker_and_strict_shape_inference(
    spec: str, lowering: Lowering, tmp_path: Path
) -> None:
    network = load(spec)
    source = write_source(network, "onnx", tmp_path, lowering)
    taps = {layer.name: ["N", *layer.output_shape] for layer in network.layers}
    printed = run_in("onnx", CHECKED_MODEL, source, network.tensor_shapes, list(taps))
    assert sorted(printed.splitlines()) == sorted(f"{name} True {shape}" for name, shape in taps.items())


STATE = """
import sys
from pathlib import Path

import torch

from impls.runner import import_source
from spec.tensors import read

tensors = {name: torch.from_numpy(value.copy()) for name, value in read(Path(sys.argv[2])).items()}
model = import_source(sys.argv[1]).load(tensors)
for name, value in model.state_dict().items():
    print(name, tuple(value.shape), not value.is_meta and value.data_ptr() == tensors[name].data_ptr())
"""


def test_names_of_the_torch_module_are_the_canonical_ones(tmp_path: Path) -> None:
    network = load("alexnet_narrow")
    tensors.write(tmp_path / "weights", weights(network, "scaled", 0))
    printed = run_in("torch", STATE, write_source(network, "torch", tmp_path), tmp_path / "weights")
    expected = [f"{name} {shape} True" for name, shape in network.tensor_shapes.items()]
    assert printed.splitlines() == expected


def test_onnx_s_own_evaluator_runs_the_same_model_but_for_its_normalisation(tmp_path: Path) -> None:
    """Strict: were its LRN right, the entry of conformance/known.py would have to go."""
    chosen = ("--spec", "alexnet_narrow", "--frameworks", "onnx", "--mode=onnx=reference", "--weights", "scaled")
    report = conformance(tmp_path, *chosen, "--lanes", "forward")
    local = {result["tap"]: result["outcome"] for result in report["results"] if result["check"] == "local"}
    norms = {"norm1", "norm2"}
    assert {tap for tap, outcome in local.items() if outcome == "xfailed"} == norms
    assert {outcome for tap, outcome in local.items() if tap not in norms} == {"passed"}
