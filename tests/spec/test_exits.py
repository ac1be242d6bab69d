"""How every command ends where something other than its input goes wrong: exit code 3 and one line."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def program(body: str, *before: str) -> "subprocess.Popen[str]":
    """A command whose `main` is `body`, with words before it."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    text = f"import os, signal, sys, time\nfrom spec.exits import Exit, end\ndef main(_):\n{lines}end(main)\n"
    command = [*before, sys.executable, "-c", text]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, standard output and standard error."""
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_memory_that_is_not_there_is_one_line() -> None:
    code, out, err = ended(program("import numpy as np\nnp.empty(2**50)"))
    assert (code, out) == (3, "")
    assert err == (
        "error: expected enough memory, found: Unable to allocate 8.00 PiB for an array with shape "
        "(1125899906842624,) and data type float64\n"
    )


def test_memory_error_without_words_is_one_line() -> None:
    assert ended(program("raise MemoryError")) == (3, "", "error: expected enough memory, found: none left\n")


#: A fault of our own code, below `main`: a spec that is None.
FAULT = "from spec.load import find; find(None)"


def test_what_nobody_expected_is_one_line_that_says_where_and_no_verdict() -> None:
    code, out, err = ended(program(FAULT))
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert re.match(r"error: spec/load\.py:\d+: unexpected \w+Error: .*; LOCKSTEP_TRACEBACK=1 shows .*$", err)


def test_a_file_that_cannot_be_removed_is_one_line_and_no_verdict(tmp_path: Path) -> None:
    code, _, err = ended(program(f"os.unlink({str(tmp_path)!r})"))
    assert (code, err.count("\n")) == (3, 1)
    assert str(tmp_path) in err


def test_the_traceback_is_there_for_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_TRACEBACK", "1")
    code, _, err = ended(program(FAULT))
    assert code == 3
    assert err.startswith("Traceback (most recent call last)")
    assert err.splitlines()[-1].startswith("error: spec/load.py:")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_being_told_to_end_runs_what_cleans_up(number: signal.Signals) -> None:
    process = program("try:\n    print('begun', flush=True); time.sleep(60)\nfinally:\n    print('cleaned up')")
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    assert ended(process) == (3, "cleaned up\n", "error: interrupted; no report was written\n")


def test_a_signal_that_is_ignored_stays_so() -> None:
    process = program("os.kill(os.getpid(), signal.SIGHUP)\nreturn Exit.PASSED", "nohup")
    assert ended(process)[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_standard_output_that_is_full_is_one_line() -> None:
    command = [sys.executable, "-m", "spec", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr
