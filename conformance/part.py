"""The parts of the training lane: each asks every worker something and holds the answer against the oracle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from conformance.checks import Subject
from conformance.results import Case, Result
from impls.client import Worker
from spec.network import Network
from spec.recipe import Training


@dataclass(frozen=True)
class Given:
    """What a part starts from; the same for all variants."""

    network: Network
    training: Training
    """The network's recipe: a network without one has no training lane."""
    case: Case
    weights: Path
    """The weights that every worker has loaded, by canonical name."""
    input: Path
    """The batch, under the name of the network's input."""


class Part(Protocol):
    """One part of the lane: gradients, say. What `expected` and `ask` return is the part's own."""

    name: str
    """What progress calls it."""

    def skipped(self, given: Given) -> str:
        """Why it does not apply to this network or case; nothing where it does."""
        ...

    def expected(self, given: Given, folder: Path) -> Any:
        """The oracle's answer, made once for all variants; files that all workers read go to `folder`."""
        ...

    def ask(self, worker: Worker, given: Given, expected: Any, folder: Path) -> Any:
        """What a worker, which has the weights loaded, answers; its own files go to `folder`. Raises WorkerError."""
        ...

    def results(self, subject: Subject, given: Given, expected: Any, own: Any, others: Sequence[Any]) -> list[Result]:
        """The answer of one variant, compared; `others` are those of the other variants of its precision."""
        ...
