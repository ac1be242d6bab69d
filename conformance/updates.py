"""One step of stochastic gradient descent, in each of the forms that a spec can state.

With velocity v, rate ε, momentum μ, decay λ and gradient g of the loss alone:

- rate inside the velocity (paper §5, cuda-convnet's `Weights::update`, Caffe, Keras): v ← μv − ε·g; w ← w + v
- rate outside the velocity (torch, optax): v ← μv + g; w ← w − ε·v
- decay inside the momentum, or coupled: g + λw stands for g
- decay decoupled: w ← w − ε·λ·w beside the velocity, w on the right being that of before the step

The two places of the rate agree while ε stays what it is, and no longer. Decay inside the momentum and coupled decay
are one update in exact arithmetic; they are rounded in another order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

import numpy as np

from conformance.windows import Array
from spec.recipe import Sgd


@dataclass(frozen=True)
class Rates:
    """Learning rates of one step."""

    weights: float
    biases: float


@dataclass(frozen=True)
class State:
    """What training carries from step to step, by canonical name."""

    parameters: dict[str, Array]
    velocities: dict[str, Array]


def start(parameters: Mapping[str, Array]) -> State:
    """The state before the first step: nothing moves yet."""
    return State(dict(parameters), {name: np.zeros_like(value) for name, value in parameters.items()})


def is_bias(name: str) -> bool:
    """Whether a parameter is one that adds: `conv1.bias`, `norm1.shift`."""
    return name.endswith((".bias", ".shift"))


def is_weight(name: str) -> bool:
    """Whether a parameter is the weight of a convolution or dense layer: `conv1.weight`."""
    return name.endswith(".weight")


def decay_of(name: str, optimizer: Sgd) -> float:
    """λ of the parameter `name`."""
    return optimizer.weight_decay if optimizer.decays == "weights_and_biases" or is_weight(name) else 0.0


def update(state: State, gradients: Mapping[str, Array], optimizer: Sgd, rates: Rates) -> State:
    """The state after one step; `state` is left as it is."""
    parameters, velocities = dict(state.parameters), dict(state.velocities)
    for name, g in gradients.items():
        rate = rates.biases if is_bias(name) else rates.weights
        parameters[name], velocities[name] = update_parameter(
            parameters[name], velocities[name], g, optimizer, rate, decay_of(name, optimizer)
        )
    return State(parameters, velocities)


def update_parameter(w: Array, v: Array, g: Array, optimizer: Sgd, rate: float, decay: float) -> tuple[Array, Array]:
    """The parameter `w` and its velocity `v` after one step."""
    μ, ε, λ = optimizer.momentum, rate, decay
    match optimizer.decay:
        case "inside_momentum" | "coupled":
            kept, pull = w, g + λ * w if λ else g
        case "decoupled":
            kept, pull = w - ε * λ * w, g
        case _:
            assert_never(optimizer.decay)
    match optimizer.rate:
        case "inside_velocity":
            v = μ * v - ε * pull
            w = kept + v
        case "outside_velocity":
            v = μ * v + pull
            w = kept - ε * v
        case _:
            assert_never(optimizer.rate)
    return w, v
