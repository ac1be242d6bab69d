"""How every command ends: one documented exit code, and one line on stderr where something is wrong."""

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import NoReturn

#: What a system says of a disk, a quota or a file that can take no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

#: Set to 1, it shows the traceback of what no command expected.
TRACEBACK = "LOCKSTEP_TRACEBACK"

_ROOT = Path(__file__).parents[1]


class Exit(IntEnum):
    """The exit codes of every command."""

    PASSED = 0
    DIVERGED = 1
    INPUT = 2
    NOT_RUN = 3
    UNDECIDED = 4


class InputError(Exception):
    """What the user gave is wrong: a spec, an option, a file. One line: place, expected, found, next step."""


class NotRunError(Exception):
    """Something could not be run: a missing device, framework, or environment. The text is one line."""


def one_line(text: object) -> str:
    """Return `text` with every run of white space as one blank, and control characters escaped."""
    words = " ".join(str(text).split())
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in words)


def shortened(text: str, length: int = 400) -> str:
    """`text` in at most `length` characters: where it starts, and where it ends, which is the root of the matter."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[1 - (length + 1) // 2 :]}"


def end(main: Callable[[list[str]], Exit]) -> NoReturn:
    """Run `main` on the command line and exit with its code; user errors become one line on stderr.

    Being told to end (SIGTERM, and SIGHUP of a terminal that closes) is Ctrl-C by another name: workers end too.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks "×" or "§" is no reason to fail.
            stream.reconfigure(errors="replace")
    try:
        code = main(sys.argv[1:])
    except InputError as error:
        code = Exit.INPUT
        print(f"error: {one_line(error)}", file=sys.stderr)
    except NotRunError as error:
        code = Exit.NOT_RUN
        print(f"error: {one_line(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        code = Exit.NOT_RUN
        print("error: interrupted; no report was written", file=sys.stderr)
    except BrokenPipeError:
        # The reader of our output went away (`... | head`): nobody is left to tell, but nothing has passed either.
        code = Exit.NOT_RUN
    except MemoryError as error:
        code = Exit.NOT_RUN
        print(f"error: expected enough memory, found: {one_line(error) or 'none left'}", file=sys.stderr)
    except Exception as error:
        code = Exit.NOT_RUN  # whatever it is, it says nothing about numbers
        if isinstance(error, OSError) and error.errno in FULL:
            place = error.filename or "standard output"
            print(f"error: {place}: expected room to write, found: {error.strerror}", file=sys.stderr)
        else:
            _tell_unexpected(error)
    sys.exit(code if _is_flushed() else Exit.NOT_RUN)


def _tell_unexpected(error: Exception) -> None:
    """One line that names what nobody expected and the line of ours that it came from; the traceback on demand."""
    if os.environ.get(TRACEBACK) == "1":
        traceback.print_exception(error)
        more = ""
    else:
        more = f"; {TRACEBACK}=1 shows the traceback"
    said = shortened(": ".join(filter(None, (type(error).__name__, one_line(error)))))
    print(f"error: {_origin(error)}: unexpected {said}{more}", file=sys.stderr)


def _origin(error: Exception) -> str:
    """File and line of the last frame that is Lockstep's own, not of an environment that lies below its folder."""
    frames = [(Path(frame.filename), frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    own = [(path.relative_to(_ROOT), line) for path, line in frames if path.is_relative_to(_ROOT)]
    path, line = [(path, line) for path, line in own if "site-packages" not in path.parts][-1]  # `end`, at least
    return f"{path}:{line}"


def _is_flushed() -> bool:
    """Write out what stdout still holds; where that fails, let the interpreter's own last flush go nowhere."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"error: expected to write to standard output, found: {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
