"""What a worker needs of a runner: the adapter between one framework and the protocol."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from impls.protocol import Load, RefusedError

Array = npt.NDArray[Any]


class Runner(Protocol):
    """Loads canonical weights into a generated source and runs it. One object serves one worker."""

    version: str
    """Version of the framework."""
    taps: bool
    """Whether it records and replaces what operators give; else it shows the network's output alone."""
    trains: bool
    """Whether it is a training.TrainingRunner."""

    def devices(self) -> list[str]:
        """The devices that are there: `cpu`, `cuda`."""
        ...

    def environment(self) -> dict[str, str]:
        """What else decides about the numbers: build flags, libraries, device names."""
        ...

    def load(self, request: Load) -> None:
        """Make the network ready; raises RefusedError."""
        ...

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        """Run once on `x` (N, C, H, W); return the recorded taps in canonical layout, and the device that held them."""
        ...

    def prepare(self, x: Array) -> Callable[[], Any]:
        """A function of no arguments that runs the network on `x` once, and returns when the device has finished.

        What it returns is the network's output in the framework's own form.
        """
        ...

    def fetch(self, output: Any) -> Array:
        """What a prepared function returned, in canonical layout."""
        ...

    def device_peak_bytes(self) -> int | None:
        """The most memory of the device that was in use, where the framework tells."""
        ...


def import_source(path: str | None) -> ModuleType:
    """Import a generated source by its path; raises RefusedError where there is none."""
    if path is None:
        raise RefusedError("bad_request", "expected the path of a generated source, found none")
    name = f"lockstep_generated_{Path(path).stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RefusedError("bad_request", f"expected a Python source, found {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def require_device(asked: str, there: list[str], framework: str) -> None:
    """Raise RefusedError, by name, where the asked device is not there."""
    if asked not in there:
        raise RefusedError("missing_device", f"no {asked} device for {framework}; found {', '.join(there)}")


def require_dtype(asked: str, known: tuple[str, ...], framework: str) -> None:
    """Raise RefusedError, by name, where a runner lacks the asked precision."""
    if asked not in known:
        raise RefusedError("unsupported", f"{framework} has no dtype {asked!r} here; it has {', '.join(known)}")


def to_canonical(value: Array, layout: str) -> Array:
    """Images of a channels-last source as (N, C, H, W); everything else as it is."""
    return np.ascontiguousarray(np.moveaxis(value, -1, 1)) if layout == "NHWC" and value.ndim == 4 else value


def from_canonical(value: Array, layout: str) -> Array:
    """Images as the source's layout has them; everything else as it is."""
    return np.ascontiguousarray(np.moveaxis(value, 1, -1)) if layout == "NHWC" and value.ndim == 4 else value
