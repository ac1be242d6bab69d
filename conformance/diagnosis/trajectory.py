"""Diagnoses training: which other form of the update leads from a worker's own state to its next.

The state before the first wrong step is the worker's own, and so is the one after it: what went wrong earlier, or goes
wrong elsewhere, has no part in it. The gradient between them is the oracle's.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import numpy as np

from conformance.diagnosis.fields import other_choices
from conformance.diagnosis.notes import note
from conformance.measure import Array
from conformance.oracle import Tensors
from conformance.results import Explanation, Outcome, Result
from conformance.strays import rms, stray
from conformance.trajectory import Batch, step
from conformance.trajectory_batches import step_rates
from conformance.updates import Rates, State, decay_of, is_bias, update
from impls.training import VELOCITY, one_batch
from spec.network import Network
from spec.recipe import Sgd, Training
from spec.tensors import read

#: How far a step may be off, relative to the size of the velocity that it leaves: the errors of a gradient in float32.
RELATIVE = 1e-4
#: Of a parameter, roundings of its own size besides.
ROUNDINGS = 4.0 * 2.0**-24
UNIT = "of the size of the step"

Update = Callable[[State, Mapping[str, Array]], State]


@dataclass(frozen=True)
class Files:
    """What a worker was given, and the states that it left."""

    batches: Sequence[Path]
    states: Sequence[Path]
    """After every step; none where they were too large to keep."""
    resumed: Path
    """After the last step, resumed from the state in the middle."""


def diagnosed(
    results: Sequence[Result], network: Network, training: Training, tensors: Tensors, files: Files
) -> list[Result]:
    """The results; the parameter that went wrong first says what would explain it."""
    failed = [
        index for index, own in enumerate(results) if own.outcome is Outcome.FAILED and own.step and own.tap != "loss"
    ]
    if not failed or not files.states:
        return list(results)
    index = min(failed, key=lambda each: (results[each].step or 0, each))
    result = results[index]
    with np.errstate(all="ignore"):
        if "resum" in result.message:
            found, tried = _of_resuming(result, network, training, tensors, files)
        else:
            found, tried = _of_step(result, network, training, tensors, files)
    return [*results[:index], replace(result, explanations=found, tried=tried), *results[index + 1 :]]


def _of_step(
    result: Result, network: Network, training: Training, tensors: Tensors, files: Files
) -> tuple[tuple[Explanation, ...], int]:
    assert result.step is not None
    place = result.step - 1
    before, statistics = _state(files.states[place - 1] if place else None, network, tensors)
    after, _ = _state(files.states[place], network, tensors)
    batch = _batch(files.batches[place])
    gradients = step(network, training, before, statistics, batch, place).gradients
    rates = [_batch(path).rates for path in files.batches]
    off = _off(update(before, gradients, training.optimizer, batch.rates), before, after)
    tried, found = 0, []
    momentum = _momentum(before, after, gradients, training.optimizer, batch.rates)
    for change, updated in _updates(training, rates, place, len(batch.labels), momentum):
        tried += 1
        left = _off(updated(before, gradients), before, after)
        if left <= RELATIVE < off:
            said = note("sgd", change, result.variant.framework)
            found.append(Explanation(change, off, left, UNIT, said))
    return tuple(sorted(found, key=lambda each: float(f"{each.after:.2g}"))), tried


def _momentum(before: State, after: State, gradients: Mapping[str, Array], stated: Sgd, rates: Rates) -> float:
    """Which momentum fits best what became of the velocities, in three digits."""
    still = update(before, gradients, stated.model_copy(update={"momentum": 0.0}), rates).velocities
    kept = sum(float(np.vdot(after.velocities[name] - still[name], v)) for name, v in before.velocities.items())
    size = sum(float(np.vdot(v, v)) for v in before.velocities.values())
    return float(f"{kept / size:.3g}") if size > 0 else 0.0


def _updates(
    training: Training, rates: Sequence[Rates], place: int, images: int, fitting: float
) -> Iterator[tuple[str, Update]]:
    """Other forms of step `place`, each in words."""
    stated, own = training.optimizer, rates[place]

    def by(optimizer: Sgd, given: Rates = own) -> Update:
        return lambda state, gradients: update(state, gradients, optimizer, given)

    for change, other in other_choices(stated):
        own_rates = step_rates(training.model_copy(update={"optimizer": other}), len(rates))[place]
        yield change, by(other, own_rates)
    before, after = rates[max(0, place - 1)], rates[min(len(rates) - 1, place + 1)]
    yield "schedule: a step late", by(stated, before)
    yield "schedule: a step early", by(stated, after)
    for momentum in (0.0, 0.5, 0.99, 1.0 - stated.momentum):
        yield f"momentum: {momentum:g}", by(stated.model_copy(update={"momentum": momentum}))
    for decay in (0.0, stated.weight_decay * 2, stated.weight_decay / 2, 1e-4, 5e-5, -stated.weight_decay):
        yield f"weight_decay: {decay:g}", by(stated.model_copy(update={"weight_decay": decay}))
    for factor in (1.0, 2.0, 0.5):
        if factor != stated.bias_rate_factor:
            given = Rates(own.weights, own.biases * factor / stated.bias_rate_factor)
            yield f"bias_rate_factor: {factor:g}", by(stated, given)
    for factor in (10.0, 0.1, 2.0, 0.5):
        yield f"rate: times {factor:g}", by(stated, Rates(own.weights * factor, own.biases * factor))
    yield "rate: of the day, in the whole velocity", _rescaled(stated, before, own)
    yield "momentum: Nesterov's", _nesterov(stated, own)
    yield "momentum: dampened", _of_gradients(stated, own, 1.0 - stated.momentum)
    yield "loss: summed", _of_gradients(stated, own, float(images))
    yield "loss: averaged", _of_gradients(stated, own, 1.0 / images)
    yield "gradient: negated", _of_gradients(stated, own, -1.0)
    yield "gradient: missing", _of_gradients(stated, own, 0.0)
    yield (
        "velocity: 0 before the step",
        lambda state, gradients: update(
            State(state.parameters, {name: np.zeros_like(v) for name, v in state.velocities.items()}),
            gradients,
            stated,
            own,
        ),
    )
    yield "weight_decay: not multiplied by the rate", _decay_without_rate(stated, own)
    yield "update: none", lambda state, _: state
    yield f"momentum: {fitting:g}", by(stated.model_copy(update={"momentum": fitting}))


def _rescaled(stated: Sgd, before: Rates, own: Rates) -> Update:
    """Torch's momentum, seen as a velocity that parameters last moved by: a change of the rate scales all of it."""

    def updated(state: State, gradients: Mapping[str, Array]) -> State:
        factors = {False: own.weights / before.weights, True: own.biases / before.biases}
        velocities = {name: v * factors[is_bias(name)] for name, v in state.velocities.items()}
        return update(State(state.parameters, velocities), gradients, stated, own)

    return updated


def _nesterov(stated: Sgd, own: Rates) -> Update:
    def updated(state: State, gradients: Mapping[str, Array]) -> State:
        once = update(state, gradients, stated, own)
        again = update(State(state.parameters, once.velocities), gradients, stated, own)
        return State(again.parameters, once.velocities)

    return updated


def _of_gradients(stated: Sgd, own: Rates, factor: float) -> Update:
    return lambda state, gradients: update(state, {name: g * factor for name, g in gradients.items()}, stated, own)


def _decay_without_rate(stated: Sgd, own: Rates) -> Update:
    def updated(state: State, gradients: Mapping[str, Array]) -> State:
        bare = update(state, gradients, stated.model_copy(update={"weight_decay": 0.0}), own)
        parameters = {
            name: value - decay_of(name, stated) * state.parameters[name] for name, value in bare.parameters.items()
        }
        return State(parameters, bare.velocities)

    return updated


def _of_resuming(
    result: Result, network: Network, training: Training, tensors: Tensors, files: Files
) -> tuple[tuple[Explanation, ...], int]:
    """What would explain another end after a state was written and loaded."""
    middle = (len(files.states) + 1) // 2
    loaded, statistics = _state(files.states[middle - 1], network, tensors)
    last, _ = _state(files.states[-1], network, tensors)
    after, _ = _state(files.resumed, network, tensors)
    batches = [_batch(path) for path in files.batches]
    zeros = {name: np.zeros_like(value) for name, value in loaded.velocities.items()}
    begin, _ = _state(None, network, tensors)
    off = _off(last, loaded, after)
    starts = {
        "velocity: of before the state was loaded": State(loaded.parameters, last.velocities),
        "velocity: 0 after the state was loaded": State(loaded.parameters, zeros),
        "state: not loaded": last,
        "parameters: not loaded": State(last.parameters, loaded.velocities),
        "state: that of the beginning": begin,
    }
    found = []
    for change, state in starts.items():
        for place, batch in enumerate(batches[middle:], middle):
            state = step(network, training, state, statistics, batch, place).state
        left = _off(state, loaded, after)
        if left <= RELATIVE * len(batches) and left < off:
            found.append(Explanation(change, off, left, UNIT, note("sgd", change, result.variant.framework)))
    return tuple(sorted(found, key=lambda each: each.after)), len(starts)


def _off(expected: State, before: State, actual: State) -> float:
    """The largest error of a velocity, or of what a parameter moved by, relative to its size (RMS)."""
    worst = 0.0
    for name, velocity in actual.velocities.items():
        size = max(rms(velocity), rms(expected.velocities[name]))
        worst = max(worst, _ratio(rms(expected.velocities[name] - velocity), size))
        moved = actual.parameters[name] - before.parameters[name]
        apart = stray(actual.parameters[name].astype(np.float32), expected.parameters[name]).rms
        apart = max(0.0, apart - ROUNDINGS * rms(actual.parameters[name]))
        worst = max(worst, _ratio(apart, max(rms(moved), rms(expected.parameters[name] - before.parameters[name]))))
    return worst


def _ratio(apart: float, size: float) -> float:
    return apart / size if size > 0 else (0.0 if apart == 0 else inf)


def _state(path: Path | None, network: Network, tensors: Tensors) -> tuple[State, dict[str, Array]]:
    """The state in a file, or the one before the first step, in float64; and what does not train."""
    trained = [name for layer in network.layers for name in layer.parameter_shapes]
    found = read(path) if path is not None else {}
    parameters: dict[str, Array] = {name: np.asarray(found.get(name, tensors[name]), np.float64) for name in trained}
    velocities: dict[str, Array] = {
        name: np.asarray(found.get(f"{VELOCITY}{name}", np.zeros_like(value)), np.float64)
        for name, value in parameters.items()
    }
    statistics = {name: np.asarray(value, np.float64) for name, value in tensors.items() if name not in parameters}
    return State(parameters, velocities), statistics


def _batch(path: Path) -> Batch:
    own = one_batch({name: value[0] for name, value in read(path).items()})
    return Batch(own.x, own.labels, own.masks, Rates(*own.rates))
