"""How training goes on: bars on a terminal, a line an epoch elsewhere; always on stderr."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from typing_extensions import override

from conformance.train.checkpoint import Epoch
from conformance.train.run import Watch


class _Lines(Watch):
    """A line an epoch."""

    def __init__(self, console: Console, epochs: int) -> None:
        self.console = console
        self.epochs = epochs

    @override
    def started(self, framework: str, steps_done: int, steps: int) -> None:
        if steps_done:
            self.note(framework, f"goes on after {steps_done:,} of {steps:,} steps")

    @override
    def ended_epoch(self, framework: str, number: int, epoch: Epoch) -> None:
        self.note(framework, f"epoch {number + 1} of {self.epochs}: {_told(epoch)}, {epoch.duration_s:.1f} s")

    @override
    def note(self, framework: str, text: str) -> None:
        self.console.print(escape(f"{framework}: {text}"))


class _Bars(Watch):
    """A bar a framework."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}

    @override
    def started(self, framework: str, steps_done: int, steps: int) -> None:
        self.tasks[framework] = self.progress.add_task(escape(framework), total=steps, completed=steps_done, said="")

    @override
    def stepped(self, framework: str, steps: int) -> None:
        self.progress.advance(self.tasks[framework], steps)

    @override
    def ended_epoch(self, framework: str, number: int, epoch: Epoch) -> None:
        self.progress.update(self.tasks[framework], said=_told(epoch))

    @override
    def note(self, framework: str, text: str) -> None:
        self.progress.console.print(escape(f"{framework}: {text}"))


@contextmanager
def watching(epochs: int) -> Iterator[Watch]:
    """Who is told how training goes on, and shows it."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        yield _Lines(console, epochs)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps, {task.fields[said]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bars(progress)


def _told(epoch: Epoch) -> str:
    return (
        f"loss {epoch.training_loss:.4f}, validation error {epoch.validation_error_percent:.2f}%, rate {epoch.rate:g}"
    )
