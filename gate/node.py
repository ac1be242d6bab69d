"""One cell on one node of a cluster: `python -m gate` as one would type it there, and the report that it left.

The gate runs in a process of its own. `python -m gate.node PID COMMAND…` starts it so that it ends with PID, the worker
that was given the cell: of a task that is lost, nothing goes on beside its repetition.
"""

import ctypes
import fcntl
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gate.child import follow
from spec.exits import Exit

ROOT = Path(__file__).parents[1]
#: -P: what lies in the folder that it is started in is no part of the program.
GATE = (sys.executable, "-P", "-m", "gate")

#: Where a node keeps what the next cell can use again, and how Lockstep's own variables call it.
KEPT = {
    "LOCKSTEP_CACHE": "tensors",
    "LOCKSTEP_CALIBRATIONS": "calibration.json",
    "LOCKSTEP_ENVIRONMENTS": "environments",
    "LOCKSTEP_RUNS": "runs",
}

#: Set by Ray for its own workers; left in, they would change what a cell computes, or how fast.
RAYS_OWN = ("OMP_NUM_THREADS",)

_PR_SET_PDEATHSIG = 1


class LostError(Exception):
    """The gate was ended from outside, with a signal: there is no verdict, and it may be tried again."""


@dataclass(frozen=True)
class Task:
    """A cell as a node is given it."""

    name: str
    arguments: tuple[str, ...]
    """Of `python -m gate`."""
    device: str
    alone: bool
    """Whether it measures time: then no other cell may run beside it."""
    threads: int | None = None
    """How many it starts; None: one a processor."""
    files: Mapping[str, bytes] = field(default_factory=dict)
    """What the arguments name, by path from the folder that the gate is started in."""
    places: Mapping[str, str] = field(default_factory=dict)
    """Where the node keeps what KEPT names, by variable; what is left out is the node's own matter."""
    program: tuple[str, ...] = ()
    """What runs the cell; nothing: the gate."""


@dataclass(frozen=True)
class Outcome:
    """How a cell ended on its node."""

    code: int
    report: str | None
    """The text of gate.json; None where there is none."""
    said: str
    """The last line on stderr."""


def perform(task: Task) -> Outcome:
    """Run a cell here and return what became of it; raises LostError."""
    with _held(task.alone) as lock, tempfile.TemporaryDirectory(prefix="lockstep-cell-") as folder:
        for name, content in task.files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        report = Path(folder, "reports", "gate.json")
        command = [*(task.program or GATE), *task.arguments, "--report", str(report.parent)]
        bound = [sys.executable, "-P", "-m", "gate.node", str(os.getpid()), *command]
        ended = follow(bound, _environment(os.environ, task.places), Path(folder), held=(lock,))
        if ended.code < 0:
            raise LostError("; ".join(filter(None, (f"ended by {_signal(-ended.code)}", ended.said))))
        return Outcome(ended.code, report.read_text(encoding="utf-8") if report.is_file() else None, ended.said)


def cache(environment: Mapping[str, str]) -> Path:
    """Where this node keeps what nothing else says the place of: one folder a host, since homes may be shared."""
    home = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home, "lockstep", platform.node() or "node")


def _environment(outer: Mapping[str, str], places: Mapping[str, str]) -> dict[str, str]:
    """The variables of a cell: the node's own, without Ray's, and with places that outlast a task."""
    own = {name: str(cache(outer) / folder) for name, folder in KEPT.items()}
    left = {name: value for name, value in outer.items() if name not in RAYS_OWN}
    return own | left | dict(places) | {"PYTHONPATH": str(ROOT)}


@contextmanager
def _held(alone: bool) -> Iterator[int]:
    """Wait until no cell that measures time is on this machine, or none at all; yields a descriptor that holds it.

    Ray's resources see to that within one cluster. This holds for several on one machine, and until the last process of
    a lost task is gone, which inherits the descriptor.
    """
    path = Path(tempfile.gettempdir(), f"lockstep-{os.getuid()}.lock")
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield file.fileno()


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _become(arguments: list[str]) -> None:
    """Become the command; the system ends it as soon as the process that asked for it is gone."""
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != int(parent):  # it went before the system was told
        sys.exit(Exit.NOT_RUN)
    os.execv(command[0], command)


if __name__ == "__main__":
    _become(sys.argv[1:])
