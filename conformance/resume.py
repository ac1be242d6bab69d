"""Whether training goes on from a state that was read and written as if nothing had happened."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from conformance.measure import Array
from impls.client import Worker, WorkerError
from impls.protocol import Start, State, Train
from impls.training import VELOCITY
from spec.tensors import read, write


def replayed(worker: Worker, state: Path, batches: list[Path], output: Path) -> dict[str, Array]:
    """The state that `batches` lead to from the state in the file `state`; raises WorkerError.

    The network is loaded anew with the tensors of the state as its weights.
    """
    request = worker.loaded
    if request is None:
        raise WorkerError("not_loaded", f"{worker.name}: expected a network that was loaded, found none")
    tensors = read(state)
    weights, velocities = (state.with_name(f"{state.stem}-{word}.safetensors") for word in ("weights", "velocities"))
    write(weights, {name: value for name, value in tensors.items() if not name.startswith(VELOCITY)})
    write(
        velocities, {name.removeprefix(VELOCITY): value for name, value in tensors.items() if name.startswith(VELOCITY)}
    )
    worker.load(replace(request, weights=str(weights)))
    worker.begin(Start(str(velocities)))
    for batch in batches:
        worker.train(Train(str(batch)))
    worker.write(State(str(output)))
    for file in (weights, velocities):
        file.unlink()
    return read(output)


def differences(resumed: Mapping[str, Array], straight: Mapping[str, Array]) -> dict[str, str]:
    """Where a state has other bits than that of the same steps without a break: the first, by the tensor's name."""
    found = {}
    for name, value in straight.items():
        again = resumed.get(name)
        if again is None or (again.shape, again.dtype) != (value.shape, value.dtype):
            other = "none" if again is None else f"{again.dtype} of shape {list(again.shape)}"
            found[name] = f"expected {value.dtype} of shape {list(value.shape)} after resuming, found {other}"
        elif (apart := _bits(again) != _bits(value)).any():
            index = np.unravel_index(int(np.argmax(apart)), value.shape)
            place = ", ".join(map(str, index))
            found[name] = f"at [{place}] {again[index]:.9g} after resuming, {value[index]:.9g} without"
    return found


def _bits(values: Array) -> Array:
    return values.view(f"u{values.itemsize}")
