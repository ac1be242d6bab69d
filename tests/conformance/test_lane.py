"""The training lane: who is in it, what a part sees, and that one who fails takes nobody along."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from conformance import suite
from conformance.checks import Subject
from conformance.lane import NO_BF16, NO_RECIPE, NO_TRAINING, OUT_OF_SCOPE, PARTS, parts_due, run_training
from conformance.part import Given, Part
from conformance.part_gradients import GradientsPart
from conformance.participants import Entrant, Files, Settings, participants_of
from conformance.results import Case, Check, Outcome, Result
from impls.client import Worker, WorkerError
from impls.frameworks import Dtype, Variant
from spec.network import Network
from spec.store import Store
from tests.conformance.synthetic import narrow
from tests.spec.networks import small

ROOT = Path(__file__).parents[2]
EXAMPLE = (sys.executable, str(ROOT / "tests" / "impls" / "example_runner.py"))
NUMPY = (sys.executable, "-m", "conformance.power.wrong_runner")


def entrant(name: str = "mine", command: tuple[str, ...] = NUMPY, dtype: Dtype = "float32") -> Entrant:
    return Entrant(Variant(name, "cpu", dtype, "runner", "runner"), command, None)


def files(network: Network | None = None, weights: Any = "scaled", seed: int = 0) -> Files:
    network, store = network or narrow(), Store()
    case = Case(weights, "noise", seed, 2)
    return Files(case, store.weights_file(network, weights, seed), store.input_file(network, "noise", seed, 2))


SETTINGS = Settings(threads=2, timeout_s=120, progress=lambda _: None)


def run(parts: Sequence[Part], *entrants: Entrant, network: Network | None = None) -> list[list[Result]]:
    network = network or narrow()
    with participants_of(network, entrants or [entrant()], SETTINGS) as participants:
        return run_training(network, participants, files(network), parts)


@dataclass
class Recorded:
    """A part that asks what a worker is called, and keeps what the lane gave it."""

    name: str = "recorded"
    reason: str = ""
    fails: Sequence[str] = ()
    """Whose answers fail, by framework."""
    error: Exception = field(default_factory=lambda: WorkerError("failed", "it did not want to"))
    others: dict[str, list[str]] = field(default_factory=dict)

    def skipped(self, given: Given) -> str:
        return self.reason

    def expected(self, given: Given, folder: Path) -> str:
        (folder / "fed").write_text("for all", encoding="utf-8")
        return str(folder / "fed")

    def ask(self, worker: Worker, given: Given, expected: str, folder: Path) -> str:
        assert Path(expected).read_text(encoding="utf-8") == "for all"
        assert list(folder.iterdir()) == [], "the folder is the worker's own"
        assert worker.loaded is not None and worker.loaded.weights == str(given.weights)
        if worker.name in self.fails:
            raise self.error
        return worker.name

    def results(self, subject: Subject, given: Given, expected: str, own: str, others: Sequence[str]) -> list[Result]:
        assert own == subject.variant.framework
        self.others[own] = list(others)
        return [subject.result(self.name, Check.DROPOUT, Outcome.PASSED)]


def said(results: Sequence[Result]) -> list[tuple[str, str, str, str]]:
    return [(result.tap, str(result.check), str(result.outcome), result.message) for result in results]


# --- Who is in it -----------------------------------------------------------------------------------------------------


def test_a_network_without_a_recipe_has_no_training_lane_and_the_report_says_so() -> None:
    (results,) = run(PARTS, network=small())
    assert said(results) == [("", "training", "skipped", NO_RECIPE)]


def test_a_runner_that_does_not_train_is_skipped_with_the_reason() -> None:
    (results,) = run(PARTS, entrant(command=EXAMPLE))
    assert said(results) == [("", "training", "skipped", NO_TRAINING)]
    assert NO_TRAINING == "the runner does not train (hello: trains is false)"


def test_onnx_is_skipped_with_a_reason_of_its_own() -> None:
    (results,) = run(PARTS, entrant("onnx", EXAMPLE))
    assert said(results) == [("", "training", "skipped", OUT_OF_SCOPE["onnx"])]
    assert OUT_OF_SCOPE["onnx"].startswith("the training graph is out of scope for ONNX: ")


def test_bf16_is_skipped_with_the_reason() -> None:
    (results,) = run(PARTS, entrant(dtype="bf16"))
    assert said(results) == [("", "training", "skipped", NO_BF16)]


def test_a_worker_that_does_not_start_is_errored_and_the_others_train() -> None:
    broken, right = run([Recorded()], entrant("broken", ("/no/such/program",)), entrant())
    ((tap, check, outcome, message),) = said(broken)
    assert (tap, check, outcome) == ("", "training", "errored")
    assert message.startswith("not_started: /no/such/program cannot be started")
    assert [result.outcome for result in right] == [Outcome.PASSED]


def test_a_worker_that_starts_only_when_all_is_over_is_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Worker.start

    def late(worker: Worker) -> None:
        time.sleep(0.3)
        start(worker)

    monkeypatch.setattr(Worker, "start", late)
    with participants_of(narrow(), [entrant("a"), entrant("b")], SETTINGS) as participants:
        pass
    assert [participant.worker.alive for participant in participants] == [False, False]


# --- Parts ------------------------------------------------------------------------------------------------------------


def test_a_part_sees_the_answers_of_the_others_and_not_its_own() -> None:
    part = Recorded()
    run([part], entrant("a"), entrant("b"), entrant("c"))
    assert part.others == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (WorkerError("failed", "it did not want to", ("last", "words")), "failed: it did not want to; last lines of"),
        (ValueError("a damaged file"), "nonsense: recorded: a damaged file"),
        (FileNotFoundError(2, "No such file or directory"), "nonsense: recorded: [Errno 2] No such file"),
    ],
)
def test_an_answer_that_fails_is_errored_at_its_part_and_the_next_part_goes_on(error: Exception, message: str) -> None:
    first, second = Recorded(fails=["a"], error=error), Recorded("second")
    one, other = run([first, second], entrant("a"), entrant("b"))
    assert [(result.tap, result.outcome) for result in one] == [
        ("recorded", Outcome.ERRORED), ("second", Outcome.PASSED),
    ]  # fmt: skip
    assert one[0].check is Check.TRAINING
    assert one[0].message.startswith(message)
    assert [result.outcome for result in other] == [Outcome.PASSED, Outcome.PASSED]
    assert first.others == {"b": []}


class Killed(Recorded):
    """A part in which the worker dies."""

    def ask(self, worker: Worker, given: Given, expected: str, folder: Path) -> str:
        os.kill(worker.pid, 9)
        worker.hello()
        raise AssertionError("the worker should be dead")


def test_a_worker_that_died_is_loaded_again_for_the_next_part() -> None:
    (results,) = run([Killed("killed"), GradientsPart()])
    assert said(results)[0][:3] == ("killed", "training", "errored")
    assert "crashed: " in results[0].message
    assert {result.outcome for result in results[1:]} == {Outcome.PASSED}
    assert len(results) > len(narrow().layers)


def test_a_part_that_does_not_apply_is_skipped_with_its_reason_and_nobody_is_asked() -> None:
    part = Recorded(reason="it is not the day")
    (results,) = run([part, Recorded("second")])
    assert said(results) == [
        ("recorded", "training", "skipped", "it is not the day"),
        ("second", "dropout", "passed", ""),
    ]
    assert part.others == {}


class Waiting(Recorded):
    """A part whose workers answer only once the oracle is at the next part."""

    def __init__(self, reached: threading.Event, waits: bool) -> None:
        super().__init__("waits" if waits else "reached")
        self.reached, self.waits = reached, waits

    def expected(self, given: Given, folder: Path) -> str:
        if not self.waits:
            self.reached.set()
        return super().expected(given, folder)

    def ask(self, worker: Worker, given: Given, expected: str, folder: Path) -> str:
        if self.waits:
            assert self.reached.wait(60)
        return super().ask(worker, given, expected, folder)


def test_the_oracle_answers_the_next_part_while_workers_answer_this_one() -> None:
    reached = threading.Event()
    (results,) = run([Waiting(reached, True), Waiting(reached, False)])
    assert [(result.tap, result.outcome) for result in results] == [
        ("waits", Outcome.PASSED), ("reached", Outcome.PASSED),
    ]  # fmt: skip


def test_parts_have_names_of_their_own_and_the_one_that_trains_is_the_last() -> None:
    names = [part.name for part in PARTS]
    assert len(set(names)) == len(names)
    assert (names[0], names[-1]) == ("gradients", "trajectory")


# --- Cases and lanes --------------------------------------------------------------------------------------------------


def checks(cases: Sequence[Files], lanes: Sequence[str], *parts: Part) -> dict[str, set[str]]:
    """The checks of each case."""
    (column,) = suite.run(narrow(), [entrant()], cases, SETTINGS, lanes, parts)
    found: dict[str, set[str]] = {}
    for result in column.results:
        found.setdefault(result.case, set()).add(str(result.check))
    return found


FORWARD = {"local", "end_to_end", "untapped", "precision"}


def test_a_lane_that_is_not_asked_for_is_not_run() -> None:
    case = files()
    assert checks([case], ["forward"], Recorded()) == {str(case.case): FORWARD}
    assert checks([case], ["training"], Recorded()) == {str(case.case): {"dropout"}}
    assert checks([case], ["forward", "training"], Recorded()) == {str(case.case): {*FORWARD, "dropout"}}


class OnlyWith(Recorded):
    """A part that applies to one set of weights."""

    def skipped(self, given: Given) -> str:
        return "" if given.case.weights == self.reason else f"not with {given.case.weights}"


def due(cases: Sequence[Files], *parts: Part, network: Network | None = None) -> dict[str, list[str]]:
    """The parts of each case."""
    network = network or narrow()
    return {str(case.case): [part.name for part in parts_due(network, case, cases, parts)] for case in cases}


def test_each_part_has_the_first_case_of_a_seed_that_it_applies_to() -> None:
    cases = [files(weights=weights, seed=seed) for seed in (0, 1) for weights in ("paper", "scaled")]
    parts = [Recorded("any"), OnlyWith("later", "scaled"), OnlyWith("none", "mine"), OnlyWith("first", "paper")]
    assert due(cases, *parts) == {
        "paper-noise-seed0-batch2": ["any", "none", "first"],
        "scaled-noise-seed0-batch2": ["later"],
        "paper-noise-seed1-batch2": ["any", "none", "first"],
        "scaled-noise-seed1-batch2": ["later"],
    }


def test_a_network_without_a_recipe_is_told_of_once() -> None:
    cases = [files(small()), replace(files(small()), case=Case("mine", "noise", 0, 2))]
    assert list(due(cases, Recorded(), network=small()).values()) == [["recorded"], []]


def test_every_part_has_a_case_by_default() -> None:
    cases = [files(weights=weights) for weights in ("paper", "scaled")]
    found = [name for names in due(cases, *PARTS).values() for name in names]
    assert sorted(found) == sorted(part.name for part in PARTS)
    for case in cases:
        training = narrow().training
        assert training is not None
        given = Given(narrow(), training, case.case, case.weights, case.input)
        assert not any(part.skipped(given) for part in parts_due(narrow(), case, cases, PARTS))


# --- The command ------------------------------------------------------------------------------------------------------


def conformance(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conformance", "--spec", "alexnet_narrow", "--frameworks", "none", *arguments]
    return subprocess.run(
        [*command, "--report", str(folder)], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False
    )


def test_a_right_runner_passes_both_lanes_and_the_report_shows_them(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--runner", f"mine={' '.join(NUMPY)}")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "conformance.json").read_text(encoding="utf-8"))
    assert report["format"] == "lockstep-conformance/1"
    found = {result["check"] for result in report["results"]}
    assert found >= {*FORWARD, "gradient_input", "gradient_parameter", "loss", "loss_gradient", "trajectory"}
    text = (tmp_path / "conformance.md").read_text(encoding="utf-8")
    assert text.count("\n| tap |") == 3
    assert "| loss | value / gradient | ✅ " in text


def test_a_wrong_gradient_diverges_at_its_operator_and_nothing_does_forward(tmp_path: Path) -> None:
    arguments = ["--lanes", "training", "--weights", "scaled", "--runner", f"mine={' '.join(NUMPY)} tie_split"]
    done = conformance(tmp_path, *arguments)
    assert done.returncode == 1, done.stderr
    assert "first divergence at pool2 (max_pool, gradient of the input): gradient of norm2: at [" in " ".join(
        done.stdout.split()
    )


def test_the_training_lane_may_be_run_in_part_and_on_fewer_seeds(tmp_path: Path) -> None:
    arguments = ["--parts", "gradients", "--seeds", "2", "--training-seeds", "1", "--weights", "scaled"]
    done = conformance(tmp_path, *arguments, "--runner", f"mine={' '.join(NUMPY)}")
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "conformance.json").read_text(encoding="utf-8"))["results"]
    found = {
        case: {own["check"] for own in results if own["case"] == case} for case in (own["case"] for own in results)
    }
    gradients = {"gradient_input", "gradient_parameter", "loss", "loss_gradient"}
    assert list(found.values()) == [FORWARD | gradients, FORWARD]


def test_a_runner_that_does_not_train_passes_and_is_told(tmp_path: Path) -> None:
    done = conformance(tmp_path, "--weights", "scaled", "--runner", f"mine={' '.join(EXAMPLE)}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"skipped mine: training: {NO_TRAINING}" in " ".join(done.stdout.split())
    assert "- mine: skipped training: the runner does not train" in (tmp_path / "conformance.md").read_text("utf-8")
