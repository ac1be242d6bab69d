"""What all frameworks are to do: the network, its recipe, the data, and what they start from."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conformance.backpropagation import logits_tap
from conformance.train.batches import Batches
from conformance.train.checkpoint import Identity, identity_of
from conformance.train.dataset import Dataset
from conformance.train.preprocessing import survey
from spec.exits import InputError
from spec.network import Network
from spec.recipe import Evaluation, Preprocessing, Training
from spec.store import Store

#: With fewer multiplications a step, threads take longer to wait for each other than to compute; and on a machine that
#: others use too, twenty times as long.
SHARED_FROM_MACS = 10**8
#: What a training step multiplies, in forward passes.
PASSES = 3


@dataclass(frozen=True)
class Settings:
    """How a run is done, whatever it trains."""

    threads: int
    timeout_s: float
    epochs: int | None = None
    """How far to go; none: as the recipe says."""
    checkpoint_steps: int | None = None
    """How many steps lie between two checkpoints of an epoch; none: only its end has one."""


@dataclass(frozen=True)
class Plan:
    """What all frameworks are to do, the same for each."""

    network: Network
    training: Training
    evaluation: Evaluation
    batches: Batches
    identity: Identity
    weights: Path
    """The tensors that every framework starts from."""
    settings: Settings

    @property
    def epochs(self) -> int:
        """How many epochs a run has."""
        return self.settings.epochs or self.training.epochs

    @property
    def dataset(self) -> Dataset:
        """What is trained on."""
        return self.batches.data.squares.dataset


def usual_threads(network: Network) -> int:
    """How many threads a worker has unless the user says: all processors, but one for small steps."""
    batch = network.training.batch if network.training else 1
    return (os.cpu_count() or 1) if PASSES * network.macs * batch >= SHARED_FROM_MACS else 1


def plan_of(network: Network, dataset: Dataset, seed: int, settings: Settings, tell: Callable[[str], None]) -> Plan:
    """The plan of a run; every image is looked at. Raises InputError, and NotRunError for want of room."""
    preprocessing, training, evaluation = _sections(network)
    _require_logits(network, dataset)
    images = len(dataset.splits["train"])
    if images < training.batch:
        raise InputError(
            f"{dataset.name}: expected at least training.batch = {training.batch} training images, found {images}; "
            f"add some, or lower training.batch of {network.name}"
        )
    data = survey(network, preprocessing, dataset, tell)
    return Plan(
        network=network,
        training=training,
        evaluation=evaluation,
        batches=Batches(network, data, training.batch, seed),
        identity=identity_of(network, data.sha256, seed),
        weights=Store().weights_file(network, "paper", seed),
        settings=settings,
    )


def _sections(network: Network) -> tuple[Preprocessing, Training, Evaluation]:
    if network.preprocessing is None or network.training is None or network.evaluation is None:
        sections = ("preprocessing", "training", "evaluation")
        missing = " and ".join(repr(name) for name in sections if getattr(network, name) is None)
        raise InputError(f"{network.name}: expected a section {missing}, found none; a network is trained by them")
    return network.preprocessing, network.training, network.evaluation


def _require_logits(network: Network, dataset: Dataset) -> None:
    """Raise InputError where a label has no logit."""
    tap = logits_tap(network)
    shape = next(layer.output_shape for layer in network.layers if layer.name == tap)
    if len(shape) != 1:
        raise InputError(f"{network.name}: layer {tap!r}: expected logits (F), one a class, found {list(shape)}")
    if len(dataset.classes) > shape[0]:
        raise InputError(
            f"{dataset.name}: expected at most {shape[0]} classes, the logits {tap!r} of {network.name}, "
            f"found {len(dataset.classes)}"
        )
