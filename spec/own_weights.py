"""The weights that a user brings: a safetensors file that holds just the network's tensors, all of them finite."""

from pathlib import Path

import numpy as np

from spec.exits import InputError
from spec.network import Network
from spec.tensors import read


def checked(network: Network, path: Path) -> Path:
    """The file, made absolute, once it is known to fit `network`; raises InputError."""
    try:
        tensors = read(path)
    except (OSError, ValueError) as error:
        raise InputError(f"--weights: {error}") from None
    for name, shape in network.tensor_shapes.items():
        if name not in tensors:
            raise InputError(f"{path}: expected a tensor {name!r}, found none")
        found = tensors[name]
        if found.shape != shape or found.dtype.name != "float32":
            raise InputError(
                f"{path}: {name!r}: expected float32 {list(shape)}, found {found.dtype.name} {list(found.shape)}"
            )
        finite = np.isfinite(found)
        if not finite.all():
            index = np.unravel_index(int(np.argmin(finite)), shape)
            raise InputError(
                f"{path}: {name!r}: expected finite values, found {found[index]} at {[int(each) for each in index]}"
            )
    unknown = sorted(tensors.keys() - network.tensor_shapes.keys())
    if unknown:
        raise InputError(f"{path}: expected no tensor {unknown[0]!r:.80}; {network.name} has no such parameter")
    return path.resolve()
