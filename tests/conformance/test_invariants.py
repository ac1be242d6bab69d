"""Invariants: a right variant has them all, and runners that break one fail that one, by name."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.invariants import COMPILERS, farthest, run_invariants
from conformance.participants import Entrant, Files, Settings, participants_of
from conformance.results import Case, Check, Outcome, Result
from impls.client import framework_command
from impls.environments import interpreter
from impls.frameworks import FrameworkName, Variant
from impls.generate import write_source
from spec.store import Store
from tests.conformance.synthetic import narrow

WORKER = str(Path(__file__).with_name("broken_worker.py"))
SETTINGS = Settings(threads=1, timeout_s=120, progress=lambda _: None)
ROOT = Path(__file__).parents[2]


def held(
    fault: str,
    framework: str = "mine",
    mode: str = "runner",
    batch: int = 2,
    command: tuple[str, ...] = (),
    source: Path | None = None,
) -> list[Result]:
    store = Store()
    case = Case("scaled", "noise", 0, batch)
    files = Files(case, store.weights_file(narrow(), "scaled", 0), store.input_file(narrow(), "noise", 0, batch))
    variant = Variant(framework, "cpu", "float32", mode, "native")
    entrant = Entrant(variant, command or (sys.executable, WORKER, fault), source)
    with participants_of(narrow(), [entrant], SETTINGS) as participants:
        (results,) = run_invariants(narrow(), participants, files)
    return results


def failed(results: list[Result]) -> set[tuple[Check, str]]:
    return {(result.check, result.tap) for result in results if result.outcome is not Outcome.PASSED}


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_a_right_runner_has_every_invariant() -> None:
    results = held("none")
    assert failed(results) == set()
    assert {result.check for result in results} == {
        Check.REPEATED,
        Check.PERMUTED_BATCH,
        Check.SINGLE_IMAGES,
        Check.SCALED_INPUT,
    }
    scaled = {result.operator for result in results if result.check is Check.SCALED_INPUT}
    assert scaled == {"conv", "relu", "max_pool", "flatten", "dense", "dropout"}


@pytest.mark.parametrize(
    ("fault", "check", "tap"),
    [
        ("sees_neighbours", Check.SINGLE_IMAGES, "fc8"),
        ("first_is_special", Check.PERMUTED_BATCH, "fc8"),
        ("clipped", Check.SCALED_INPUT, "relu5"),
        ("unsteady", Check.REPEATED, "fc8"),
    ],
)
def test_a_broken_invariant_fails_by_its_name(fault: str, check: Check, tap: str) -> None:
    results = held(fault)
    assert (check, tap) in failed(results)
    assert {result.outcome for result in results} == {Outcome.PASSED, Outcome.FAILED}


def test_a_faint_image_that_is_wrong_is_not_hidden_by_a_bright_one() -> None:
    expected = np.array([[1e4, 1e4], [1e-3, 1e-3]], np.float32)
    assert farthest(expected + np.array([[0], [1e-4]], np.float32), expected) == pytest.approx(0.1, rel=1e-4)
    assert np.isinf(farthest(expected + np.array([[np.nan], [0]], np.float32), expected))


def test_a_mode_that_gives_something_else_fails_and_the_others_do_not() -> None:
    results = held("modes_differ", "tensorflow", "compiled")
    modes = {result.tap: result.outcome for result in results if result.check is Check.MODES}
    assert modes == {"eager": Outcome.FAILED, "xla": Outcome.PASSED}


@pytest.mark.parametrize(
    ("framework", "mode", "others"),
    [("torch", "eager", {"compiled"}), ("jax", "compiled", {"eager"}), ("tensorflow", "compiled", {"eager", "xla"})],
)
def test_a_framework_has_every_invariant_in_each_of_its_modes(
    framework: FrameworkName, mode: str, others: set[str]
) -> None:
    command = tuple(framework_command(framework, interpreter(framework, lambda _: None)))
    source = write_source(narrow(), framework)
    results = held("none", framework, mode, command=command, source=source)
    allowed = set() if any(map(shutil.which, COMPILERS)) or framework != "torch" else {(Check.MODES, "compiled")}
    assert failed(results) == allowed
    assert {result.tap for result in results if result.check is Check.MODES} == others
    assert {result.check for result in results} >= {Check.REPEATED, Check.PERMUTED_BATCH, Check.SCALED_INPUT}


def test_a_mode_that_needs_a_compiler_is_skipped_by_name_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    (mode,) = [result for result in held("none", "torch", "eager") if result.check is Check.MODES]
    assert (mode.tap, mode.outcome) == ("compiled", Outcome.SKIPPED)
    assert "needs a C++ compiler, one of c++, g++, clang++; found none" in mode.message


def test_a_batch_of_one_image_skips_what_it_cannot_show() -> None:
    skipped = {result.check for result in held("none", batch=1) if result.outcome is Outcome.SKIPPED}
    assert skipped == {Check.PERMUTED_BATCH, Check.SINGLE_IMAGES}


def test_a_worker_that_does_not_start_is_errored() -> None:
    (result,) = held("none", command=("/no/such/program",))
    assert (result.check, result.outcome) == (Check.RUN, Outcome.ERRORED)
