"""The words that the suite and a worker exchange: JSON lines, described in impls/README.md. Standard library only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from impls.frameworks import Variant

PROTOCOL = "lockstep-worker/1"

ErrorKind = Literal[
    "bad_request", "missing_framework", "missing_device", "unsupported", "out_of_memory", "failed", "wrong_protocol"
]


class RefusedError(Exception):
    """A worker cannot do what it was asked; the message is one line."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Load:
    """Ask a worker to make a network ready to run."""

    network: str
    """Path of the network as JSON: operators, shapes, and the canonical name of every tensor."""
    source: str | None
    """Path of the generated source; none for a runner that has an implementation of its own."""
    weights: str
    """Path of the canonical tensors, a safetensors file."""
    device: str
    dtype: str
    mode: str
    lowering: str
    threads: int

    @classmethod
    def of(cls, variant: Variant, network: Path | str, source: Path | None, weights: Path, threads: int) -> "Load":
        """That of a variant, from files."""
        return cls(
            network=str(network),
            source=None if source is None else str(source),
            weights=str(weights),
            device=variant.device,
            dtype=variant.dtype,
            mode=variant.mode,
            lowering=variant.lowering,
            threads=threads,
        )


@dataclass(frozen=True)
class Prepare:
    """Ask a worker to make a workload of the loaded network ready to be timed, and to run it once."""

    workload: str
    """What is timed: `forward`, or `train_step`."""
    input: str
    """Path of a safetensors file: the batch (N, C, H, W) under the name of the network's input; for `train_step` also
    `labels` (N), `mask.NAME` for each dropout NAME, and `rates` (2): of weights and of biases."""


@dataclass(frozen=True)
class Time:
    """Ask a worker to run the prepared workload again and again, one duration a call."""

    min_s: float
    """Go on until so many seconds have passed, and for two calls at least …"""
    max_calls: int
    """… or until so many calls are done."""
    untimed: int = 1
    """Calls before those, which find the caches and clocks that others left. A long call does not feel these: see
    `untimed_calls`."""


#: From here on what others left in the caches, some tens of megabytes, is less than 1% of a call.
LONG_CALL_S = 0.5


def untimed_calls(call_s: float) -> int:
    """How many calls of such a length should go untimed before those that are timed."""
    return 0 if call_s >= LONG_CALL_S else 1


@dataclass(frozen=True)
class Verify:
    """Ask a worker to compare the output of the last timed call with what was expected."""

    expected: str
    """Path of a safetensors file of float64: `expected`, the output; for `train_step` the velocity of each parameter
    after one step from the loaded weights, by canonical name."""


@dataclass(frozen=True)
class Trace:
    """Ask a worker to run the loaded network once."""

    input: str
    """Path of a safetensors file with one tensor (N, C, H, W)."""
    substitutes: str | None
    """Path of a safetensors file with a tensor a tap, to be what the operators after that tap read; or none."""
    taps: list[str]
    """The taps to record."""
    output: str
    """Path where the worker writes the recorded taps, a safetensors file, in canonical layout."""


# --- Training: asked only of workers that said `trains` in their answer to `hello` ---------------------------------


@dataclass(frozen=True)
class Gradients:
    """Ask a worker for the gradients of every operator by itself, while training."""

    input: str
    """Path of a safetensors file with one tensor (N, C, H, W)."""
    substitutes: str
    """Path of a safetensors file with a tensor a tap: what the operators after that tap read."""
    cotangents: str
    """Path of a safetensors file with a tensor a tap: the gradient that flows into that operator's output."""
    masks: str
    """Path of a safetensors file with a tensor a dropout, by its name: which elements it keeps, as booleans."""
    labels: str
    """Path of a safetensors file with one tensor (N), I64: the class of each example."""
    output: str
    """Path where the worker writes, in canonical layout and by name: for each tap that is read, the input's too, the
    gradient that its readers pass back to it (the loss is the reader of the logits); for each parameter its gradient.
    """


@dataclass(frozen=True)
class TrainTrace:
    """Ask a worker to run the network once forward while training, which differs from `trace` by dropout alone."""

    input: str
    substitutes: str | None
    """As `trace` has them."""
    masks: str | None
    """As `gradients` has them; none: the framework's own generator draws, from `seed`."""
    seed: int
    taps: list[str]
    output: str


@dataclass(frozen=True)
class Start:
    """Ask a worker to begin training from the loaded weights; batches then follow each other until the next load."""

    velocities: str | None
    """Path of a safetensors file with the velocity of each parameter, by canonical name; none: nothing moves yet."""


@dataclass(frozen=True)
class Train:
    """Ask a worker for some training steps, one after the other."""

    batches: str
    """Path of a safetensors file whose tensors have the steps as first extent: the batches under the name of the
    network's input (steps, N, C, H, W), `labels` (steps, N), `mask.NAME` for each dropout NAME, and `rates`
    (steps, 2), float64: of weights and of biases."""


@dataclass(frozen=True)
class State:
    """Ask a worker for what training has come to."""

    output: str
    """Path where the worker writes all tensors of the network by canonical name, and `velocity.NAME` for each parameter
    NAME."""


@dataclass(frozen=True)
class Initialise:
    """Ask a worker for parameters as the spec's initialisers say, in the framework's own random numbers."""

    seed: int
    output: str


@dataclass(frozen=True)
class Predict:
    """Ask a worker for what the network predicts of whole images, as the spec's `evaluation` says."""

    images: str
    """Path of a safetensors file with one tensor (N, C, H, W), of at least the extents of the network's input."""
    output: str
    """Path where the worker writes `probabilities` (N, classes)."""


@dataclass(frozen=True)
class Colour:
    """Ask a worker to shift the colours of images, as the spec's `pca_colour` says."""

    images: str
    """Path of a safetensors file: `images` (N, 3, H, W), `eigenvalues` (3), `eigenvectors` (3 colours, 3 axes) and
    `draws` (N, 3)."""
    output: str
    """Path where the worker writes `images`, in the same shape."""
