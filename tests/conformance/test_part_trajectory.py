"""The part that trains: correct float32 passes, every wrong recipe is caught at its step, nothing passes unseen."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance import trajectory_batches
from conformance.part import Given
from conformance.part_trajectory import TrajectoryPart
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Outcome, Result
from conformance.trajectory_batches import step_count, step_rates
from conformance.trajectory_oracle import Expected, Unfit
from conformance.trajectory_results import Answer
from conformance.updates import Rates, is_bias
from impls.protocol import Load
from impls.training import Batch
from spec.load import load
from spec.network import Network
from spec.recipe import Training
from spec.tensors import read
from tests.conformance.stand_in import asked, given, judged

PART = TrajectoryPart()
CHANGE = "the rate changed from 0.01 to 0.001"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trajectory")


@dataclass(frozen=True)
class Run:
    """The oracle's trajectory of a recipe, and what runners make of it."""

    given: Given
    expected: Expected
    folder: Path

    def answer(self, runner: NumpyRunner) -> Answer:
        answer = asked(PART, self.given, self.expected, runner, self.folder)
        assert isinstance(answer, Answer)
        return answer

    def results(self, runner: NumpyRunner) -> dict[str, Result]:
        return judged(PART, self.given, self.expected, self.answer(runner))


def run_of(folder: Path, network: Network | None = None) -> Run:
    start = given(network)
    expected = PART.expected(start, folder)
    assert isinstance(expected, Expected)
    return Run(start, expected, folder)


@pytest.fixture(scope="module")
def paper(folder: Path) -> Run:
    return run_of(folder)


def failed(results: Mapping[str, Result]) -> dict[str, str]:
    return {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASSED}


def steps(results: Mapping[str, Result]) -> dict[str, int | None]:
    return {name: result.step for name, result in results.items() if result.outcome is Outcome.FAILED}


# --- What is right ----------------------------------------------------------------------------------------------------


def test_numpy_in_float32_passes_and_every_parameter_and_the_loss_have_a_result(paper: Run) -> None:
    results = paper.results(NumpyRunner(""))
    assert failed(results) == {}
    assert list(results) == ["loss", *(name for layer in paper.given.network.layers for name in layer.parameter_shapes)]
    assert {result.operator for name, result in results.items() if name != "loss"} == {"conv", "dense"}
    for name, result in results.items():
        if name != "loss":
            assert result.effective_bits is not None
            assert 19 < result.effective_bits < 24


def test_what_is_told_of_a_run_is_true(paper: Run) -> None:
    course = paper.expected.course
    assert course.rates == [Rates(0.01, 0.01)] * 10 + [Rates(0.001, 0.001)] * 10
    assert course.when(0, bias=False) == "step 1 of 20, at rate 0.01"
    assert course.when(10, bias=True) == f"step 11 of 20, the first after {CHANGE}"
    assert course.when(19, bias=False) == f"step 20 of 20, after {CHANGE}"
    assert paper.expected.unseen == {}
    assert len(paper.expected.batches) == len(paper.expected.states) == 20
    assert min(course.losses) > 0.5
    assert len(set(course.losses)) == 20


def network_with(training: Mapping[str, Any] | None = None, **optimizer: Any) -> Network:
    network = load("alexnet_narrow")
    assert network.training is not None
    stated = network.training.optimizer.model_copy(update=optimizer)
    return network.model_copy(
        update={"training": network.training.model_copy(update={"optimizer": stated, **(training or {})})}
    )


class RunnerOf(NumpyRunner):
    """A runner of a network that no file ships."""

    def __init__(self, network: Network, fault: str = "") -> None:
        super().__init__(fault)
        self.own = network

    def load(self, request: Load) -> None:
        super().load(request)
        self.network = self.own


RECIPES: dict[str, dict[str, Any]] = {
    "code2012": {"bias_rate_factor": 2.0, "bias_schedule": "constant"},
    "torch": {"rate": "outside_velocity", "decay": "coupled", "decays": "weights_and_biases", "weight_decay": 1e-4},
    "keras": {"decay": "decoupled"},
    "no decay": {"weight_decay": 0.0},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_other_recipes_pass_too_and_the_trajectory_can_tell_them_from_others(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trajectory_batches, "MANY_STEPS", 6)
    network = network_with(**RECIPES[recipe])
    run = run_of(tmp_path, network)
    assert failed(run.results(RunnerOf(network))) == {}
    assert run.expected.unseen == {}


# --- What is wrong ----------------------------------------------------------------------------------------------------


def test_momentum_as_torch_has_it_shows_in_the_first_step_after_the_rate_has_changed(paper: Run) -> None:
    results = paper.results(NumpyRunner("momentum_of_torch"))
    parameters = {name for name in results if name != "loss"}
    assert {name: step for name, step in steps(results).items() if name != "loss"} == dict.fromkeys(parameters, 11)
    assert steps(results)["loss"] == 12
    for name in parameters:
        assert results[name].message.startswith(f"step 11 of 20, the first after {CHANGE}: its velocity")
        assert "conformance/caps.toml, trajectory" in results[name].message


def test_decay_of_biases_shows_in_the_first_step_of_those_that_are_not_zero(paper: Run) -> None:
    results = paper.results(NumpyRunner("decay_on_biases"))
    at_once = {name for name, step in steps(results).items() if step == 1}
    assert at_once == {"conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"}
    assert results["conv2.bias"].message.startswith(
        "step 1 of 20, at rate 0.01: its velocity and the parameter diverged first: at ["
    )


def test_decay_outside_the_momentum_shows_in_the_first_velocity_of_weights_and_not_in_the_weights(paper: Run) -> None:
    results = paper.results(NumpyRunner("decay_outside_momentum"))
    for name, result in results.items():
        if name.endswith(".weight"):
            assert result.message.startswith("step 1 of 20, at rate 0.01: its velocity diverged first: at [")
        elif is_bias(name):
            assert result.step != 1


def test_a_velocity_that_is_not_the_one_it_was_given_shows_after_resuming(paper: Run) -> None:
    results = paper.results(NumpyRunner("stale_velocity_after_resume"))
    assert results["loss"].outcome is Outcome.PASSED
    for name in ("conv1.weight", "fc8.bias"):
        assert results[name].outcome is Outcome.FAILED
        assert "resumed" in results[name].message


class Summing(NumpyRunner):
    """Its loss is the sum over the batch."""

    def load(self, request: Load) -> None:
        super().load(request)
        assert self.network.training is not None
        loss = self.network.training.loss.model_copy(update={"reduction": "sum"})
        training = self.network.training.model_copy(update={"loss": loss})
        self.network = self.network.model_copy(update={"training": training})


def test_a_sum_of_losses_shows_in_the_first_loss(paper: Run) -> None:
    results = paper.results(Summing(""))
    assert steps(results) == dict.fromkeys(results, 1)


class OffByOneUlp(NumpyRunner):
    """What it is given back is not quite what it wrote."""

    def start(self, velocities: Any) -> None:
        if velocities is not None:
            velocities = {name: np.nextafter(value, np.float32(np.inf)) for name, value in velocities.items()}
        super().start(velocities)


def test_a_resumed_run_must_give_the_same_bits(paper: Run) -> None:
    results = paper.results(OffByOneUlp(""))
    message = results["fc8.weight"].message
    assert message.startswith("after step 20, resumed after step 10: ")
    assert message.endswith(" without")
    assert results["fc8.weight"].step == 20


class Unrepeatable(NumpyRunner):
    """Its sums come out otherwise each time, as those of some kernels do."""

    random = np.random.default_rng(0)

    def step(self, batch: Batch) -> float:
        loss = super().step(batch)
        for name, value in self._trained.velocities.items():
            noise = self.random.standard_normal(value.shape) * 2.0**-24
            self._trained.velocities[name] = (value * (1 + noise)).astype(np.float32)
        return loss


def test_a_framework_that_never_gives_the_same_bits_is_judged_by_its_errors_after_resuming(paper: Run) -> None:
    answer = paper.answer(Unrepeatable(""))
    assert answer.resumed_strays
    assert not answer.resumed
    assert failed(judged(PART, paper.given, paper.expected, answer)) == {}


class Forgetful(NumpyRunner):
    """It leaves out a tensor of its state, and gives another in the wrong precision."""

    def state(self) -> Any:
        tensors, velocities = super().state()
        velocities = {name: value for name, value in velocities.items() if name != "conv3.bias"}
        return tensors | {"fc7.weight": tensors["fc7.weight"].astype(np.float64)}, velocities

    def start(self, velocities: Any) -> None:
        super().start({"conv3.bias": np.zeros(24, np.float32), **velocities} if velocities else None)


def test_tensors_that_are_missing_or_of_another_precision_fail_by_name(paper: Run) -> None:
    messages = failed(paper.results(Forgetful("")))
    assert messages["conv3.bias"].endswith("its velocity diverged first: expected a tensor of that name, found none")
    assert messages["fc7.weight"].endswith("the parameter diverged first: expected float32, found float64")


def test_peers_say_what_is_usual_and_a_wrong_one_of_three_does_not(paper: Run) -> None:
    right, wrong = paper.answer(NumpyRunner("")), paper.answer(NumpyRunner("decay_on_biases"))
    assert failed(judged(PART, paper.given, paper.expected, right, [right, wrong])) == {}
    assert "conv2.bias" in failed(judged(PART, paper.given, paper.expected, wrong, [right]))


def test_a_fault_that_all_variants_share_is_caught_all_the_same(paper: Run) -> None:
    wrong = paper.answer(NumpyRunner("decay_on_biases"))
    assert steps(judged(PART, paper.given, paper.expected, wrong, [wrong] * 5))["conv2.bias"] == 1


# --- What proves nothing ----------------------------------------------------------------------------------------------


def test_a_decay_that_no_step_shows_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trajectory_batches, "MANY_STEPS", 4)
    run = run_of(tmp_path, network_with(weight_decay=1e-12))
    assert set(run.expected.unseen) == {"weight_decay 0", "decay decoupled"}
    results = run.results(RunnerOf(run.given.network))
    (message,) = failed(results).values()
    assert results["trajectory"].outcome is Outcome.SKIPPED
    assert message.startswith("too few caps apart to be told from what the spec states: weight_decay 0 (")


def test_parameters_that_never_move_prove_nothing(paper: Run) -> None:
    still = [
        {name: replace(size, velocity=0.0) if name == "conv1.bias" else size for name, size in sizes.items()}
        for sizes in paper.expected.course.sizes
    ]
    expected = replace(paper.expected, course=replace(paper.expected.course, sizes=still))
    results = judged(PART, paper.given, expected, paper.answer(NumpyRunner("")))
    assert failed(results) == {"conv1.bias": "vacuous: it never moves; use another seed"}


def test_without_images_that_float32_decides_alike_there_is_no_trajectory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trajectory_batches, "CANDIDATES", 0)
    start = given()
    expected = PART.expected(start, tmp_path)
    assert isinstance(expected, Unfit)
    own = asked(PART, start, expected, NumpyRunner(""), tmp_path)
    (result,) = judged(PART, start, expected, own).values()
    assert result.outcome is Outcome.SKIPPED
    assert result.message.startswith("step 1: none of ")


def test_a_recipe_that_diverges_is_told(tmp_path: Path) -> None:
    schedule = training("alexnet_narrow").schedule.model_copy(update={"rate": 1e30})
    expected = PART.expected(given(network_with({"schedule": schedule})), tmp_path)
    assert isinstance(expected, Unfit)
    assert expected.reason.startswith("step 2: ")


def test_it_is_run_once_for_the_weights_that_training_begins_with() -> None:
    assert PART.skipped(given()) == ""
    assert PART.skipped(given(weights="scaled")).startswith("training begins with the spec's own initialisers")


# --- What it is run on ------------------------------------------------------------------------------------------------


def training(network: str) -> Training:
    stated = load(network).training
    assert stated is not None
    return stated


def test_the_rates_are_the_recipes_own_before_and_after_their_first_change() -> None:
    first = {name: step_rates(training(name), 3) for name in ("alexnet", "alexnet_code2012", "bvlc_alexnet")}
    assert first["alexnet"] == [Rates(0.01, 0.01), Rates(0.01, 0.01), Rates(0.001, 0.001)]
    assert first["alexnet_code2012"] == [Rates(0.01, 0.02), Rates(0.01, 0.02), Rates(0.001, 0.02)]
    assert first["bvlc_alexnet"] == [Rates(0.01, 0.02), Rates(0.01, 0.02), Rates(0.001, 0.002)]


def test_small_networks_take_twenty_steps_and_the_papers_three() -> None:
    assert step_count(load("alexnet_narrow")) == 20
    assert step_count(load("alexnet")) == 3


def test_images_labels_and_masks_differ_from_step_to_step_and_are_the_same_again(paper: Run, tmp_path: Path) -> None:
    batches = [read(path) for path in paper.expected.batches]
    for name in ("image", "mask.drop6", "mask.drop7"):
        assert len({batch[name].tobytes() for batch in batches}) == 20
    assert len({batch["labels"].tobytes() for batch in batches}) > 10
    assert batches[0]["image"].shape == (1, 2, 3, 135, 99)
    assert len(np.unique(batches[0]["image"][0], axis=0)) == 2
    again = run_of(tmp_path)
    assert [path.read_bytes() for path in again.expected.batches] == [
        path.read_bytes() for path in paper.expected.batches
    ]
