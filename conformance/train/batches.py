"""The batches of an epoch from a seed, the same for every framework, in files of some steps each."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from conformance.dropout import drawn_masks
from conformance.train.dataset import Indices
from conformance.train.preprocessing import Surveyed
from conformance.updates import Rates
from impls.training import MASK
from spec.network import FLOAT32_BYTES, Network
from spec.tensors import write
from spec.weights import generator

T = TypeVar("T")

#: A file holds as many steps as fit into so many bytes, and one at least.
FILE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Chunk:
    """Some steps of an epoch, in a file that the protocol's `train` takes."""

    path: Path
    first: int
    """The first step, counted from the epoch's start."""
    steps: int


@dataclass(frozen=True)
class Batches:
    """What every step of a training run is given. A shuffle's remainder that fills no batch is left out."""

    network: Network
    data: Surveyed
    batch: int
    seed: int

    @property
    def steps(self) -> int:
        """How many steps an epoch has."""
        return len(self.data.squares.dataset.splits["train"]) // self.batch

    def order(self, epoch: int) -> Indices:
        """The training images of an epoch, a row a step: (steps, batch)."""
        images = self.data.squares.dataset.splits["train"]
        shuffled = generator(self.seed, "shuffle", epoch).permutation(images)
        return shuffled[: self.steps * self.batch].reshape(self.steps, self.batch)

    def chunks(self, epoch: int, first: int, rates: Rates, folder: Path, every: int | None = None) -> Iterator[Chunk]:
        """The steps of an epoch from `first` on, as files in `folder`.

        A file ends where the number of all steps of the run so far is a multiple of `every`.
        """
        order, before = self.order(epoch), epoch * self.steps
        step_bytes = FLOAT32_BYTES * self.batch * prod(self.network.input.shape)
        most = max(1, FILE_BYTES // step_bytes)
        while first < self.steps:
            until_multiple = every - (before + first) % every if every else most
            steps = min(most, self.steps - first, until_multiple)
            path = folder / f"epoch{epoch}-step{first}.safetensors"
            write(path, self._tensors(order[first : first + steps], epoch, before + first, rates))
            yield Chunk(path, first, steps)
            first += steps

    def _tensors(self, rows: Indices, epoch: int, step: int, rates: Rates) -> dict[str, npt.NDArray[Any]]:
        """What the protocol's `train` asks for, of the steps from `step` on, counted from the start of the run."""
        indices = rows.reshape(-1)
        x = self.data.preparation.augmented(self.data.squares(indices), indices, self.seed, epoch)
        tensors: dict[str, npt.NDArray[Any]] = {
            self.network.input.name: x.reshape(*rows.shape, *x.shape[1:]),
            "labels": self.data.squares.dataset.labels(indices).reshape(rows.shape),
            "rates": np.tile(np.array([rates.weights, rates.biases], np.float64), (len(rows), 1)),
        }
        masks = [drawn_masks(self.network, self.batch, self.seed, step + offset) for offset in range(len(rows))]
        return tensors | {f"{MASK}{name}": np.stack([drawn[name] for drawn in masks]) for name in masks[0]}


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, each made while the one before it is in use."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item
