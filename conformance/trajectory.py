"""Training, step by step, in float64: what parameters, velocities and loss of every framework are held against."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

import numpy as np

from conformance.backpropagation import Masks, backpropagate
from conformance.losses import Labels
from conformance.oracle import Tensors
from conformance.updates import Rates, State, start, update
from conformance.windows import Array
from spec.exits import InputError
from spec.network import Network
from spec.recipe import Training


@dataclass(frozen=True)
class Batch:
    """Everything that one step is given; the same for every framework."""

    x: Array
    """(N, *input shape)."""
    labels: Labels
    """(N)."""
    masks: Masks
    rates: Rates


@dataclass(frozen=True)
class Step:
    """What one step leaves behind."""

    loss: float
    """Before the step."""
    gradients: dict[str, Array]
    """Of the loss alone, before the step."""
    state: State
    """After the step."""


def trajectory(network: Network, tensors: Tensors, training: Training, batches: Iterable[Batch]) -> Iterator[Step]:
    """Every step from `tensors`, in float64; a step's arrays are its own, and gone once nobody holds them.

    Statistics of batch norms stay what they are. Raises InputError for wrong masks or labels, and where the loss is no
    longer finite.
    """
    known = {name for layer in network.layers for name in layer.parameter_shapes}
    wide = {name: value.astype(np.float64) for name, value in tensors.items()}
    state = start({name: value for name, value in wide.items() if name in known})
    statistics = {name: value for name, value in wide.items() if name not in known}
    del wide
    for index, batch in enumerate(batches):
        now = state.parameters | statistics
        back = backpropagate(network, now, batch.x.astype(np.float64), batch.labels, batch.masks, training.loss)
        if not isfinite(back.loss):
            raise InputError(
                f"{network.name}: training: expected a finite loss, found {back.loss} at step {index}; "
                "lower the rate, or look at the inputs"
            )
        state = update(state, back.parameters, training.optimizer, batch.rates)
        yield Step(back.loss, back.parameters, state)
