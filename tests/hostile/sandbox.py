"""Commands of Lockstep, each in a child of one process that has imported them: `python -m tests.hostile.sandbox`.

A line of JSON on standard input names a folder, a program and its arguments; a line on standard output says how it
ended and what it took, as the system counted it. Importing once and forking saves most of a second a command.
"""

import importlib
import json
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from spec.exits import Exit, end

#: What follows `python -m`, and the module that has its `main`.
PROGRAMS = {
    "bench": "bench.__main__",
    "conformance": "conformance.__main__",
    "gate": "gate.__main__",
    "impls.generate": "impls.generate",
    "impls.read_onnx": "impls.read_onnx",
    "spec": "spec.__main__",
}

#: A child may have so much beside what it was born with, take so much processor time, and be there so long.
MEMORY_BYTES = 500 * 2**20
CPU_S = 10
WALL_S = 30

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    """The exit code; minus the number of the signal that ended it."""
    cpu_s: float
    peak_bytes: int
    stdout: str
    stderr: str


def run(folder: Path, main: Callable[[list[str]], Exit], arguments: list[str]) -> Ended:
    """Run a command in a child, and wait for its end."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            _become(folder, main, arguments)
        _, status, used = os.wait4(child, 0)
        stdout.seek(0)
        stderr.seek(0)
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            cpu_s=used.ru_utime + used.ru_stime,
            peak_bytes=used.ru_maxrss * _MAXRSS_BYTES,
            stdout=stdout.read().decode(errors="replace"),
            stderr=stderr.read().decode(errors="replace"),
        )


def _become(folder: Path, main: Callable[[list[str]], Exit], arguments: list[str]) -> NoReturn:
    """Be the command, within limits."""
    code = 1
    try:
        os.chdir(folder)
        os.environ["LOCKSTEP_CACHE"] = str(folder / "cache")
        signal.alarm(WALL_S)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            there = pages * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (there + MEMORY_BYTES, there + MEMORY_BYTES))
        sys.argv = ["command", *arguments]
        end(main)
    except SystemExit as ending:
        code = int(ending.code or 0)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        folder, program, arguments = json.loads(line)
        main = importlib.import_module(PROGRAMS[program]).main
        print(json.dumps(asdict(run(Path(folder), main, arguments))), flush=True)


if __name__ == "__main__":
    serve()
