"""Writes a parameter tree: `python -m impls.write_jax SOURCE WEIGHTS OUTPUT`, in the environment of JAX.

The file is NumPy's own `.npz`, uncompressed: each leaf by its path, `conv1/weight`, as Flax flattens a tree.
"""

from pathlib import Path

import jax
import numpy as np

from impls.runner import import_source
from spec.exits import Exit, end
from spec.tensors import read


def main(arguments: list[str]) -> Exit:
    """The tree that the source's `forward` takes."""
    source, weights, output, *_ = arguments
    tree = import_source(source).load(read(Path(weights)))
    leaves, _ = jax.tree.flatten_with_path(tree)
    named = {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}
    with Path(output).open("wb") as file:
        np.savez(file, allow_pickle=False, **named)
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
