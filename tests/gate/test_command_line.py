"""`python -m gate` as a user runs it: wrong input ends with one line and nothing written, a stopped run goes on."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from gate import calibration
from gate.__main__ import main
from gate.report import read, write
from gate.results import Calibration, NumericVerdict, Quantity, Side, SpeedVerdict
from gate.verdict import Report
from impls.environments import uv_command
from spec.exits import Exit, NotRunError
from tests.gate.findings import CALIBRATION, numerics, report
from tests.gate.reports import content
from tests.gate.standin import interpreter
from tests.gate.wheels import offer

ROOT = Path(__file__).parents[2]
NARROW = ("--spec", "alexnet_narrow")
JAX = ("jax==0.9.2", "jax==0.10.2")


def environment(folder: Path) -> dict[str, str]:
    """With all that is kept between runs below `folder`, but for tensors, which are the same for all."""
    own = {"PYTHONPATH": str(ROOT), "LOCKSTEP_RUNS": str(folder / "runs"), "LOCKSTEP_ENVIRONMENTS": str(folder / "env")}
    return os.environ | own


def gate(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The command in `folder`, which keeps its report in `reports`."""
    return subprocess.run(
        [sys.executable, "-m", "gate", *arguments],
        cwd=folder,
        env=environment(folder) | more,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *says: str) -> None:
    """The exit code, no output, and one line that says all of `says`."""
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    for part in says:
        assert part in done.stderr


# --- Wrong input ------------------------------------------------------------------------------------------------------

#: The arguments, and what the one line says.
WRONG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nothing": ((), ("expected 2 of BASELINE and CANDIDATE, found 0",)),
    "one side": (JAX[:1], ("expected 2 of BASELINE and CANDIDATE, found 1",)),
    "three sides": ((*JAX, JAX[0]), ("found 3",)),
    "the same version twice": ((JAX[0], JAX[0]), ("expected two sides that differ", "'jax==0.9.2' twice")),
    "a range": (("jax==0.9.2", "jax>=0.10"), ("candidate", "one exact version", "'jax>=0.10'")),
    "no framework": (("requests==2.31.0", "requests==2.32.0"), ("torch, jax, tensorflow, onnx", "requests")),
    "two frameworks": (("jax==1.0 torch==1.0", "jax==2.0 torch==2.0"), ("--framework", "torch", "jax")),
    "an unknown framework": ((*JAX, "--framework", "mxnet"), ("--framework", "'mxnet'")),
    "no such interpreter": (("--baseline-python", "/no/such", JAX[1]), ("--baseline-python", "/no/such")),
    "no such requirement file": (("before.txt", "after.txt"), ("before.txt", "requirement file")),
    "no network": ((*JAX, "--spec", ""), ("--spec", "found ''", "alexnet")),
    "no Python": (("--baseline-python", "/bin/ls", JAX[1]), ("--baseline-python: /bin/ls: expected a Python",)),
    "an unknown network": ((*JAX, "--spec", "lenet"), ("'lenet'",)),
    "an unknown option": ((*JAX, "--tolerance", "1e-3"), ("--tolerance", "--help")),
    "an unknown device": ((*JAX, "--device", "tpu"), ("--device", "'tpu'")),
    "a mode of another framework": ((*JAX, "--mode", "xla"), ("--mode", "compiled, eager for jax", "'xla'")),
    "tf32 on a processor": ((*JAX, "--dtype", "tf32"), ("tf32", "--device cuda")),
    "too few seeds": ((*JAX, "--seeds", "4"), ("--seeds 4", "at least 5")),
    "gradients of more seeds": ((*JAX, "--gradients", "6"), ("--gradients 6", "at most --seeds 5")),
    "gradients of no number": ((*JAX, "--gradients", "all"), ("--gradients", "'all'")),
    "no batch": ((*JAX, "--batch", "0"), ("--batch", "'0'")),
    "looks that shrink": ((*JAX, "--looks", "20,12"), ("--looks", "'20,12'", "12,20,32")),
    "neither numerics nor speed": ((*JAX, "--numerics-only", "--speed-only"), ("--speed-only", "--numerics-only")),
    "a report and an interpreter": (
        ("--baseline-report", "a.json", "--baseline-python", "/a", JAX[1]),
        ("--baseline-report or --baseline-python",),
    ),
    "a report and speed alone": (("--baseline-report", "a.json", JAX[1], "--speed-only"), ("--baseline-report",)),
    "no such report": (("--baseline-report", "none.json", JAX[1]), ("none.json: expected a conformance.json",)),
    "no such acceptances": ((*JAX, "--accepted", "own.toml"), ("own.toml: expected a file of accepted changes",)),
    "sides to calibrate": ((*JAX, "--calibrate"), ("--calibrate", "no sides")),
    "a report of a calibration": (("--calibrate", "--report", "r"), ("--calibrate", "no --report")),
    "verdicts of a gate": ((*JAX, "--verdicts", "9"), ("--verdicts", "--calibrate")),
    "a list of nothing": (("list",), ("pairs of BASELINE and CANDIDATE, found 0",)),
    "a merge of nothing": (("merge",), ("REPORT.json", "python -m gate merge --help")),
    "a merge of what is not there": (("merge", "none.json"), ("none.json: expected a gate.json",)),
}


@pytest.mark.parametrize(("arguments", "says"), WRONG.values(), ids=WRONG.keys())
def test_wrong_input_ends_with_one_line_and_nothing_written(
    tmp_path: Path, arguments: tuple[str, ...], says: tuple[str, ...]
) -> None:
    assert_refused(gate(tmp_path, *arguments), 2, *says)
    assert files(tmp_path) == set()


@pytest.mark.skipif(not uv_command(), reason="uv is not on this machine; the gate needs it")
def test_a_version_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    offer(wheels)
    offline = {"UV_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels), "UV_FIND_LINKS": str(wheels)}
    done = gate(tmp_path, "jax==98.0", "jax==99.0", **offline)
    assert done.returncode == 2
    assert "98.0" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "reports").exists()


def test_an_interpreter_without_the_framework_is_refused(tmp_path: Path) -> None:
    old = interpreter(tmp_path, "old")
    new = interpreter(tmp_path, "new", modules=("numpy",), jax="2.0")
    done = gate(tmp_path, "--baseline-python", old, "--candidate-python", new)
    assert_refused(done, 2, "candidate", "none with jax, jaxlib")


def test_interpreters_with_the_same_packages_exercise_nothing(tmp_path: Path) -> None:
    sides = interpreter(tmp_path, "old"), interpreter(tmp_path, "new")
    done = gate(tmp_path, "--baseline-python", sides[0], "--candidate-python", sides[1])
    assert_refused(done, 2, "the upgrade was not exercised")


def test_interpreters_with_the_same_packages_are_judged_where_the_framework_is_named(tmp_path: Path) -> None:
    old, new = interpreter(tmp_path, "old"), interpreter(tmp_path, "new", "one_element")
    sides = ("--baseline-python", old, "--candidate-python", new, "--framework", "jax")
    done = gate(tmp_path, *sides, *NARROW, "--numerics-only", "--gradients", "0")
    assert done.returncode == 1, done.stderr
    assert "note: no package differs between the two interpreters" in done.stdout
    assert "conv5 (conv, local): single elements" in done.stdout


@pytest.mark.parametrize("half", ["--numerics-only", "--speed-only"])
def test_a_worker_that_runs_another_version_than_is_installed_is_no_verdict(tmp_path: Path, half: str) -> None:
    old, new = interpreter(tmp_path, "old", runs="0.9"), interpreter(tmp_path, "new", jax="2.0")
    done = gate(tmp_path, "--baseline-python", old, "--candidate-python", new, *NARROW, half, "--gradients", "0")
    assert (done.returncode, done.stdout) == (3, "")
    says = "error: the upgrade was not exercised: baseline: expected the worker to run jax 1.0, which is installed for "
    assert done.stderr.splitlines()[-1].startswith(says)
    assert "found that it runs 0.9" in done.stderr
    assert not (tmp_path / "reports").exists()


def test_a_stored_baseline_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(content() | {"format": "lockstep-bench/1"}), encoding="utf-8")
    assert_refused(gate(tmp_path, "--baseline-report", str(path), JAX[1]), 2, "old.json", "'lockstep-bench/1'")


def test_a_merge_with_another_format_is_refused_and_leaves_the_report_before(tmp_path: Path) -> None:
    (one, *_) = write(report(numerics()), tmp_path / "one")
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content()), encoding="utf-8")
    done = gate(tmp_path, "merge", str(one), str(other))
    assert_refused(done, 2, "other.json", "'lockstep-gate/1'", "'lockstep-conformance/1'")
    assert not (tmp_path / "reports").exists()


def test_a_report_that_has_no_place_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    (tmp_path / "reports").write_text("mine", encoding="utf-8")
    assert_refused(gate(tmp_path, *JAX), 3, "--report reports", "found no folder")
    assert files(tmp_path) == {"reports"}


def test_a_full_disk_leaves_the_report_before(tmp_path: Path) -> None:
    paths = [write(report(numerics(network=name)), tmp_path / name)[0] for name in ("alexnet", "caffenet")]
    assert gate(tmp_path, "merge", str(paths[0])).returncode == 0
    before = {path: path.read_bytes() for path in (tmp_path / "reports").iterdir()}
    full = subprocess.run(
        [sys.executable, "-B", "-m", "gate", "merge", *map(str, paths)],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
    )
    assert_refused(full, 3, "reports: expected to write the report", "File too large")
    assert {path: path.read_bytes() for path in (tmp_path / "reports").iterdir()} == before


def test_a_disk_that_fills_up_during_a_run_is_no_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")

    monkeypatch.setattr("gate.__main__.run", full)
    with pytest.raises(
        NotRunError, match="some/file: expected room to write, found: No space left on device; no report"
    ):
        main([*JAX, "--report", str(tmp_path)])
    assert files(tmp_path) == set()


# --- Runs -------------------------------------------------------------------------------------------------------------


def pair(folder: Path, worker: str = "") -> tuple[str, ...]:
    """Stand-ins for both sides, the candidate's with a fault."""
    old, new = interpreter(folder, "old"), interpreter(folder, "new", worker, jax="2.0")
    return ("--baseline-python", old, "--candidate-python", new, *NARROW)


def test_a_candidate_that_computes_something_else_does_not_pass(tmp_path: Path) -> None:
    done = gate(tmp_path, *pair(tmp_path, "float16_sums"), "--numerics-only")
    assert done.returncode == 1, done.stderr
    found = read(tmp_path / "reports" / "gate.json")
    (cell,) = found.cells
    assert cell.numerics is not None and cell.numerics.decided_by is not None
    assert (cell.numerics.verdict, cell.numerics.decided_by.tap) == (NumericVerdict.PRECISION, "fc6")
    assert "precision class changed alexnet_narrow, jax cpu float32 compiled native" in done.stdout
    assert "where: fc6 (dense, local): precision float32 → tf32" in done.stdout
    assert "--numerics-only" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("failed: numerics: 1 precision class changed; report: ")
    assert "numerics: alexnet_narrow: candidate:" in done.stderr
    assert (tmp_path / "reports" / "gate.md").read_text(encoding="utf-8").startswith("# ❌ Gate failed: jax 1.0 → 2.0")


def test_what_a_file_of_ones_own_accepts_passes(tmp_path: Path) -> None:
    own_entries = [
        f"""[[accepted]]
        framework = "jax"
        package = "jax"
        before = "==1.0"
        after = "==2.0"
        taps = ["*"]
        verdict = "{verdict}"
        reason = "known"
        link = "https://example.org/1"
        expires = {date.today() + timedelta(days=1)}
        """
        for verdict in ("diverged", "drifted")
    ]
    (tmp_path / "own.toml").write_text("\n".join(own_entries), encoding="utf-8")
    done = gate(tmp_path, *pair(tmp_path, "one_element"), "--numerics-only", "--accepted", "own.toml", "--part")
    assert done.returncode == 0, done.stderr  # another cell may need the entry about a drift
    (own,) = read(tmp_path / "reports" / "gate.json").runs
    assert [numerics.verdict for numerics in own.finding.numerics] == [NumericVerdict.ACCEPTED]
    assert (own.accepted_in, own.arguments[-2:]) == ("own.toml", ("--accepted", "own.toml"))
    assert [use.is_needed for use in own.finding.entries] == [True, False]
    alone = Report((replace(own, is_part=False),))
    assert (len(alone.stale), alone.exit) == (1, Exit.DIVERGED)


def test_a_stopped_run_leaves_no_report_and_goes_on_from_what_is_finished(tmp_path: Path) -> None:
    arguments = (*pair(tmp_path), "--batch", "1", "--looks", "6")
    line = stopped(tmp_path, arguments, at="speed: measure: block 2 ", environment=environment(tmp_path))
    assert line.startswith("error: interrupted; no report was written; the same command goes on")
    assert not (tmp_path / "reports").exists()

    done = gate(tmp_path, *arguments)
    assert done.returncode in (0, 1, 4), done.stderr  # what NumPy costs beside other work is no matter here
    assert "numerics: alexnet_narrow: finished before" in done.stderr
    assert "oracle" not in done.stderr
    (own,) = read(tmp_path / "reports" / "gate.json").runs
    assert [numerics.verdict for numerics in own.finding.numerics] == [NumericVerdict.IDENTICAL]
    assert {effect.quantity for effect in own.finding.speed[0].effects} == set(Quantity)
    assert SpeedVerdict.ERRORED not in {effect.verdict for effect in own.finding.speed[0].effects}
    assert any("numerics of alexnet_narrow were finished" in note for note in own.notes)
    reused = next(note for note in own.notes if "blocks of speed were measured by an earlier run" in note)
    assert int(reused.split()[0]) >= 2  # block 0, which says how many calls fill a chunk, and block 1

    kept = [path.name for path in (tmp_path / "runs").iterdir()]
    assert len(kept) == 1 and kept[0].endswith(".finished")  # a finished run is measured anew


def test_a_cancelled_job_ends_like_a_stopped_run(tmp_path: Path) -> None:
    arguments = (*pair(tmp_path), "--numerics-only")
    start = "numerics: alexnet_narrow: baseline: "
    line = stopped(tmp_path, arguments, start, environment(tmp_path), signal.SIGTERM)
    assert line.startswith("error: interrupted; no report was written")
    assert not (tmp_path / "reports").exists()


def test_a_calibration_times_one_environment_against_itself_and_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[object, ...]] = []
    stored: list[Calibration] = []
    known = replace(CALIBRATION, verdicts=7)

    def calibrate(*arguments: object) -> Calibration:
        asked.append(arguments)
        return known

    monkeypatch.setattr(calibration, "calibrate", calibrate)
    monkeypatch.setattr(calibration, "store", stored.append)
    monkeypatch.setattr(calibration, "read", lambda conditions: None)
    monkeypatch.setenv("LOCKSTEP_CALIBRATIONS", str(tmp_path / "calibration.json"))
    python = interpreter(tmp_path, "python")
    assert main(["--calibrate", "--baseline-python", python, "--verdicts", "7", "--batch", "4"]) is Exit.PASSED
    ((framework, side, cells, _, verdicts, *_),) = asked
    assert (framework, verdicts, stored) == ("jax", 7, [known])
    assert isinstance(side, Side) and side.python == python
    assert isinstance(cells, list)
    assert [str(cell) for cell in cells] == ["alexnet_narrow, jax cpu float32 compiled native, batch 4"]
    assert "0 SLOWER and 3 undecided in 7 verdicts" in capsys.readouterr().out


def stopped(
    folder: Path,
    arguments: tuple[str, ...],
    at: str,
    environment: Mapping[str, str],
    by: signal.Signals = signal.SIGINT,
) -> str:
    """Run the gate, stop it once it says `at`; its last line. It must end with 3."""
    with subprocess.Popen(
        [sys.executable, "-m", "gate", *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stderr is not None and process.stdout is not None
        lines: list[str] = []
        told: list[str] = []
        for line in process.stderr:
            lines.append(line)
            if line.startswith(at) and len(told) == 0:
                told.append(line)
                process.send_signal(by)
        assert process.stdout.read() == ""
    assert process.returncode == 3, lines[-3:]
    assert [line for line in lines if line.startswith("error")] == lines[-1:]
    return lines[-1]
