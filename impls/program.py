"""Runs a program of Lockstep in the environment of a framework, and turns how it ended into one cause."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from spec.exits import Exit, InputError, NotRunError, one_line

ROOT = Path(__file__).parents[1]
#: How long reading or writing a file may take.
PATIENCE_S = 600


def run_program(python: str, module: str, arguments: Sequence[str], place: object, done: str) -> None:
    """Run `python -m module`, which has to do with the file `place` and should see it `done`: read, written.

    Raises InputError with what the program refuses, and NotRunError.
    """
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    try:
        ended = subprocess.run(
            [python, "-m", module, *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotRunError(f"{place}: expected to be {done} within {PATIENCE_S} s; it was not") from None
    if not ended.returncode:
        return
    last = one_line((ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1])[-600:]
    if ended.returncode == Exit.INPUT and last.startswith("error: "):
        raise InputError(last.removeprefix("error: "))
    raise NotRunError(f"{place}: expected to be {done} by {python}, found: {last}")
