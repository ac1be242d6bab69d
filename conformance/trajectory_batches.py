"""What a trajectory is run on: how many steps, and the images, labels, dropout masks and rates of each."""

from collections.abc import Iterator
from math import ceil
from typing import assert_never

import numpy as np

from conformance.backpropagation import logits_tap
from conformance.decisions import is_decided
from conformance.dropout import drawn_masks
from conformance.losses import Labels
from conformance.oracle import Tensors
from conformance.schedules import rates
from conformance.trajectory import Batch
from conformance.updates import Rates
from conformance.windows import Array
from spec.inputs import noise
from spec.network import Network
from spec.recipe import Plateau, Steps, Training
from spec.weights import generator

IMAGES = 2
"""A batch: more than one, so that the loss's mean is not its sum."""
MANY_STEPS, FEW_STEPS = 20, 3
"""Of small networks, and of all others: the least with a velocity that is not new, a change of rates, and a step on."""
SMALL_PARAMETERS, SMALL_MACS = 1_000_000, 50_000_000
"""A network is small if 20 steps of it take the oracle seconds."""
CANDIDATES = 128
"""How many images are looked at for one place in a batch. Of the paper's network one in ten will do."""


def step_count(network: Network) -> int:
    """How many steps the oracle can afford."""
    small = network.parameters <= SMALL_PARAMETERS and network.macs <= SMALL_MACS
    return MANY_STEPS if small else FEW_STEPS


def step_rates(training: Training, steps: int) -> list[Rates]:
    """The first rates of the recipe, and from the middle on those after their first change."""
    schedule = training.schedule
    changed = first_change(schedule)
    before = rates(schedule, training.optimizer, 0, [])
    after = rates(schedule, training.optimizer, changed, [0.0] * changed)  # errors that never fall
    middle = ceil(steps / 2)
    return [before] * middle + [after] * (steps - middle)


def first_change(schedule: Steps | Plateau) -> int:
    """The epoch before which the rate falls first, if validation errors never do."""
    match schedule:
        case Steps(epochs=epochs):
            return epochs[0]
        case Plateau(patience=patience):
            return patience + 1
        case _:
            assert_never(schedule)


def draw(
    network: Network, seed: int, step: int, given: Rates, exact: Tensors, single: Tensors, margin: float
) -> Batch | None:
    """The batch of step `step`, of images that float32 decides as float64 does; none where there are no such images.

    `exact` and `single` are all tensors before the step in float64 and in float32; for `margin` see `is_decided`.
    """
    masks = drawn_masks(network, IMAGES, seed, step)
    images = []
    for place in range(IMAGES):
        own = {name: mask[place : place + 1] for name, mask in masks.items()}
        decided = (x for x in _images(network, seed, step, place) if is_decided(network, exact, single, x, own, margin))
        image = next(decided, None)
        if image is None:
            return None
        images.append(image)
    return Batch(np.concatenate(images), _labels(network, seed, step), masks, given)


def _images(network: Network, seed: int, step: int, place: int) -> Iterator[Array]:
    """Noise, since photographs have flat regions, whose windows hold equal elements; each (1, *input shape)."""
    for candidate in range(CANDIDATES):
        drawn = generator(seed, "trajectory", step, place, candidate)
        yield noise(network, int(drawn.integers(2**62)), 1)


def _labels(network: Network, seed: int, step: int) -> Labels:
    logits = next(layer for layer in network.layers if layer.name == logits_tap(network))
    return generator(seed, "labels", step).integers(logits.output_shape[0], size=IMAGES)
