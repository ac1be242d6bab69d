"""The oracle's trajectory: what every step must leave behind, and how far correct float32 strays from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conformance.alternatives import Caps, Follower, alternatives
from conformance.caps import Trajectory
from conformance.measure import Array
from conformance.oracle import Tensors
from conformance.strays import rms, stray
from conformance.trajectory import Batch, beginning, step
from conformance.trajectory_batches import CANDIDATES, draw, step_count, step_rates
from conformance.trajectory_results import Answer, Course, Sizes, Strays
from conformance.updates import State
from impls.training import MASK, VELOCITY
from spec.network import Network
from spec.recipe import Training
from spec.tensors import write


@dataclass(frozen=True)
class Expected:
    """What workers are given, and what their answers are compared with."""

    course: Course
    batches: list[Path]
    """One a step, as `protocol.Train` reads it."""
    states: list[Path]
    """After each step, in float64, as `protocol.State` names its tensors."""
    unseen: dict[str, float]
    """Wrong optimisers that would not be caught: by how many caps each moves some tensor, at most."""


@dataclass(frozen=True)
class Unfit:
    """Why there is no trajectory that answers could be compared with."""

    reason: str


def oracle(
    network: Network, training: Training, tensors: Tensors, seed: int, folder: Path, rule: Trajectory
) -> Expected | Unfit:
    """Train from `tensors` in float64 and in float32; files go to `folder`. Raises InputError as `trajectory` does."""
    steps = step_count(network)
    rates = step_rates(training, steps)
    exact, statistics = beginning(network, tensors)
    single, single_statistics = beginning(network, tensors, np.float32)
    followers = _followers(training, steps, exact.parameters)
    losses, single_losses, sizes, strays = [], [], [], []
    batches, states = [], []
    for index, given in enumerate(rates):
        before = {**exact.parameters, **statistics}, {**single.parameters, **single_statistics}
        batch = draw(network, seed, index, given, *before, rule.margin)
        if batch is None:
            return Unfit(
                f"step {index + 1}: none of {CANDIDATES} images is one on which float32 decides every ReLU and pool "
                f"as float64 does (margin in conformance/caps.toml, trajectory)"
            )
        batches.append(_write_batch(folder / f"batch-{index}.safetensors", network.input.name, batch))
        taken = step(network, training, exact, statistics, batch, index)
        yardstick = step(network, training, single, single_statistics, batch, index)
        exact, single = taken.state, yardstick.state
        states.append(folder / f"state-{index}.safetensors")
        write(states[-1], state_tensors(exact))
        losses.append(taken.loss)
        single_losses.append(yardstick.loss)
        sizes.append({name: Sizes(rms(w), rms(exact.velocities[name])) for name, w in exact.parameters.items()})
        strays.append(state_strays(state_tensors(single), state_tensors(exact)))
        caps = _caps(sizes[-1], strays[-1], rule)
        for follower in followers.values():
            follower.step(index, taken.gradients, exact, caps)
    course = Course(losses, rates, sizes, Answer(single_losses, strays))
    unseen = {what: follower.seen for what, follower in followers.items() if follower.seen < rule.seen}
    return Expected(course, batches, states, unseen)


def state_tensors(state: State) -> dict[str, Array]:
    """A state's tensors as `protocol.State` names them."""
    return state.parameters | {f"{VELOCITY}{name}": value for name, value in state.velocities.items()}


def state_strays(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> dict[str, Strays]:
    """The errors of every parameter and velocity of a state."""
    names = [name for name in expected if not name.startswith(VELOCITY)]
    return {
        name: Strays(
            stray(actual.get(name), expected[name]),
            stray(actual.get(f"{VELOCITY}{name}"), expected[f"{VELOCITY}{name}"]),
        )
        for name in names
    }


def _followers(training: Training, steps: int, parameters: Mapping[str, Array]) -> dict[str, Follower]:
    stated = training.optimizer
    return {
        what: Follower(stated, other, step_rates(training.model_copy(update={"optimizer": other}), steps), parameters)
        for what, other in alternatives(stated)
    }


def _caps(sizes: Mapping[str, Sizes], strays: Mapping[str, Strays], rule: Trajectory) -> Caps:
    """How far a variant may be off whose peers are as good as the yardstick."""
    return {
        name: (
            rule.factor * rule.least * max(own.parameter.rms, rule.floor * sizes[name].parameter),
            rule.factor * rule.least * max(own.velocity.rms, rule.floor * sizes[name].velocity),
        )
        for name, own in strays.items()
    }


def _write_batch(path: Path, name: str, batch: Batch) -> Path:
    """A batch as a file of one step."""
    rates = np.array([batch.rates.weights, batch.rates.biases])
    tensors: dict[str, Array] = {
        name: batch.x.astype(np.float32),
        "labels": batch.labels.astype(np.int64),
        "rates": rates,
        **{f"{MASK}{dropout}": mask for dropout, mask in batch.masks.items()},
    }
    write(path, {key: value[None] for key, value in tensors.items()})
    return path
