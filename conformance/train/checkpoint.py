"""Checkpoints: all that a training run needs to go on as if it had never stopped, in one safetensors file."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from impls.training import VELOCITY
from spec import tensors
from spec.exits import InputError, NotRunError
from spec.network import Network
from spec.store import content_sha256

FORMAT = "lockstep-checkpoint/1"
#: The key of the file's metadata that holds all but tensors, as JSON.
STATE = "lockstep"
LOSSES = "losses"

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Identity:
    """What makes two checkpoints stages of one run: with these the same, every step is given the same."""

    network: str
    graph_sha256: str
    """Of input and operators."""
    recipe_sha256: str
    """Of preprocessing, training and evaluation."""
    data_sha256: str
    seed: int


@dataclass(frozen=True)
class Maker:
    """What may change between two stages of a run; where it does, bits may differ from a run that never stopped."""

    framework: str
    version: str
    threads: int
    device: str
    mode: str
    lowering: str


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to."""

    rate: float
    """Of weights."""
    bias_rate: float
    training_loss: float
    """Mean over its steps, each before the step and with dropout."""
    validation_loss: float
    """Mean of −log p of the label."""
    validation_error_percent: float
    validation_top5_error_percent: float | None
    """None where classes are few."""
    duration_s: float
    """Of its steps, as the suite waited for them; of what was done since the last start alone."""


@dataclass(frozen=True)
class Checkpoint:
    """A run after some steps."""

    identity: Identity
    maker: Maker
    asked_epochs: int
    """How many epochs the run was to have."""
    step: int
    """How many steps of the epoch after `epochs` are done."""
    epochs: tuple[Epoch, ...]
    """Those that are done."""
    losses: Array
    """Of every step so far, float64."""
    parameters: Mapping[str, Array]
    """All tensors of the network, by canonical name."""
    velocities: Mapping[str, Array]

    @property
    def is_finished(self) -> bool:
        """Whether the run came to the end that was asked for."""
        return len(self.epochs) >= self.asked_epochs

    def is_finite(self) -> bool:
        """Whether every parameter and velocity is a number."""
        return all(np.isfinite(value).all() for part in (self.parameters, self.velocities) for value in part.values())


def identity_of(network: Network, data_sha256: str, seed: int) -> Identity:
    """The identity of a run."""
    graph = _sha256(network.model_dump(mode="json", include={"input", "graph"}))
    sections = network.model_dump(mode="json", include={"preprocessing", "training", "evaluation"})
    # A recipe's epochs are how far a run goes, not what its steps are given; published results are no part of either.
    sections["training"].pop("epochs")
    for name in ("results", "contradicted"):
        sections["evaluation"].pop(name)
    return Identity(network.name, graph, _sha256(sections), data_sha256, seed)


def _sha256(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write `path`, which holds all of it or stays as it was; raises NotRunError."""
    named = {
        **checkpoint.parameters,
        **{f"{VELOCITY}{name}": value for name, value in checkpoint.velocities.items()},
        LOSSES: np.asarray(checkpoint.losses, np.float64),
    }
    state = {
        "format": FORMAT,
        "identity": asdict(checkpoint.identity),
        "maker": asdict(checkpoint.maker),
        "asked_epochs": checkpoint.asked_epochs,
        "step": checkpoint.step,
        "epochs": [asdict(epoch) for epoch in checkpoint.epochs],
        "sha256": content_sha256(named),
    }
    new = path.with_name(f"{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".{path.name}.new.*.partial"):
            left.unlink()  # of a run that was killed while it wrote
        tensors.write(new, named, {STATE: json.dumps(state)})
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise NotRunError(
            f"{path}: expected to write a checkpoint, found: {error.strerror or error}; the one before it stays"
        ) from None


def read(path: Path) -> Checkpoint:
    """What `write` wrote; raises InputError for a file that is damaged or something else."""
    try:
        named = tensors.read(path)
        state = json.loads(tensors.metadata(path).get(STATE, "{}"))
        if state.get("format") != FORMAT:
            raise ValueError(f"{path}: expected a checkpoint ({FORMAT}), found {state.get('format', 'none')!r:.80}")
        found = content_sha256(named)
        if found != state["sha256"]:
            raise ValueError(f"{path}: expected tensors of sha256 {state['sha256']:.16}…, found {found:.16}…")
        velocities = {name: value for name, value in named.items() if _is_velocity(name)}
        return Checkpoint(
            identity=Identity(**state["identity"]),
            maker=Maker(**state["maker"]),
            asked_epochs=state["asked_epochs"],
            step=state["step"],
            epochs=tuple(Epoch(**epoch) for epoch in state["epochs"]),
            losses=named[LOSSES],
            parameters={name: named[name] for name in named.keys() - velocities.keys() - {LOSSES}},
            velocities={name.removeprefix(VELOCITY): value for name, value in velocities.items()},
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{error}; remove it, or name another --report") from None
    except (AttributeError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected the state of a run ({FORMAT}), found: {error}; remove it, or name another --report"
        ) from None


def _is_velocity(name: str) -> bool:
    """Whether a tensor is one: `velocity.conv1.weight`, but not `velocity.weight`, of an operator of that name."""
    return name.startswith(VELOCITY) and "." in name.removeprefix(VELOCITY)


#: What a field of an identity is called, and what to do where two of them differ.
NAMES = {
    "network": "network",
    "graph_sha256": "graph of the network",
    "recipe_sha256": "recipe (preprocessing, training, evaluation)",
    "data_sha256": "data set, or its splits",
    "seed": "seed",
}


def require_same_run(path: Path, checkpoint: Checkpoint, wanted: Identity) -> None:
    """Raise InputError, which names the first difference, unless the checkpoint is a stage of the wanted run."""
    found, expected = asdict(checkpoint.identity), asdict(wanted)
    for field, name in NAMES.items():
        if found[field] != expected[field]:
            raise InputError(
                f"{path}: expected a checkpoint of the same {name}, {_shown(expected[field])}, "
                f"found {_shown(found[field])}; name another --report, or remove it"
            )


def _shown(value: object) -> str:
    return f"{value:.16}…" if isinstance(value, str) and len(value) == 64 else repr(value)
