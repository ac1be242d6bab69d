"""The worker's end of training: reads what a request names, has the runner do it, and writes what came of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Protocol, cast

from impls.protocol import Colour, Gradients, Initialise, Predict, RefusedError, Start, State, Train, TrainTrace
from impls.runner import Array, Runner
from spec.tensors import read, write

MASK = "mask."
"""Before the name of a dropout, in files of batches."""
VELOCITY = "velocity."
"""Before the name of a parameter, in files of states."""


@dataclass(frozen=True)
class Batch:
    """Everything that one training step is given, in canonical layout."""

    x: Array
    """(N, C, H, W)."""
    labels: Array
    """(N), int64."""
    masks: dict[str, Array]
    """Which elements each dropout keeps, by its name: (N, *output shape), booleans."""
    rates: tuple[float, float]
    """Learning rates of weights and of biases."""


class TrainingRunner(Runner, Protocol):
    """A runner whose generated sources train too. All arrays are in canonical layout, and named canonically."""

    def gradients(
        self,
        x: Array,
        substitutes: dict[str, Array],
        cotangents: dict[str, Array],
        masks: dict[str, Array],
        labels: Array,
    ) -> tuple[float, dict[str, Array]]:
        """The loss of the substituted logits, and every operator's own gradients (protocol.Gradients)."""
        ...

    def train_trace(
        self,
        x: Array,
        substitutes: dict[str, Array] | None,
        masks: dict[str, Array] | None,
        seed: int,
        taps: list[str],
    ) -> tuple[dict[str, Array], str]:
        """Run once forward while training; without masks dropout draws from the framework's generator, from `seed`."""
        ...

    def start(self, velocities: dict[str, Array] | None) -> None:
        """Begin training from the loaded weights; they stay as they are for another start."""
        ...

    def step(self, batch: Batch) -> float:
        """One training step; the loss before it. What is traced from now on has the parameters after it."""
        ...

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        """All tensors of the network, and the velocity of each parameter."""
        ...

    def initialise(self, seed: int) -> dict[str, Array]:
        """Parameters as the generated source draws them, in the framework's own random numbers."""
        ...

    def predict(self, images: Array) -> Array:
        """Probabilities (N, classes) of images (N, C, H, W), as the generated source averages them over views."""
        ...

    def colour(self, images: Array, eigenvalues: Array, eigenvectors: Array, draws: Array) -> Array:
        """Images (N, 3, H, W) whose colours the generated source shifted by `draws` (N, 3) along the axes (3, 3)."""
        ...


def training_runner(runner: Runner) -> TrainingRunner:
    """The runner, if it trains; raises RefusedError."""
    if not runner.trains:
        raise RefusedError("unsupported", "the runner does not train (hello: trains is false)")
    return cast(TrainingRunner, runner)


def gradients(runner: Runner, request: Gradients) -> dict[str, Any]:
    """The answer to `gradients`: the loss; the gradients are in a file."""
    trainer = training_runner(runner)
    (x,) = read(Path(request.input)).values()
    (labels,) = read(Path(request.labels)).values()
    loss, found = trainer.gradients(
        x, read(Path(request.substitutes)), read(Path(request.cotangents)), read(Path(request.masks)), labels
    )
    write(Path(request.output), found)
    return {"loss": _number(loss)}


def train_trace(runner: Runner, request: TrainTrace) -> dict[str, Any]:
    """The answer to `train_trace`: the device; the taps are in a file."""
    (x,) = read(Path(request.input)).values()
    substitutes = read(Path(request.substitutes)) if request.substitutes else None
    masks = read(Path(request.masks)) if request.masks else None
    recorded, device = training_runner(runner).train_trace(x, substitutes, masks, request.seed, request.taps)
    write(Path(request.output), recorded)
    return {"device": device}


def start(runner: Runner, request: Start) -> dict[str, Any]:
    """The answer to `start`."""
    training_runner(runner).start(read(Path(request.velocities)) if request.velocities else None)
    return {}


def train(runner: Runner, request: Train) -> dict[str, Any]:
    """The answer to `train`: the loss of every step."""
    trainer = training_runner(runner)
    return {"losses": [_number(trainer.step(batch)) for batch in _batches(read(Path(request.batches)))]}


def state(runner: Runner, request: State) -> dict[str, Any]:
    """The answer to `state`: the tensors are in a file."""
    tensors, velocities = training_runner(runner).state()
    write(Path(request.output), tensors | {f"{VELOCITY}{name}": value for name, value in velocities.items()})
    return {}


def initialise(runner: Runner, request: Initialise) -> dict[str, Any]:
    """The answer to `initialise`: the tensors are in a file."""
    write(Path(request.output), training_runner(runner).initialise(request.seed))
    return {}


def predict(runner: Runner, request: Predict) -> dict[str, Any]:
    """The answer to `predict`: the probabilities are in a file."""
    (images,) = read(Path(request.images)).values()
    write(Path(request.output), {"probabilities": training_runner(runner).predict(images)})
    return {}


def colour(runner: Runner, request: Colour) -> dict[str, Any]:
    """The answer to `colour`: the images are in a file."""
    given = read(Path(request.images))
    shifted = training_runner(runner).colour(
        given["images"], given["eigenvalues"], given["eigenvectors"], given["draws"]
    )
    write(Path(request.output), {"images": shifted})
    return {}


def one_batch(tensors: Mapping[str, Array]) -> Batch:
    """The tensors of one step as a batch; raises RefusedError where one is missing."""
    missing = {"labels", "rates"} - tensors.keys()
    images = [name for name in tensors if name not in ("labels", "rates") and not name.startswith(MASK)]
    if missing or len(images) != 1:
        found = ", ".join(sorted(tensors)) or "none"
        raise RefusedError("bad_request", f"batch: expected one input, labels, rates and masks, found {found:.200}")
    masks = {name.removeprefix(MASK): value for name, value in tensors.items() if name.startswith(MASK)}
    weights, biases = tensors["rates"].tolist()
    return Batch(tensors[images[0]], tensors["labels"], masks, (weights, biases))


def _batches(tensors: Mapping[str, Array]) -> Iterator[Batch]:
    """One batch a step, from tensors whose first extent is the steps."""
    for index in range(min((len(value) for value in tensors.values()), default=0)):
        yield one_batch({name: value[index] for name, value in tensors.items()})


def _number(value: float) -> float | None:
    """A float as JSON has it: none where it is not finite."""
    return value if isfinite(value) else None
