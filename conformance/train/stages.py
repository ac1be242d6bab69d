"""Where a run keeps its checkpoints, and from which of them it goes on."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy.typing as npt

from conformance.train import checkpoint as checkpoints
from conformance.train.checkpoint import Checkpoint, Identity
from conformance.train.plan import Plan
from impls.frameworks import Variant
from spec import tensors
from spec.exits import InputError, NotRunError

CHECKPOINTS = "checkpoints"
TRAINED = "trained"


def checkpoint_path(report_folder: Path, network: str, variant: Variant) -> Path:
    """The file that holds the last checkpoint of a variant."""
    return report_folder / CHECKPOINTS / _file_name(network, variant)


def trained_path(report_folder: Path, network: str, variant: Variant) -> Path:
    """The file that holds what a variant came to in the end."""
    return report_folder / TRAINED / _file_name(network, variant)


def _file_name(network: str, variant: Variant) -> str:
    fast = "-fast" if variant.lowering == "fast" else ""
    return f"{network}-{variant.framework}{fast}.safetensors"


def start_of(path: Path, plan: Plan, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from, if that is asked for; raises InputError for one that is wrong, or would be lost."""
    if not path.exists():
        return None
    found = checkpoints.read(path)
    if not resume:
        if found.is_finished:
            return None
        raise InputError(
            f"{path}: expected no unfinished run here, found one after {len(found.epochs)} of {found.asked_epochs} "
            "epochs; go on with --resume, remove it, or name another --report"
        )
    checkpoints.require_same_run(path, found, plan.identity)
    if len(found.epochs) > plan.epochs:
        raise InputError(f"{path}: expected a run of at most --epochs {plan.epochs}, found one of {len(found.epochs)}")
    return found


@contextmanager
def alone(report_folder: Path) -> Iterator[None]:
    """Make the folders that a run writes to before its end, and keep other runs from them; raises NotRunError."""
    try:
        for name in (CHECKPOINTS, TRAINED):
            (report_folder / name).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(report_folder / CHECKPOINTS, os.O_RDONLY)
    except OSError as error:
        found = error.strerror or error
        raise NotRunError(f"{report_folder}: expected to make folders in it, found: {found}") from None
    try:
        _lock(descriptor, report_folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, report_folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise NotRunError(f"{report_folder}: expected no run, found one that trains; name another --report") from None
    except OSError:
        pass  # a file system that knows no locks


def write_trained(path: Path, identity: Identity, parameters: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write weights that `python -m conformance --weights` takes; raises NotRunError."""
    try:
        tensors.write(path, parameters, {"trained": json.dumps(asdict(identity))})
    except OSError as error:
        raise NotRunError(f"{path}: expected to write weights, found: {error.strerror or error}") from None
