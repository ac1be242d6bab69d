"""Both sides run for real: what is the same, faults planted in a candidate, and what cannot be judged."""

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from conformance.power.catalogue import FAULTS
from conformance.power.fault import NARROW as NETWORK
from gate.drift import judge
from gate.numerics import Cases, compare, elsewhere, run, run_side
from gate.reported import Reported
from gate.results import GRADIENTS, Numerics, NumericVerdict, Side, Sides
from impls.environments import interpreters
from impls.frameworks import FrameworkName
from impls.generate import source_text
from spec.exits import InputError, NotRunError
from spec.load import load
from tests.gate.reports import content, identical, reported

ROOT = Path(__file__).parents[2]
WORKER = Path(__file__).with_name("planted_worker.py")
FRAMEWORKS: tuple[FrameworkName, ...] = ("torch", "jax", "tensorflow", "onnx")
NARROW = Cases(NETWORK, threads=2)
BY_ID = {fault.id: fault for fault in FAULTS}


def silent(_: str) -> None:
    """Nobody is told."""


# --- Frameworks ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pythons() -> dict[str, str]:
    return {**interpreters(FRAMEWORKS, print)}


@pytest.fixture(scope="module")
def clean(pythons: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return of_frameworks(pythons, tmp_path_factory.mktemp("clean"))


def of_frameworks(pythons: Mapping[str, str], folder: Path) -> Reported:
    """One run of conformance for all frameworks, and with few seeds; the gate itself runs one at a time."""
    words = [word for name, python in pythons.items() for word in ("--python", f"{name}={python}")]
    few = replace(NARROW, seeds=2, repeats=1).arguments("")
    return run(["--frameworks", ",".join(pythons), *words, *few], folder, silent)


def planted(fault_id: str, pythons: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Interpreters whose workers load sources with a fault in them."""
    fault, network = BY_ID[fault_id], load(NETWORK)
    wrong: dict[str, str] = {}
    for framework in FRAMEWORKS:
        text = source_text(fault.network(network) if fault.network else network, framework, "native")
        text = fault.planted(text, framework, network)
        source, python = folder / f"{framework}.py", folder / f"{framework}-python"
        source.write_text(text, encoding="utf-8")
        command = shlex.join([pythons[framework], str(WORKER), str(source)])
        python.write_text(f'#!/bin/sh\nshift 2\nexec {command} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        wrong[framework] = str(python)
    return wrong


def by_framework(found: list[Numerics]) -> dict[str, Numerics]:
    return {numerics.variant.framework: numerics for numerics in found}


def test_a_framework_beside_its_own_earlier_report_is_identical(
    pythons: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    python = pythons["torch"]
    sides = Sides("torch", Side("baseline", "same", python), Side("candidate", "same", python), ())
    earlier = run_side("torch", sides.baseline, NARROW, tmp_path, print)
    (found,) = compare(sides, NARROW, tmp_path / "out", print, baseline_report=Path(earlier.place))
    assert (found.verdict, found.first_moved, found.cases) == (NumericVerdict.IDENTICAL, None, 10)
    assert len(identical(found)) == len(load(NETWORK).layers)
    assert all(tap.repeatable for tap in found.taps)
    told = capsys.readouterr().out
    assert "baseline: paper-photographs-seed0-batch2: oracle" in told
    assert "candidate: scaled-photographs-seed4-batch2: torch" in told
    assert not (tmp_path / "out" / "baseline").exists()


@pytest.mark.parametrize(
    ("fault", "tap", "change"),
    [
        ("tf32_in_one_layer", "conv4", "precision float32 → tf32"),
        ("lrn_alpha_mean_for_sum", "norm1", "constant, semantics or precision"),
    ],
)
def test_a_fault_planted_in_a_candidate_is_found_at_its_tap(
    clean: Reported, pythons: dict[str, str], tmp_path: Path, fault: str, tap: str, change: str
) -> None:
    candidate = of_frameworks(planted(fault, pythons, tmp_path), tmp_path / "report")
    for found in by_framework(judge(clean, candidate)).values():
        assert found.verdict in (NumericVerdict.PRECISION, NumericVerdict.DIVERGED)
        assert found.first_moved is not None and found.decided_by is not None
        assert found.first_moved.tap == found.decided_by.tap == tap, found.reason
        assert found.decided_by.change == change
        assert len(identical(found)) == len(load(NETWORK).layers) - 1


# --- A runner of the user's own --------------------------------------------------------------------------------------


def of_runner(fault: str, folder: Path) -> Reported:
    command = shlex.join([sys.executable, "-m", "conformance.power.wrong_runner", *filter(None, [fault])])
    few = ["--spec", NETWORK, "--weights", "scaled", "--seeds", "2", "--repeats", "2"]
    few += ["--parts", "gradients", "--training-seeds", "1"]
    return run(["--frameworks", "none", "--runner", f"mine={command}", *few], folder, silent)


@pytest.mark.parametrize(
    ("fault", "tap", "check"),
    [
        ("tie_split", "pool2", "gradient_input"),
        ("gradient_of_the_other_group", "conv4.weight", "gradient_parameter"),
        ("bias_gradient_mean", "conv2.bias", "gradient_parameter"),
        ("loss_sum_for_mean", "fc8", "loss"),
    ],
)
def test_a_wrong_gradient_in_a_candidate_diverges_at_its_tap_and_nothing_forward_moves(
    own: Reported, tmp_path: Path, fault: str, tap: str, check: str
) -> None:
    (found,) = judge(own, of_runner(fault, tmp_path))
    assert found.verdict is NumericVerdict.DIVERGED
    assert found.decided_by is not None
    assert (found.decided_by.tap, found.decided_by.check) == (tap, check)
    assert len(identical(found)) == len(load(NETWORK).layers)


def test_the_same_gradients_are_identical_and_counted(own: Reported, tmp_path: Path) -> None:
    (found,) = judge(own, of_runner("", tmp_path))
    assert (found.verdict, found.left_out) == (NumericVerdict.IDENTICAL, "")
    gradients = [tap for tap in found.taps if tap.check in GRADIENTS]
    network = load(NETWORK)
    assert len(gradients) == len(network.layers) + sum(len(layer.parameter_shapes) for layer in network.layers) + 2
    assert all(tap.bits_before == tap.bits_after for tap in gradients)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return of_runner("", tmp_path_factory.mktemp("own"))


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("one_element", "single elements"),
        ("missing_tap", "no such tensor any more"),
        ("float16_sums", "precision float32 → tf32"),
    ],
)
def test_a_fault_of_a_runner_is_found_at_its_tap(own: Reported, tmp_path: Path, fault: str, change: str) -> None:
    (found,) = judge(own, of_runner(fault, tmp_path))
    assert found.verdict in (NumericVerdict.PRECISION, NumericVerdict.DIVERGED)
    assert found.decided_by is not None
    assert (found.decided_by.tap, found.decided_by.change) == (BY_ID[fault].tap, change), found.reason


# --- What is wrong, in one line --------------------------------------------------------------------------------------


def stored(folder: Path, text: str) -> Path:
    path = folder / "stored.json"
    path.write_text(text, encoding="utf-8")
    return path


NARROW_NETWORK = {"name": NETWORK, "sha256": load(NETWORK).sha256}

#: What is stored, and what the one line says beside the file's name.
WRONG: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
    "truncated": (lambda: json.dumps(content())[:-100], ("JSON",)),
    "no JSON": (lambda: "<testsuites/>", ("JSON",)),
    "empty": (lambda: "", ("JSON",)),
    "JSON of something else": (lambda: "[1, 2]", ("lockstep-conformance/1", "without a format")),
    "another format": (lambda: json.dumps(content() | {"format": "lockstep-bench/1"}), ("'lockstep-bench/1'",)),
    "a later format": (lambda: json.dumps(content() | {"format": "lockstep-conformance/2"}), ("conformance/2'",)),
    "another network": (lambda: json.dumps(content()), (NETWORK, "small", "run conformance again")),
    "an earlier spec": (
        lambda: json.dumps(content() | {"network": {"name": NETWORK, "sha256": "f" * 64}}),
        (NETWORK, "ffffffffffff"),
    ),
    "no results": (lambda: json.dumps(content() | {"results": []}), ("expected results, found none",)),
    "results that are none": (lambda: json.dumps(content() | {"results": "none"}), ("results", "'none'")),
    "results without digests": (
        lambda: json.dumps(content(lambda fields: {key: own for key, own in fields.items() if key != "digest"})),
        ("digest", "earlier Lockstep", "run conformance again"),
    ),
    "a figure that is none": (lambda: json.dumps(content(lambda fields: fields | {"rms": "low"})), ("rms", "'low'")),
    "a figure that is no number": (
        lambda: json.dumps(content(lambda fields: fields | {"rms": float("nan")})),
        ("rms",),
    ),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_stored_baseline_that_is_none_is_refused_before_anything_is_run(
    tmp_path: Path, text: Callable[[], str], says: tuple[str, ...]
) -> None:
    path = stored(tmp_path, text())
    sides = Sides("torch", Side("baseline", "stored", ""), Side("candidate", "none", "/no/such/python"), ())
    with pytest.raises(InputError) as error:
        compare(sides, NARROW, tmp_path / "out", silent, baseline_report=path)
    for part in ("stored.json", *says):
        assert part in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_stored_baseline_that_is_not_there_is_refused(tmp_path: Path) -> None:
    sides = Sides("torch", Side("baseline", "stored", ""), Side("candidate", "none", ""), ())
    with pytest.raises(InputError, match=r"none\.json: expected a conformance\.json, found: No such file"):
        compare(sides, NARROW, tmp_path, silent, baseline_report=tmp_path / "none.json")


def test_fewer_than_five_seeds_are_refused(tmp_path: Path) -> None:
    sides = Sides("torch", Side("baseline", "a", ""), Side("candidate", "b", ""), ())
    with pytest.raises(InputError, match="--seeds 4: expected at least 5"):
        compare(sides, replace(NARROW, seeds=4), tmp_path, silent)


def test_a_side_without_interpreter_ends_in_the_words_of_conformance(tmp_path: Path) -> None:
    sides = Sides("torch", Side("baseline", "a", "/no/such/python"), Side("candidate", "b", ""), ())
    with pytest.raises(InputError, match="--python torch: expected an interpreter, found none at '/no/such/python'"):
        compare(sides, NARROW, tmp_path, silent)


def test_an_earlier_report_never_passes_for_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "conformance.json").write_text(json.dumps(content()), encoding="utf-8")
    with pytest.raises(InputError):
        run(["--spec", "no_such_network"], tmp_path, silent)
    assert not (tmp_path / "conformance.json").exists()


def test_a_run_that_can_write_no_report_is_no_fault_of_the_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    with pytest.raises(NotRunError, match="expected to write"):
        run(["--spec", NETWORK, "--frameworks", "none", "--runner", "mine=true"], tmp_path / "file", silent)


def test_a_baseline_from_another_machine_is_called_that(tmp_path: Path) -> None:
    here = reported(tmp_path)
    there = replace(here, environments={"suite": {"processor": "b", "threads": "2"}})
    assert elsewhere(here, here) == ""
    assert elsewhere(there, here) == "the baseline's report was made elsewhere (processor b → a)"
