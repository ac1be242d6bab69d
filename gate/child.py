"""A program of Lockstep's own in a process beside this one: followed line by line, and ended with it."""

import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SECONDS_TO_END = 20.0
"""Given to a program that is asked to stop, to end what it has started in turn."""


@dataclass(frozen=True)
class Ended:
    """How it ended."""

    code: int
    """As subprocess has it: below 0 the signal that ended it."""
    said: str
    """The last line on stderr, without what marks it as an error."""


def follow(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path | None = None,
    tell: Callable[[str], None] = lambda _: None,
    held: Sequence[int] = (),
) -> Ended:
    """Run it to its end, and tell each line on stderr; what stops this stops it too.

    `held` are descriptors that it inherits.
    """
    last = ""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        pass_fds=held,
    ) as process:
        try:
            assert process.stderr is not None
            for line in filter(None, map(str.strip, process.stderr)):
                last = line
                tell(line)
        except BaseException:
            process.terminate()
            try:  # not left to Popen: at a Ctrl-C it gives a process a quarter of a second, then leaves it behind
                process.wait(SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise
    return Ended(process.returncode, last.removeprefix("error: "))
