"""A cache of weights and inputs on disk, shared by every process: named by their recipe, checked by their content."""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from math import prod
from pathlib import Path

import numpy as np
import psutil

from spec import tensors
from spec.exits import NotRunError, one_line
from spec.inputs import InputKind, inputs
from spec.network import FLOAT32_BYTES, Network
from spec.weights import WeightSet, plan, weights

GENERATOR_VERSION = 1
"""Raised whenever the same seed comes to give other numbers."""

LIMIT_BYTES = 6 * 1024**3
IN_USE_S = 3600.0
"""A file that was asked for within this time may be in use, and is never removed."""

_REPOSITORY = Path(__file__).resolve().parent.parent
_SHA256 = "sha256"


def default_root() -> Path:
    """The folder of the cache: what LOCKSTEP_CACHE names, else build/tensors of the repository."""
    return Path(os.environ.get("LOCKSTEP_CACHE") or _REPOSITORY / "build" / "tensors")


@dataclass(frozen=True)
class Store:
    """Safetensors files that are made when first asked for, and made again when damaged."""

    root: Path = field(default_factory=default_root)
    limit_bytes: int = LIMIT_BYTES

    def weights_file(self, network: Network, weight_set: WeightSet, seed: int) -> Path:
        """The file of `network`'s weights by their canonical names. Raises InputError and NotRunError."""
        shapes = network.tensor_shapes
        recipe = {
            "set": weight_set,
            "seed": seed,
            "shapes": shapes,
            "initialisers": {name: drawn.model_dump() for name, drawn in plan(network, weight_set).items()},
            "numpy": _minor(np.__version__),
        }
        needed = FLOAT32_BYTES * sum(map(prod, shapes.values()))
        return self._file("weights", recipe, needed, lambda: weights(network, weight_set, seed))

    def input_file(self, network: Network, kind: InputKind, seed: int, batch: int) -> Path:
        """The file of a batch, by the name of the network's input. Raises InputError and NotRunError."""
        preprocessing = network.preprocessing
        recipe = {
            "kind": kind,
            "seed": seed,
            "batch": batch,
            "name": network.input.name,
            "shape": network.input.shape,
            "preprocessing": preprocessing.model_dump(exclude={"augmentation"}) if preprocessing else None,
            "numpy": _minor(np.__version__),
            "photographs": [_minor(version(package)) for package in ("pillow", "scikit-learn")],
        }
        needed = FLOAT32_BYTES * batch * prod(network.input.shape)
        return self._file("input", recipe, needed, lambda: {network.input.name: inputs(network, kind, seed, batch)})

    def _file(
        self,
        kind: str,
        recipe: Mapping[str, object],
        needed_bytes: int,
        make: Callable[[], Mapping[str, tensors.Array]],
    ) -> Path:
        text = json.dumps({"generator": GENERATOR_VERSION, **recipe}, sort_keys=True)
        path = self.root / f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:32]}.safetensors"
        if self._usable(path):
            return path
        available_bytes = psutil.virtual_memory().available
        if needed_bytes > available_bytes:
            raise NotRunError(f"{kind}: needs {needed_bytes:,} bytes of memory, found {available_bytes:,} available")
        made = make()
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            tensors.write(path, made, {_SHA256: content_sha256(made)})
        except OSError as error:
            raise NotRunError(
                f"{self.root}: cannot keep {needed_bytes:,} bytes of {kind}: {error.strerror or error}; "
                "make room, or name another folder in LOCKSTEP_CACHE"
            ) from None
        self._remove_unused()
        return path

    def _usable(self, path: Path) -> bool:
        """Whether `path` is there and is what was written; marks it as used. A damaged one is named on stderr."""
        try:
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            # A folder that only its owner may write to can be read by others all the same.
            pass
        try:
            found = content_sha256(tensors.read(path))
            expected = tensors.metadata(path).get(_SHA256)
        except FileNotFoundError:
            return False
        except (OSError, ValueError) as error:
            print(f"warning: {one_line(error)}; making it again", file=sys.stderr)
            return False
        if found != expected:
            print(f"warning: {path}: expected sha256 {expected}, found {found}; making it again", file=sys.stderr)
        return found == expected

    def _remove_unused(self) -> None:
        """Remove the files longest not asked for, until the limit is kept, and what broken runs left behind."""
        now = time.time()
        files = []
        for path in self.root.iterdir():
            # Another run may remove files at the same time.
            with contextlib.suppress(OSError):
                status = path.stat()
                if path.suffix == ".safetensors":
                    files.append((status.st_mtime, status.st_size, path))
                elif path.suffix == ".partial" and now - status.st_mtime > IN_USE_S:
                    path.unlink()
        total = sum(size for _, size, _ in files)
        for used, size, path in sorted(files):
            if total <= self.limit_bytes or now - used <= IN_USE_S:
                return
            with contextlib.suppress(OSError):
                path.unlink()
            total -= size


def content_sha256(named: Mapping[str, tensors.Array]) -> str:
    """SHA-256 of the tensors' names, dtypes, shapes and bytes, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(named):
        array = np.ascontiguousarray(named[name])
        digest.update(json.dumps([name, array.dtype.str, named[name].shape]).encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _minor(release: str) -> str:
    """Major and minor of a version."""
    return ".".join(release.split(".")[:2])
