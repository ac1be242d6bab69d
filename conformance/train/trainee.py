"""A worker that trains: arrays in, arrays out, and what it answers is what was asked for, or a WorkerError."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.participants import Entrant
from impls.client import Hello, Worker, WorkerError
from impls.description import describe
from impls.protocol import Load, Predict, Start, State, Train
from impls.training import VELOCITY
from spec.base import Shape
from spec.network import Network
from spec.tensors import read, write

Array = npt.NDArray[Any]


class Trainee:
    """One entrant's worker, and a folder for the files that it shares with the suite."""

    def __init__(self, network: Network, entrant: Entrant, worker: Worker, threads: int, folder: Path) -> None:
        self.network = network
        self.entrant = entrant
        self.worker = worker
        self.threads = threads
        self.folder = folder
        self._parameters = {name: shape for layer in network.layers for name, shape in layer.parameter_shapes.items()}

    def hello(self) -> Hello:
        """What the worker says of itself; raises WorkerError."""
        return self.worker.hello()

    def begin(self, tensors: Mapping[str, Array], velocities: Mapping[str, Array] | None) -> None:
        """Begin training from these tensors; without velocities nothing moves yet. Raises WorkerError."""
        description, weights, moving = (self.folder / name for name in ("network.json", "weights", "velocities"))
        description.write_text(json.dumps(describe(self.network)), encoding="utf-8")
        write(weights, tensors)
        self.worker.load(Load.of(self.entrant.variant, description, self.entrant.source, weights, self.threads))
        if velocities is not None:
            write(moving, velocities)
        self.worker.begin(Start(velocities=None if velocities is None else str(moving)))

    def train(self, batches: Path, steps: int) -> list[float]:
        """The loss before each step of a file; NaN where it is not finite. Raises WorkerError."""
        losses = self.worker.train(Train(batches=str(batches)))
        if len(losses) != steps:
            raise WorkerError("nonsense", f"train: expected the losses of {steps} steps, found {len(losses)}")
        return losses

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """All tensors of the network, and the velocity of each parameter; raises WorkerError."""
        velocities = {f"{VELOCITY}{name}": shape for name, shape in self._parameters.items()}
        output = self.folder / "state"
        self.worker.write(State(output=str(output)))
        found = _read(output, self.network.tensor_shapes | velocities, "state")
        return (
            {name: found[name] for name in self.network.tensor_shapes},
            {name: found[f"{VELOCITY}{name}"] for name in self._parameters},
        )

    def predict(self, images: Array) -> Array:
        """Probabilities (N, classes) of whole images (N, C, H, W); raises WorkerError."""
        given, output = self.folder / "images", self.folder / "probabilities"
        write(given, {self.network.input.name: images})
        self.worker.write(Predict(images=str(given), output=str(output)))
        classes = self.network.layers[-1].output_shape
        return _read(output, {"probabilities": (len(images), *classes)}, "predict")["probabilities"]


def _read(path: Path, shapes: Mapping[str, Shape], asked: str) -> dict[str, Array]:
    """The tensors that a worker wrote, held in memory: the file may be written again. Raises WorkerError."""
    try:
        found = {name: np.array(value) for name, value in read(path).items()}
    except (OSError, ValueError) as error:
        raise WorkerError("nonsense", f"{asked}: {error}") from None
    path.unlink()
    for name, shape in shapes.items():
        if name not in found:
            raise WorkerError("nonsense", f"{asked}: expected a tensor {name!r}, found none")
        if found[name].shape != shape or not np.issubdtype(found[name].dtype, np.floating):
            what = f"{found[name].dtype} {list(found[name].shape)}"
            raise WorkerError("nonsense", f"{asked}: {name}: expected floats of shape {list(shape)}, found {what}")
    return found
