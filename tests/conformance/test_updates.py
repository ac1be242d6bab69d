"""Update forms against exact fractions, worked out from the paper's and torch's definitions; the trajectory."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from conformance.backpropagation import backpropagate
from conformance.dropout import drawn_masks
from conformance.schedules import rates
from conformance.trajectory import Batch, Step, trajectory
from conformance.updates import Rates, State, start, update
from spec.exits import InputError
from spec.load import load
from spec.recipe import Sgd, Steps
from spec.weights import weights
from tests.conformance.second_formulations import Array

MOMENTUM, DECAY = Fraction(1, 2), Fraction(1, 4)
GRADIENTS = [Fraction(3), Fraction(-1), Fraction(2), Fraction(5)]
RATES = [Fraction(1, 2), Fraction(1, 2), Fraction(1, 8), Fraction(1, 8)]


def sgd(**values: Any) -> Sgd:
    stated = {
        "kind": "sgd",
        "momentum": float(MOMENTUM),
        "rate": "inside_velocity",
        "weight_decay": float(DECAY),
        "decay": "inside_momentum",
        "decays": "weights",
        "bias_rate_factor": 1.0,
        "bias_schedule": "of_weights",
    }
    return Sgd.model_validate(stated | values)


def run(optimizer: Sgd, name: str = "a.weight", steps: int = 4, rate_list: list[Fraction] = RATES) -> list[State]:
    state = start({name: np.array([1.0])})
    states = []
    for g, rate in list(zip(GRADIENTS, rate_list, strict=True))[:steps]:
        state = update(state, {name: np.array([float(g)])}, optimizer, Rates(float(rate), 2 * float(rate)))
        states.append(state)
    return states


def weights_of(states: list[State], name: str = "a.weight") -> list[float]:
    return [float(state.parameters[name][0]) for state in states]


def unrolled(inside: bool, decoupled: bool, decay: Fraction) -> list[float]:
    """w after each step from sums over all pulls so far: no velocity is kept."""
    w, pulls, values = Fraction(1), [], []
    for step, (g, rate) in enumerate(zip(GRADIENTS, RATES, strict=True)):
        pulls.append(g if decoupled else g + decay * w)
        rates_of_pulls = RATES if inside else [rate] * len(RATES)
        pull = sum(MOMENTUM ** (step - past) * rates_of_pulls[past] * pulls[past] for past in range(step + 1))
        w = w - pull - (rate * decay * w if decoupled else 0)
        values.append(float(w))
    return values


@pytest.mark.parametrize("rate", ["inside_velocity", "outside_velocity"])
@pytest.mark.parametrize("decay", ["inside_momentum", "coupled", "decoupled"])
def test_each_form_is_the_sum_over_all_gradients_so_far(rate: str, decay: str) -> None:
    expected = unrolled(rate == "inside_velocity", decay == "decoupled", DECAY)
    assert weights_of(run(sgd(rate=rate, decay=decay))) == expected


def test_update_of_the_paper_by_hand() -> None:
    # v ← 0.9·v − 0.0005·ε·w − ε·g; w ← w + v (§5), twice, then with a tenth of the rate.
    v = [-0.01 * 3 - 0.0005 * 0.01 * 2.0]
    w = [2.0 + v[0]]
    v.append(0.9 * v[0] - 0.0005 * 0.01 * w[0] - 0.01 * 1)
    w.append(w[0] + v[1])
    v.append(0.9 * v[1] - 0.0005 * 0.001 * w[1] - 0.001 * 4)
    w.append(w[1] + v[2])
    training = load("alexnet").training
    assert training is not None
    state = start({"fc8.weight": np.array([2.0])})
    for index, (g, rate) in enumerate([(3.0, 0.01), (1.0, 0.01), (4.0, 0.001)]):
        state = update(state, {"fc8.weight": np.array([g])}, training.optimizer, Rates(rate, rate))
        assert state.velocities["fc8.weight"][0] == pytest.approx(v[index], rel=1e-14)
        assert state.parameters["fc8.weight"][0] == pytest.approx(w[index], rel=1e-14)


def test_places_of_the_rate_agree_until_the_rate_changes_and_not_after() -> None:
    inside, outside = (weights_of(run(sgd(rate=rate))) for rate in ("inside_velocity", "outside_velocity"))
    assert inside[:2] == outside[:2]
    assert all(one != other for one, other in zip(inside[2:], outside[2:], strict=True))
    constant = [Fraction(1, 2)] * 4
    assert weights_of(run(sgd(), rate_list=constant)) == weights_of(
        run(sgd(rate="outside_velocity"), rate_list=constant)
    )


def test_decoupled_decay_differs_from_the_second_step_on() -> None:
    inside, decoupled = weights_of(run(sgd())), weights_of(run(sgd(decay="decoupled")))
    assert inside[0] == decoupled[0]
    assert inside[1] != decoupled[1]


@pytest.mark.parametrize("decay", ["inside_momentum", "coupled", "decoupled"])
@pytest.mark.parametrize("name", ["a.bias", "norm.scale", "norm.shift"])
def test_only_weights_decay_unless_the_spec_says_otherwise(decay: str, name: str) -> None:
    spared = run(sgd(decay=decay), name, 1)
    undecayed = run(sgd(decay=decay, weight_decay=0.0), name, 1)
    assert weights_of(spared, name) == weights_of(undecayed, name)
    assert weights_of(run(sgd(decay=decay, decays="weights_and_biases"), name, 1), name) != weights_of(spared, name)


def test_biases_have_a_rate_of_their_own() -> None:
    plain = sgd(weight_decay=0.0)
    assert weights_of(run(plain, "a.weight", 1)) == [1 - 0.5 * 3]
    assert weights_of(run(plain, "norm.scale", 1), "norm.scale") == [1 - 0.5 * 3]
    assert weights_of(run(plain, "a.bias", 1), "a.bias") == [1 - 2 * 0.5 * 3]
    assert weights_of(run(plain, "norm.shift", 1), "norm.shift") == [1 - 2 * 0.5 * 3]


def test_update_leaves_the_state_before_as_it_was() -> None:
    before = start({"a.weight": np.array([1.0])})
    update(before, {"a.weight": np.array([3.0])}, sgd(), Rates(0.5, 0.5))
    assert (before.parameters["a.weight"][0], before.velocities["a.weight"][0]) == (1.0, 0.0)


# --- Trajectory -------------------------------------------------------------------------------------------------------


def _steps(count: int, **optimizer: Any) -> list[Step]:
    """Training of the narrow AlexNet, whose rate falls to a tenth at step 3."""
    network = load("alexnet_narrow")
    assert network.training is not None
    schedule = Steps(kind="steps", rate=1e-5, factor=0.1, epochs=(1,))
    stated = network.training.optimizer.model_copy(update=optimizer)
    training = network.training.model_copy(update={"optimizer": stated, "schedule": schedule})
    batches = [
        Batch(
            np.random.default_rng(step).standard_normal((2, *network.input.shape)) * 60,
            np.array([step % 7, 3]),
            drawn_masks(network, 2, 0, step),
            rates(schedule, stated, step // 3, []),
        )
        for step in range(count)
    ]
    return list(trajectory(network, weights(network, "scaled", 0), training, batches))


def _furthest(one: dict[str, Array], other: dict[str, Array]) -> float:
    return max(float(np.abs(one[name] - other[name]).max() / np.abs(one[name]).max()) for name in one)


def test_trajectory_is_gradient_then_update_step_by_step() -> None:
    steps = _steps(5)
    network = load("alexnet_narrow")
    assert network.training is not None
    w = {name: value.astype(np.float64) for name, value in weights(network, "scaled", 0).items()}
    v = {name: np.zeros_like(value) for name, value in w.items()}
    for index, step in enumerate(steps):
        rate = 1e-5 if index < 3 else 1e-6
        x = np.random.default_rng(index).standard_normal((2, *network.input.shape)) * 60
        masks = drawn_masks(network, 2, 0, index)
        back = backpropagate(network, w, x, np.array([index % 7, 3]), masks, network.training.loss)
        assert step.loss == pytest.approx(back.loss, rel=1e-12)
        for name, g in back.parameters.items():
            v[name] = 0.9 * v[name] - rate * g - (0.0005 * rate * w[name] if name.endswith("weight") else 0.0)
            w[name] = w[name] + v[name]
        assert _furthest(w, step.state.parameters) < 1e-12
        assert _furthest(v, step.state.velocities) < 1e-10
    assert len({step.loss for step in steps}) == 5


def test_trajectory_shows_a_wrong_form_only_after_the_rate_has_changed() -> None:
    paper, torch_form = _steps(5), _steps(5, rate="outside_velocity")
    apart = [
        _furthest(one.state.parameters, other.state.parameters) for one, other in zip(paper, torch_form, strict=True)
    ]
    assert max(apart[:3]) < 1e-12
    assert min(apart[3:]) > 1e-9


def test_trajectory_shows_decay_of_biases() -> None:
    paper, wrong = (_steps(1, weight_decay=0.5, decays=decays)[0] for decays in ("weights", "weights_and_biases"))
    for name, value in paper.state.velocities.items():
        assert np.array_equal(value, wrong.state.velocities[name]) == name.endswith("weight")


def test_loss_that_is_not_finite_is_one_line() -> None:
    network = load("alexnet_narrow")
    assert network.training is not None
    x = np.full((2, *network.input.shape), np.nan)
    batch = Batch(x, np.array([0, 1]), drawn_masks(network, 2, 0, 0), Rates(0.1, 0.1))
    with pytest.raises(InputError, match="training: expected a finite loss, found nan at step 0; lower the rate"):
        list(trajectory(network, weights(network, "scaled", 0), network.training, [batch]))


def test_trajectory_in_float32_stays_in_float32_and_strays_by_its_rounding() -> None:
    network = load("alexnet_narrow")
    assert network.training is not None
    random = np.random.default_rng(3)
    x = random.standard_normal((2, *network.input.shape)) * 60
    batches = [Batch(x, np.array([1, 3]), drawn_masks(network, 2, 0, step), Rates(1e-5, 1e-5)) for step in range(3)]
    tensors = weights(network, "scaled", 0)
    exact, single = (
        list(trajectory(network, tensors, network.training, batches, kind))[-1] for kind in (np.float64, np.float32)
    )
    for name, velocity in single.state.velocities.items():
        assert velocity.dtype == single.state.parameters[name].dtype == np.dtype(np.float32)
        wide = exact.state.velocities[name]
        assert 1e-9 < np.linalg.norm(velocity - wide) / np.linalg.norm(wide) < 1e-4
