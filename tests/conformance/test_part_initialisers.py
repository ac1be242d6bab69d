"""The part of initialisers: draws that are as stated pass, and what is off by a word of the spec does not."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.draws import goodness, twins
from conformance.measure import Array
from conformance.part_initialisers import InitialisersPart, findings
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Outcome
from spec.network import Network
from spec.recipe import Constant, Initialiser, Normal, Uniform
from spec.weights import draw, generator, plan
from tests.conformance.stand_in import asked, given, judged
from tests.conformance.synthetic import narrow
from tests.spec.networks import branches

PART = InitialisersPart()
Tensors = dict[str, Array]


def drawn(network: Network, seed: int, stated: Mapping[str, Initialiser] | None = None) -> Tensors:
    chosen = dict(plan(network, "paper")) | dict(stated or {})
    return {
        name: draw(chosen[name], shape, generator(seed, "test", name)) for name, shape in network.tensor_shapes.items()
    }


def messages(first: Tensors, second: Tensors | None = None, network: Network | None = None) -> dict[str, str]:
    """What is wrong with each tensor of a draw; the draw from another seed is right."""
    network = network or narrow()
    expected = plan(network, "paper")
    second = second or drawn(network, 1)
    own = findings(expected, network.tensor_shapes, first, second)
    results = judged(PART, given(), expected, own)
    assert set(results) == set(network.tensor_shapes)
    return {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASSED}


def changed(name: str, change: Callable[[Array], Array]) -> dict[str, str]:
    first = drawn(narrow(), 0)
    return messages(first | {name: change(first[name]).astype(np.float32)})


# --- What is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_right_draws_pass(seed: int) -> None:
    assert messages(drawn(narrow(), seed), drawn(narrow(), seed + 100)) == {}


class SameFromEverySeed(NumpyRunner):
    """It has a seed of its own."""

    def initialise(self, seed: int) -> Tensors:
        return super().initialise(0)


def test_a_runner_is_asked_for_two_seeds(tmp_path: Path) -> None:
    start = given()
    expected = PART.expected(start, tmp_path)
    right, wrong = (
        asked(PART, start, expected, runner, tmp_path) for runner in (NumpyRunner(""), SameFromEverySeed(""))
    )
    assert {result.outcome for result in judged(PART, start, expected, right).values()} == {Outcome.PASSED}
    failed = [name for name, result in judged(PART, start, expected, wrong).items() if result.outcome is Outcome.FAILED]
    assert failed == [name for name in expected if name.endswith(".weight")]


def test_it_is_run_once_beside_the_weights_that_training_begins_with() -> None:
    assert PART.skipped(given()) == ""
    assert PART.skipped(given(weights="scaled")).startswith("initialisers are drawn beside the weights 'paper'")


def test_batch_norm_begins_as_the_identity() -> None:
    network = branches().model_copy(update={"training": narrow().training})
    first, second = drawn(network, 0), drawn(network, 1)
    assert messages(first, second, network) == {}
    wrong = messages(first | {"norm.variance": np.zeros_like(first["norm.variance"])}, second, network)
    assert wrong == {"norm.variance": "at [0] actual 0, expected 1 everywhere"}


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["conv1.weight", "fc8.weight"])
def test_a_standard_deviation_of_003_for_001_is_caught(name: str) -> None:
    (message,) = changed(name, lambda values: 3 * values).values()
    assert message.startswith("expected draws from normal (mean 0, std 0.01), found distributions 0.")
    assert "conformance/caps.toml, random" in message


@pytest.mark.parametrize("name", ["conv3.weight", "fc8.weight"])
def test_a_mean_that_is_shifted_by_a_standard_deviation_is_caught(name: str) -> None:
    assert list(changed(name, lambda values: values + 0.01)) == [name]


def test_a_uniform_distribution_of_the_same_mean_and_deviation_is_caught() -> None:
    uniform = Uniform(kind="uniform", low=-0.01 * 3**0.5, high=0.01 * 3**0.5)
    first = drawn(narrow(), 0) | {"conv3.weight": drawn(narrow(), 0, {"conv3.weight": uniform})["conv3.weight"]}
    assert list(messages(first)) == ["conv3.weight"]


def test_a_normal_distribution_cut_off_at_two_deviations_is_caught_in_large_tensors() -> None:
    stated = Normal(kind="normal", mean=0.0, std=0.01)
    values = draw(stated, (100_000,), generator(0, "cut"))
    assert goodness(values, stated)[1] > 1e-4
    assert goodness(np.where(np.abs(values) > 0.02, values / 3, values), stated)[1] < 1e-20


def test_a_constant_that_is_off_in_one_element_is_caught_there() -> None:
    def one_off(values: Array) -> Array:
        values[7] = 0.9
        return values

    assert changed("conv2.bias", one_off) == {"conv2.bias": "at [7] actual 0.899999976, expected 1 everywhere"}


def test_one_stream_for_two_parameters_is_caught_whatever_their_shapes() -> None:
    first = drawn(narrow(), 0)
    stream = np.random.default_rng(0).standard_normal(9000).astype(np.float32) * np.float32(0.01)
    shared = {name: stream[: first[name].size].reshape(first[name].shape) for name in ("conv2.weight", "conv3.weight")}
    assert messages(first | shared) == {
        "conv3.weight": "expected random numbers of its own, found those of conv2.weight"
    }


def test_the_same_draw_from_two_seeds_is_caught() -> None:
    first, second = drawn(narrow(), 0), drawn(narrow(), 1)
    found = messages(first, second | {"fc6.weight": first["fc6.weight"]})
    assert found == {"fc6.weight": "expected other numbers from another seed, found the same"}


def test_missing_and_misshapen_and_infinite_tensors_fail_by_name() -> None:
    first = drawn(narrow(), 0)
    first["conv1.weight"] = first["conv1.weight"].transpose(1, 0, 2, 3)
    first["fc7.weight"] = np.full_like(first["fc7.weight"], np.inf)
    del first["fc8.bias"]
    assert messages(first) == {
        "conv1.weight": "expected float32 of shape [8, 3, 11, 11], found float32 of shape [3, 8, 11, 11]",
        "fc7.weight": "expected finite numbers, found others",
        "fc8.bias": "expected float32 of shape [10], found none",
    }


def test_more_variants_are_more_tests_and_each_may_be_less_probable() -> None:
    network = narrow()
    expected = plan(network, "paper")
    own = findings(expected, network.tensor_shapes, drawn(network, 0), drawn(network, 1))
    least = 1e-6 / len(expected) / 2
    own["conv1.weight"] = replace(own["conv1.weight"], probability=least)
    alone = judged(PART, given(), expected, own)
    among = judged(PART, given(), expected, own, [own, own])
    assert alone["conv1.weight"].outcome is Outcome.FAILED
    assert among["conv1.weight"].outcome is Outcome.PASSED


# --- The tests themselves ---------------------------------------------------------------------------------------------

UNIFORM = Uniform(kind="uniform", low=-0.05, high=0.05)
NORMAL = Normal(kind="normal", mean=1.0, std=0.01)


@pytest.mark.parametrize("stated", [UNIFORM, NORMAL])
def test_probabilities_of_right_draws_are_uniform(stated: Normal | Uniform) -> None:
    found = [goodness(draw(stated, (500,), generator(seed, "goodness")), stated)[1] for seed in range(200)]
    assert abs(np.mean(found) - 0.5) < 0.1
    assert 1e-4 < min(found) < 0.05


def test_values_of_large_tensors_are_in_each_other_by_chance_and_no_twins() -> None:
    stated: dict[str, Initialiser] = {
        "a": UNIFORM,
        "b": UNIFORM,
        "c": NORMAL,
        "d": NORMAL,
        "e": Constant(kind="constant", value=1.0),
    }
    tensors = {name: draw(one, (1 << 19,), generator(0, name)) for name, one in stated.items()}
    assert twins(tensors, stated) == {}
    assert twins(tensors | {"b": tensors["a"][:4000]}, stated) == {"b": "a"}
