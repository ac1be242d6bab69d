"""The words that the suite and a worker exchange: JSON lines, described in impls/README.md. Standard library only."""

from dataclasses import dataclass
from typing import Literal

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


@dataclass(frozen=True)
class Prepare:
    """Ask a worker to make a workload of the loaded network ready to be timed, and to run it once."""

    workload: str
    """What is timed: `forward`."""
    input: str
    """Path of a safetensors file with one tensor (N, C, H, W)."""


@dataclass(frozen=True)
class Time:
    """Ask a worker to run the prepared workload again and again, one duration a call."""

    min_s: float
    """Go on until so many seconds have passed, and for two calls at least …"""
    max_calls: int
    """… or until so many calls are done."""


@dataclass(frozen=True)
class Verify:
    """Ask a worker to compare the output of the last timed call with what was expected."""

    expected: str
    """Path of a safetensors file with one tensor, `expected`, in float64."""


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
