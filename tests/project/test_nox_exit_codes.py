"""The exit codes of our programs hold through nox, which by itself ends every failure with 1."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: Sessions that end as our programs do, through the very `run` of our noxfile.
SESSIONS = """
from noxfile_of_lockstep import nox, run

nox.options.default_venv_backend = "none"

@nox.session
def ends(session):
    for code in session.posargs:
        run(session, "python", "-c", f"import sys; print('words'); print('cause', file=sys.stderr); sys.exit({code})")

@nox.session
def ends_by_signal(session):
    run(session, "python", "-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")

@nox.session
def ends_with_3(session):
    run(session, "python", "-c", "raise SystemExit(3)")
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(ROOT / "noxfile.py", tmp_path / "noxfile_of_lockstep.py")
    (tmp_path / "noxfile.py").write_text(SESSIONS, encoding="utf-8")
    return tmp_path


def nox(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    command = [sys.executable, "-m", "nox", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4])
def test_an_exit_code_of_ours_holds(folder: Path, code: int) -> None:
    assert nox(folder, "-s", "ends", "--", str(code)).returncode == code


def test_any_other_exit_code_is_1(folder: Path) -> None:
    assert nox(folder, "-s", "ends", "--", "77").returncode == 1


def test_a_signal_is_1(folder: Path) -> None:
    assert nox(folder, "-s", "ends_by_signal").returncode == 1


def test_the_first_failure_ends_its_session_and_names_the_code(folder: Path) -> None:
    done = nox(folder, "-s", "ends", "--", "0", "2", "4")
    assert done.returncode == 2
    assert done.stdout.count("words") == 2


def test_a_later_session_still_runs_and_the_first_failure_names_the_code(folder: Path) -> None:
    done = nox(folder, "-s", "ends_with_3", "ends", "--", "2")
    assert done.returncode == 3
    assert "cause" in done.stderr


def test_what_a_program_writes_to_stderr_and_stdout_stays_apart(folder: Path) -> None:
    done = nox(folder, "-s", "ends", "--", "2")
    assert "words" in done.stdout.splitlines()
    assert "cause" in done.stderr.splitlines()
    assert "cause" not in done.stdout.splitlines()
    assert "Session ends failed" in done.stderr + done.stdout
