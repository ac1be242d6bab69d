"""One cell on a node: its report, its end, and what it waits for."""

import json
import os
import pickle
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gate.node import LostError, Outcome, Task, cache, perform

ROOT = Path(__file__).parents[2]
TASK = Task("a cell", (), "cpu", alone=False)


def program(text: str) -> Task:
    """A cell whose program is this, in place of the gate; its report is at `report`."""
    head = "import os, pathlib, sys, time\nreport = pathlib.Path(sys.argv[-1], 'gate.json')\nreport.parent.mkdir()\n"
    return replace(
        TASK, program=(sys.executable, "cell.py"), files={"cell.py": (head + textwrap.dedent(text)).encode()}
    )


def worker_of(task: Task, *, temporary: Path) -> "subprocess.Popen[bytes]":
    """A process that was given the task, as a worker of Ray is."""
    code = "import pickle, sys; from gate.node import perform; perform(pickle.load(sys.stdin.buffer))"
    own = os.environ | {"TMPDIR": str(temporary)}
    worker = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=ROOT, env=own)
    assert worker.stdin is not None
    worker.stdin.write(pickle.dumps(task))
    worker.stdin.close()
    return worker


def test_a_cell_leaves_its_report_and_its_exit_code() -> None:
    done = perform(program("report.write_text('{}')\nprint('error: last', file=sys.stderr)\nsys.exit(4)"))
    assert done == Outcome(4, "{}", "last")


def test_a_cell_that_is_killed_is_lost() -> None:
    with pytest.raises(LostError, match="ended by SIGKILL; so far"):
        perform(program("print('so far', file=sys.stderr, flush=True)\nos.kill(os.getpid(), 9)"))


def test_ray_s_own_variables_do_not_reach_a_cell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("LOCKSTEP_CACHE", "LOCKSTEP_CALIBRATIONS", "LOCKSTEP_ENVIRONMENTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCKSTEP_RUNS", "/the/node/s/own")
    names = "('OMP_NUM_THREADS', *(f'LOCKSTEP_{n}' for n in ('CACHE', 'CALIBRATIONS', 'ENVIRONMENTS', 'RUNS')))"
    told = perform(program(f"import json\nreport.write_text(json.dumps([os.environ.get(n) for n in {names}]))")).report
    kept = [str(cache(os.environ) / name) for name in ("tensors", "calibration.json", "environments")]
    assert json.loads(told or "") == [None, *kept, "/the/node/s/own"]
    assert cache(os.environ).is_relative_to(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_cell_ends_with_the_worker_that_was_given_it(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    task = program(f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\ntime.sleep(60)")
    with worker_of(task, temporary=tmp_path) as worker:
        wait_until(lambda: pid_file.exists() and pid_file.read_text(encoding="utf-8") != "")
        worker.kill()
    pid = int(pid_file.read_text(encoding="utf-8"))
    wait_until(lambda: not is_running(pid))


def test_a_cell_that_measures_time_waits_for_all_others(tmp_path: Path) -> None:
    def started(alone: bool, name: str) -> "subprocess.Popen[bytes]":
        text = f"pathlib.Path({str(tmp_path)!r}, {name!r}).touch()\ntime.sleep(60)"
        return worker_of(replace(program(text), alone=alone), temporary=tmp_path)

    workers = [started(False, "first"), started(False, "second")]
    try:
        wait_until(lambda: (tmp_path / "first").exists() and (tmp_path / "second").exists())
        workers.append(started(True, "timed"))
        time.sleep(1.5)
        assert not (tmp_path / "timed").exists()
        for worker in workers[:2]:
            worker.kill()
        wait_until(lambda: (tmp_path / "timed").exists())
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60.0) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
