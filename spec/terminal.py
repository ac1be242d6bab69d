"""Where commands print what people read."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from typing_extensions import override

#: Files and pipes have no right-hand edge: a table is never folded for them.
_UNBOUNDED = 10_000


class Terminal(Console):
    """A rich console on stdout that leaves a closed pipe to `spec.exits.end`."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _UNBOUNDED
        super().__init__(width=width, highlight=False, emoji=False)

    @override
    def on_broken_pipe(self) -> NoReturn:
        """Let the error out; rich itself would exit with 1, which here means diverged."""
        raise BrokenPipeError


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Tells what goes on: a moving line on a terminal, plain lines elsewhere; always on stderr."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield lambda text: console.print(escape(text))
        return
    with console.status("starting") as status:
        yield lambda text: status.update(escape(text))
