"""The power report: what is counted, what is kept of a run that was stopped, and the command line."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance import participants
from conformance.checks import Subject
from conformance.participants import Entrant, Files, Participant, errored, participants_of
from conformance.power import clean, command, planting
from conformance.power.catalogue import FAULTS
from conformance.power.clean import CleanReport, case_of
from conformance.power.fault import NARROW, NUMPY, Fault
from conformance.power.planting import plant, plantings_of
from conformance.power.report import Report, mark, misses
from conformance.power.rules import RULES
from conformance.power.spent import counting
from conformance.power.verdicts import CleanRun, Power, Verdict
from conformance.power.workbench import Bench, Run
from conformance.results import Case, Check, Outcome
from impls.client import Traced, Worker, WorkerError
from impls.frameworks import FRAMEWORKS, Variant
from impls.protocol import Trace
from spec.exits import Exit, InputError, NotRunError
from spec.journal import Journal
from spec.load import load
from spec.page import Page

BY_ID = {fault.id: fault for fault in FAULTS}
ALL, NONE = ({rule: {"output": flag, "taps": flag} for rule in RULES} for flag in (True, False))


def failure(tap: str, check: Check = Check.LOCAL, step: int | None = None, change: str = "") -> dict[str, Any]:
    explanations = [{"change": change}] if change else []
    return {
        "tap": tap,
        "check": str(check),
        "outcome": str(Outcome.FAILED),
        "step": step,
        "message": "off",
        "explanations": explanations,
    }


def silent(_: str) -> None:
    pass


# --- Verdicts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "caught", "at_tap"),
    [
        (None, False, False),
        (failure("norm2"), True, True),
        (failure("norm1"), True, False),
        (failure("norm2") | {"outcome": "errored"}, True, False),
    ],
)
def test_a_fault_is_caught_at_its_tap_or_elsewhere_or_not(
    found: dict[str, Any] | None, caught: bool, at_tap: bool
) -> None:
    verdict = Verdict(BY_ID["lrn_k"], "torch", found, NONE)
    assert (verdict.is_caught, verdict.is_at_tap) == (caught, at_tap)


@pytest.mark.parametrize(
    ("found", "at_tap"),
    [
        (failure("conv1.weight", Check.TRAJECTORY, 2), True),
        (failure("conv1.weight", Check.TRAJECTORY, 1), False),
        (failure("conv1.weight", Check.GRADIENT_PARAMETER, 2), False),
    ],
)
def test_a_fault_of_training_must_show_in_its_check_and_step(found: dict[str, Any], at_tap: bool) -> None:
    assert Verdict(BY_ID["momentum"], "jax", found, None).is_at_tap is at_tap


def test_an_explanation_must_be_the_first_and_is_counted_where_there_is_one() -> None:
    fault = replace(BY_ID["lrn_k"], explained_by="k: 1")
    right, wrong = (Verdict(fault, "torch", failure("norm2", change=change), NONE) for change in ("k: 1", "n: 3"))
    none = Verdict(replace(fault, explained_by=None), "torch", failure("norm2", change="k: 1"), NONE)
    assert (right.is_explained, wrong.is_explained, none.is_explained) == (True, False, None)


# --- The report ------------------------------------------------------------------------------------------------------


def report(*verdicts: Verdict) -> Report:
    right = [CleanRun("a case", "torch", NONE), CleanRun("a case", "onnx", ALL)]
    return Report(Power(list(verdicts), right, {"torch": "1"}, 723.0))


def test_totals_have_exact_intervals_and_other_rules_are_counted_on_the_same_runs() -> None:
    fault = BY_ID["lrn_k"]
    found = report(
        *(Verdict(fault, name, failure("norm2", change="k: 1"), ALL) for name in FRAMEWORKS),
        Verdict(BY_ID["momentum"], "torch", failure("conv1.weight", Check.TRAJECTORY, 2, "momentum: 0.8"), None),
    )
    assert str(found.totals["caught"]) == "5 of 5 (100.0%; 47.8% to 100.0%)"
    assert found.is_met
    others = found.others["allclose 1e-3"]
    assert (others["caught, by the output"].events, others["caught, by the output"].of) == (4, 4)
    assert (others["right networks rejected, by any tap"].events, others["right networks rejected, by any tap"].of) == (
        1,
        2,
    )
    fields = json.loads(found.json_text())
    assert len(fields["faults"]) == 5
    assert fields["is_met"] is True
    text = found.markdown_text()
    assert "It took 12 min 3 s on " in text
    assert "these must pass first; [others](#false-alarms)" in text
    assert "| `lrn_k` | lrn: k | k = 1 instead of 2 | `norm2` | ✅ | ✅ | ✅ | ✅ |" in text


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (None, "lrn_k in torch: expected to be caught at norm2; the suite saw nothing wrong"),
        (failure("norm1"), "lrn_k in torch: expected at norm2, found at norm1, local, step None: off"),
        (failure("norm2", change="n: 3"), "lrn_k in torch: expected the explanation k: 1, found n: 3"),
    ],
)
def test_what_is_missed_is_named_and_fails(found: dict[str, Any] | None, says: str) -> None:
    verdict = Verdict(BY_ID["lrn_k"], "torch", found, NONE)
    assert misses([verdict]) == [says]
    assert not report(verdict).is_met


def test_a_fault_of_no_class_that_can_be_diagnosed_has_a_mark_of_its_own() -> None:
    fault = BY_ID["stale_tensor"]
    assert fault.explained_by is None
    found = report(
        Verdict(fault, "numpy", failure("conv3"), NONE), Verdict(BY_ID["lrn_k"], "torch", failure("norm2"), NONE)
    )
    assert [mark(verdict) for verdict in (*found.power.verdicts, None)] == ["☑️", "🔎", ""]
    assert "no class that can be diagnosed (1 of 2)" in found.tables()


def test_parts_of_a_run_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([10.0, 15.0, 15.0, 100.0, 101.0, 102.0])
    monkeypatch.setattr("conformance.power.spent.time.monotonic", lambda: next(clock))
    totals = []
    for _ in range(2):
        with counting(Journal(tmp_path / "kept.jsonl", {})) as spent_s:
            totals.append(spent_s())
    assert totals == [5.0, 6.0]


def test_a_false_alarm_is_named_and_bounded() -> None:
    right = {"torch": {"case": "a", "alarm": "", "rejected_by": ALL}}
    wrong = {"torch": {"case": "b", "alarm": "conv1, local: off", "rejected_by": NONE}}
    silent = CleanReport([right] * 59, {"torch": "1"}, 60.0)
    assert silent.is_met
    assert "at most 4.95% with 95% confidence" in silent.tables()
    alarmed = CleanReport([right, wrong], {"torch": "1"}, 60.0)
    assert not alarmed.is_met
    assert alarmed.alarms == [("b in torch", "conv1, local: off")]
    assert alarmed.others["cosine 0.99"]["taps"].events == 1
    assert json.loads(alarmed.json_text())["false_alarms"]["events"] == 1


def test_right_cases_differ_and_are_the_same_again() -> None:
    cases = [(network.sha256, case) for network, case in map(case_of, range(16))]
    assert len(set(cases)) == 16
    assert cases == [(network.sha256, case) for network, case in map(case_of, range(16))]
    assert len({(case.weights, case.inputs) for _, case in cases}) == 4


# --- A run that was stopped ------------------------------------------------------------------------------------------

ONE: list[tuple[Fault, str]] = [(BY_ID["missing_tap"], NUMPY)]


def test_what_is_finished_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "power.jsonl"
    (verdict,) = plant({}, ONE, journal, silent).verdicts
    assert verdict.is_at_tap
    with journal.open("a") as file:
        file.write('{"run": "cut')  # as a run that is killed leaves it

    runs: list[object] = []
    run = Bench.run

    def counting(bench: Bench, participant: Participant, source: Path | None, files: Files) -> Run:
        runs.append(source)
        return run(bench, participant, source, files)

    monkeypatch.setattr(Bench, "run", counting)
    assert plant({}, ONE, journal, silent).verdicts == [verdict]
    assert not runs
    monkeypatch.setattr(planting, "code_hash", lambda: "other code")
    assert plant({}, ONE, journal, silent).verdicts == [verdict]
    assert len(runs) == 1


def outcomes(journal: Path) -> list[str]:
    """What is kept of cases: all but how long each part took."""
    lines = journal.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not json.loads(line)["name"].startswith("part ")]


def test_a_run_that_is_interrupted_keeps_what_was_finished_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = tmp_path / "power.jsonl"
    faults = [(fault, NUMPY) for fault in FAULTS if fault.runner and fault.check is None][:4]
    begun = []

    @contextmanager
    def started(*_: object) -> Iterator[list[None]]:
        yield [None]

    def run(bench: Bench, *_: object) -> Run:
        begun.append(bench)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1.0)  # it is at work while the run is told to end
        return Run([], None)

    monkeypatch.setattr(participants, "AT_ONCE", 1)
    monkeypatch.setattr(planting, "participants_of", started)
    monkeypatch.setattr(planting, "workers", lambda *_: nullcontext([]))
    monkeypatch.setattr(Bench, "run", run)
    with pytest.raises(KeyboardInterrupt):
        plant({}, faults, journal, silent)
    assert len(outcomes(journal)) == 1
    assert len(begun) == 2


# --- A worker that is lost -------------------------------------------------------------------------------------------


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first requests for a trace kill the worker, as many as there are elements."""
    left: list[int] = []
    ask = Worker.trace

    def killing(worker: Worker, request: Trace) -> Traced:
        if left:
            os.kill(worker.pid, left.pop())
        return ask(worker, request)

    monkeypatch.setattr(Worker, "trace", killing)
    return left


@pytest.fixture
def right_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    """The right runner in NumPy stands for all frameworks."""
    command = (sys.executable, "-m", "conformance.power.wrong_runner")
    entrant = Entrant(Variant(NUMPY, "cpu", "float32", "eager", "native"), command, None)
    monkeypatch.setattr(clean, "workers", lambda *_: participants_of(load(NARROW), [entrant], planting.settings()))


def test_a_planting_whose_worker_is_lost_is_run_once_more(tmp_path: Path, killed: list[int]) -> None:
    killed += [signal.SIGKILL]
    (verdict,) = plant({}, ONE, tmp_path / "power.jsonl", silent).verdicts
    assert verdict.is_at_tap
    assert not killed


def test_a_planting_that_is_lost_twice_is_no_verdict_and_is_not_kept(tmp_path: Path, killed: list[int]) -> None:
    journal = tmp_path / "power.jsonl"
    killed += [signal.SIGKILL] * 2
    with pytest.raises(NotRunError, match=r"numpy.*trace.*second try"):
        plant({}, ONE, journal, silent)
    assert not outcomes(journal)
    (verdict,) = plant({}, ONE, journal, silent).verdicts
    assert verdict.is_at_tap


@pytest.mark.usefixtures("right_runner")
def test_a_lost_worker_is_no_false_alarm(tmp_path: Path, killed: list[int]) -> None:
    journal = tmp_path / "clean.jsonl"
    killed += [signal.SIGKILL]
    assert clean.clean({}, 1, journal, silent).is_met
    once = outcomes(journal)
    killed += [signal.SIGKILL] * 2
    with pytest.raises(NotRunError, match="second try"):
        clean.clean({}, 2, journal, silent)
    assert outcomes(journal) == once
    assert clean.clean({}, 2, journal, silent).is_met


def test_a_framework_that_refuses_counts_and_other_rules_are_not_asked() -> None:
    subject = Subject(load(NARROW), Variant("torch", "cpu", "float32", "eager", "native"), "1", Case("a", "b", 0, 2))

    def run(kind: str) -> Run:
        return Run([errored(subject, "", Check.RUN, WorkerError(kind, "no"))], None)

    assert [run(kind).lost is None for kind in ("failed", "unsupported", "crashed", "hung", "out_of_memory")] == [
        True,
        True,
        False,
        False,
        False,
    ]
    refused = {"torch": {"case": "a", "alarm": "failed: no", "rejected_by": None}}
    right = {"torch": {"case": "b", "alarm": "", "rejected_by": NONE}}
    found = CleanReport([refused, right], {"torch": "1"}, 60.0)
    assert found.false.events == 1
    assert (found.others["cosine 0.99"]["taps"].events, found.others["cosine 0.99"]["taps"].of) == (0, 1)


def test_a_fault_is_planted_where_it_applies() -> None:
    faults = [BY_ID["lrn_k"], BY_ID["momentum"], BY_ID["echo"]]
    assert [name for _, name in plantings_of(faults, ["torch", "onnx"])] == ["torch", "onnx", "torch", NUMPY]


# --- The command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["--faults", "no_such_fault"],
        ["--frameworks", "theano"],
        ["--clean", "0"],
        ["--python", "onnx=/no/such/python"],
        ["more"],
    ],
)
def test_wrong_option_is_an_input_error(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        command.main([*arguments, "--report", str(tmp_path)])


def test_shipped_page_has_the_marks() -> None:
    command.PAGE.require()
    clean.PAGE.require()


@pytest.mark.parametrize(("found", "code"), [(failure("norm2", change="k: 1"), Exit.PASSED), (None, Exit.DIVERGED)])
def test_command_writes_reports_and_the_page(
    found: dict[str, Any] | None, code: Exit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- a -->\n<!-- b -->\n")
    monkeypatch.setattr(command, "PAGE", Page(page, "<!-- a -->", "<!-- b -->"))
    monkeypatch.setattr(command, "pythons_of", lambda *_: {"torch": "python"})

    def planted(pythons: object, plantings: list[tuple[Fault, str]], *_: object) -> Power:
        return Power([Verdict(fault, name, found, NONE) for fault, name in plantings], [], {"torch": "1"}, 60.0)

    monkeypatch.setattr(command, "plant", planted)
    arguments = ["--faults", "lrn_k", "--frameworks", "torch", "--write-docs", "--report", str(tmp_path / "reports")]
    assert command.main(arguments) is code
    assert {path.name for path in (tmp_path / "reports").iterdir()} == {"power.json", "power.md"}
    assert "| `lrn_k` |" in page.read_text()


def test_page_without_marks_is_told_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "PAGE", Page(tmp_path / "none.md", "a", "b"))
    with pytest.raises(NotRunError, match="expected a page for the table"):
        command.main(["--write-docs", "--report", str(tmp_path)])
