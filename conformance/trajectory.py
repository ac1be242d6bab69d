"""Training, step by step: what parameters, velocities and loss of every framework are held against.

In float64 it is the oracle; in float32 the yardstick, which says how far correct float32 strays from it.
"""

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


Precision = type[np.float64] | type[np.float32]


def trajectory(
    network: Network,
    tensors: Tensors,
    training: Training,
    batches: Iterable[Batch],
    precision: Precision = np.float64,
) -> Iterator[Step]:
    """Every step from `tensors`; a step's arrays are its own, and gone once nobody holds them.

    Statistics of batch norms stay what they are. Raises InputError for wrong masks or labels, and where the loss is no
    longer finite.
    """
    state, statistics = beginning(network, tensors, precision)
    for index, batch in enumerate(batches):
        taken = step(network, training, state, statistics, batch, index)
        state = taken.state
        yield taken


def beginning(network: Network, tensors: Tensors, precision: Precision = np.float64) -> tuple[State, Tensors]:
    """The state before the first step, and the tensors that do not train: statistics of batch norms."""
    trained = {name for layer in network.layers for name in layer.parameter_shapes}
    values: dict[str, Array] = {name: value.astype(precision) for name, value in tensors.items()}
    state = start({name: value for name, value in values.items() if name in trained})
    return state, {name: value for name, value in values.items() if name not in trained}


def step(network: Network, training: Training, state: State, statistics: Tensors, batch: Batch, index: int = 0) -> Step:
    """Step `index` from `state`, in its precision; raises InputError as `trajectory` does."""
    tensors = {**state.parameters, **statistics}
    precision = next(iter(tensors.values())).dtype
    back = backpropagate(network, tensors, batch.x.astype(precision), batch.labels, batch.masks, training.loss)
    if not isfinite(back.loss):
        raise InputError(
            f"{network.name}: training: expected a finite loss, found {back.loss} at step {index}; "
            "lower the rate, or look at the inputs"
        )
    return Step(back.loss, back.parameters, update(state, back.parameters, training.optimizer, batch.rates))
