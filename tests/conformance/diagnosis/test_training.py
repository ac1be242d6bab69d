"""What failed parts of the training lane are explained by, planted in the NumPy runner."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance import part_dropout, part_evaluation, trajectory_batches
from conformance.part import Part
from conformance.part_colour import ColourPart
from conformance.part_dropout import DropoutPart
from conformance.part_evaluation import EvaluationPart
from conformance.part_trajectory import TrajectoryPart
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Result
from conformance.windows import Array
from impls.training import Batch
from tests.conformance.stand_in import asked, given, judged


class Wrong(NumpyRunner):
    """A right runner, but for what a test puts in the place of one of its methods."""

    def __init__(self, **methods: Callable[..., Any]) -> None:
        super().__init__("")
        for name, made in methods.items():
            right = getattr(self, name)
            setattr(self, name, lambda *own, made=made, right=right: made(self, right, *own))


class Prepared:
    """Parts with the oracle's answer, made once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: dict[str, Any] = {}

    def results(self, part: Part, runner: NumpyRunner) -> list[Result]:
        start = given(weights="paper" if part.name == "trajectory" else "scaled")
        folder = self.folder / part.name
        if part.name not in self.made:
            folder.mkdir()
            self.made[part.name] = part.expected(start, folder)
        expected = self.made[part.name]
        return list(judged(part, start, expected, asked(part, start, expected, runner, folder)).values())


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prepared]:
    """Parts that are small: a diagnosis needs no more than a failure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trajectory_batches, "MANY_STEPS", 4)
        patch.setattr(part_dropout, "ELEMENTS", 800)
        patch.setattr(part_evaluation, "IMAGES", 2)
        yield Prepared(tmp_path_factory.mktemp("training"))


def the_first_of(results: list[Result]) -> Result:
    return next(result for result in results if result.tried is not None)


def recipe(**changes: object) -> dict[str, Callable[..., Any]]:
    """A runner whose optimiser has other values."""
    return {"_optimizer": lambda own, _: own.training.optimizer.model_copy(update=changes)}


def dropped(training: float, evaluation: float) -> dict[str, Callable[..., Any]]:
    """A runner whose dropouts scale otherwise."""

    def trained(own: NumpyRunner, right: Any, layer: Any, inputs: Any, mask: Any) -> Array:
        value: Array = right(layer, inputs, mask)
        return value * np.float32(training) if layer.operator.op == "dropout" else value

    def evaluated(own: NumpyRunner, right: Any, layer: Any, inputs: Any) -> Array:
        value: Array = right(layer, inputs)
        return value * np.float32(evaluation) if layer.operator.op == "dropout" else value

    return {"_trained_value": trained, "_value": evaluated}


def always_dropping(own: NumpyRunner, right: Any, layer: Any, inputs: Any) -> Array:
    value: Array = right(layer, inputs)
    return value * (np.arange(value.size).reshape(value.shape) % 3 > 0) if layer.operator.op == "dropout" else value


@pytest.mark.parametrize(
    ("methods", "change"),
    [
        (dropped(2.0, 1.0), "scale while training: the inverse of the keep probability"),
        (dropped(2.0, 2.0), "convention: inverted"),
        (dropped(1.0, 2.0), "scale while evaluating: none"),
        ({"_value": always_dropping}, "evaluation: drops too, scale the keep probability"),
    ],
)
def test_a_dropout_is_explained(prepared: Prepared, methods: dict[str, Callable[..., Any]], change: str) -> None:
    found = the_first_of(prepared.results(DropoutPart(), Wrong(**methods)))
    assert (found.tap, found.explanations[0].change) == ("drop6", change)


@pytest.mark.parametrize(
    ("made", "change"),
    [
        (lambda own, right, x, values, *rest: right(x, np.sqrt(values), *rest), "scale_by: root_of_eigenvalue"),
        (lambda own, right, x, values, axes, draws: right(x, values, axes.T, draws), "eigenvectors: rows for columns"),
        (lambda own, right, images, *_: images, "draws: missing"),
    ],
)
def test_shifted_colours_are_explained(prepared: Prepared, made: Callable[..., Any], change: str) -> None:
    (found,) = prepared.results(ColourPart(), Wrong(colour=made))
    assert found.explanations[0].change == change
    assert found.explanations[0].after < found.explanations[0].before


def test_a_crop_that_is_mirrored_is_found(prepared: Prepared) -> None:
    results = prepared.results(EvaluationPart(), NumpyRunner("one_crop_mirrored"))
    found = the_first_of(results)
    assert (found.tap, found.explanations[0].change) == ("probabilities", "views: crop 4 mirrored")


def summed(own: NumpyRunner, right: Any, batch: Batch) -> float:
    rates = (batch.rates[0] * 2, batch.rates[1] * 2)
    loss: float = right(Batch(batch.x, batch.labels, batch.masks, rates))
    return loss


@pytest.mark.parametrize(
    ("runner", "tap", "change"),
    [
        (lambda: NumpyRunner("momentum_of_torch"), "conv1.weight", "rate: of the day, in the whole velocity"),
        (lambda: NumpyRunner("decay_on_biases"), "conv2.bias", "decays: weights_and_biases"),
        (lambda: NumpyRunner("decay_outside_momentum"), "conv1.weight", "decay: decoupled"),
        (
            lambda: NumpyRunner("stale_velocity_after_resume"),
            "conv1.weight",
            "velocity: of before the state was loaded",
        ),
        (lambda: Wrong(**recipe(rate="outside_velocity")), "conv1.weight", "rate: outside_velocity"),
        (lambda: Wrong(**recipe(momentum=0.5)), "conv1.weight", "momentum: 0.5"),
        (lambda: Wrong(**recipe(weight_decay=0.0)), "conv1.weight", "weight_decay: 0"),
        (lambda: Wrong(step=summed), "conv1.weight", "rate: times 2"),
    ],
)
def test_a_wrong_update_is_explained(
    prepared: Prepared, runner: Callable[[], NumpyRunner], tap: str, change: str
) -> None:
    found = the_first_of(prepared.results(TrajectoryPart(), runner()))
    assert found.tap == tap
    assert [each.change for each in found.explanations][:1] == [change]


def test_an_update_that_nothing_explains_is_said_to_be_unexplained(prepared: Prepared) -> None:
    def step(own: NumpyRunner, right: Any, batch: Batch) -> float:
        loss: float = right(batch)
        own._trained.parameters["conv3.weight"] = own._trained.parameters["conv3.weight"] * np.float32(1.003)
        own.tensors = own.tensors | own._trained.parameters
        return loss

    found = the_first_of(prepared.results(TrajectoryPart(), Wrong(step=step)))
    assert (found.explanations, bool(found.tried)) == ((), True)


@pytest.mark.parametrize(
    "part", [DropoutPart(), ColourPart(), EvaluationPart(), TrajectoryPart()], ids=lambda part: str(part.name)
)
def test_what_is_right_is_not_diagnosed(prepared: Prepared, part: Part) -> None:
    assert all(result.tried is None for result in prepared.results(part, NumpyRunner("")))
