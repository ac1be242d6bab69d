"""The part of evaluation: views and averages as stated pass, a wrong view or average does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.evaluation import Average, averaged, crops, ensemble
from conformance.evaluation_oracle import Predictions, predictions, view_logits, whole_images
from conformance.measure import Array
from conformance.part_evaluation import EvaluationPart, Expected, ensemble_of
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Outcome
from spec.network import Network
from spec.recipe import Evaluation
from spec.tensors import read, write
from tests.conformance.stand_in import asked, given, judged
from tests.conformance.synthetic import narrow
from tests.spec.networks import small

PART = EvaluationPart()


def network_with(**changes: object) -> Network:
    stated = narrow().evaluation
    assert stated is not None
    return narrow().model_copy(update={"evaluation": stated.model_copy(update=changes)})


def stated_of(network: Network) -> Evaluation:
    assert network.evaluation is not None
    return network.evaluation


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    return PART.expected(given(weights="scaled"), tmp_path_factory.mktemp("evaluation"))


def answer(
    network: Network, expected: Expected, change: Callable[[Array], Array] = lambda logits: logits
) -> list[Array]:
    """What float32 answers, from the logits of all views (views, N, classes) as `change` leaves them."""
    images, stated = read(expected.images)["images"], stated_of(network)
    return [
        averaged(change(view_logits(network, stated, read(path), images)), stated.average) for path in expected.weights
    ]


def messages(expected: Expected, own: list[Array], network: Network | None = None) -> dict[str, str]:
    results = judged(PART, given(network or narrow(), "scaled"), expected, own)
    assert list(results) == ["probabilities", "top1_error", "top5_error", "ensemble"]
    return {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASSED}


# --- What is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", ["centre", "ten_crop"])
@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_every_evaluation_passes_in_float32(views: str, average: str, tmp_path: Path) -> None:
    network = network_with(views=views, average=average)
    expected = PART.expected(given(network, "scaled"), tmp_path)
    assert messages(expected, answer(network, expected), network) == {}


def test_images_are_as_large_as_the_preprocessing_keeps_them_and_all_are_different(expected: Expected) -> None:
    images = read(expected.images)["images"]
    assert images.shape == (8, 3, 256, 256)
    assert len({image.tobytes() for image in images}) == 8
    assert whole_images(small(), 0, 2).shape == (2, 4, 38, 38)


def test_labels_are_right_and_just_not_right(expected: Expected) -> None:
    probabilities, labels = expected.predictions.first.probabilities, expected.predictions.labels
    better = (probabilities > probabilities[np.arange(8), labels][:, None]).sum(axis=1)
    assert better.tolist() == [4, 0, 5, 1, 4, 0, 5, 1]


def test_probabilities_of_an_ensemble_follow_from_those_of_its_members() -> None:
    logits = [np.random.default_rng(seed).standard_normal((10, 3, 7)) * 5 for seed in range(2)]
    averages: tuple[Average, ...] = ("probabilities", "logits")
    for average in averages:
        members = [averaged(each, average) for each in logits]
        assert np.allclose(ensemble_of(members, (3, 7), average), ensemble(logits, average), rtol=1e-6)


# --- What is wrong ----------------------------------------------------------------------------------------------------


def test_one_mirrored_view_of_ten_is_caught(expected: Expected, tmp_path: Path) -> None:
    own = asked(PART, given(weights="scaled"), expected, NumpyRunner("one_crop_mirrored"), tmp_path)
    found = messages(expected, own)
    assert "probabilities" in found
    assert found["probabilities"].endswith("(conformance/caps.toml, evaluation)")


@pytest.mark.parametrize(
    "wrong",
    [
        lambda logits: logits[:9],
        lambda logits: logits[[0, 1, 2, 3, 4]],
        lambda logits: logits[[4]],
        lambda logits: logits[:, ::-1],
        lambda logits: logits.mean(axis=0, keepdims=True),
        lambda logits: logits * np.float32(1.0002),
    ],
    ids=["nine views", "none mirrored", "the centre alone", "images in the other order", "mean of logits", "scaled"],
)
def test_other_views_and_averages_are_caught(expected: Expected, wrong: Callable[[Array], Array]) -> None:
    assert {"probabilities", "ensemble"} <= set(messages(expected, answer(narrow(), expected, wrong)))


def test_a_wrong_view_that_all_variants_share_is_caught_all_the_same(expected: Expected) -> None:
    own = answer(narrow(), expected, lambda logits: logits[[0, 1, 2, 3, 4]])
    start = given(weights="scaled")
    message = judged(PART, start, expected, own, [own] * 5)["probabilities"].message
    assert message.endswith("(conformance/caps.toml, evaluation)")
    assert not message.startswith("vacuous")


def test_views_that_begin_one_pixel_further_are_caught(expected: Expected) -> None:
    images = np.roll(read(expected.images)["images"], 1, axis=3)
    own = [
        averaged(view_logits(narrow(), stated_of(narrow()), read(path), images), "probabilities")
        for path in expected.weights
    ]
    assert "probabilities" in messages(expected, own)


class KeepsFirstWeights(NumpyRunner):
    """It predicts with the weights that it first loaded."""

    def predict(self, images: Array) -> Array:
        self.first = getattr(self, "first", self.tensors)
        self.tensors = self.first
        return super().predict(images)


def test_a_network_that_predicts_with_weights_of_before_is_caught_in_the_ensemble(
    expected: Expected, tmp_path: Path
) -> None:
    own = asked(PART, given(weights="scaled"), expected, KeepsFirstWeights(""), tmp_path)
    assert list(messages(expected, own)) == ["ensemble"]


def test_classes_in_another_order_show_in_the_top_errors(expected: Expected) -> None:
    found = messages(expected, [np.roll(each, 1, axis=1) for each in answer(narrow(), expected)])
    assert found["top1_error"].startswith("of 8 images expected 75% wrong, found ")
    assert found["top5_error"].startswith("of 8 images expected 25% wrong, found ")


def test_probabilities_of_another_shape_fail_everywhere(expected: Expected) -> None:
    found = messages(expected, [each[:, :9] for each in answer(narrow(), expected)])
    assert found["probabilities"] == found["ensemble"] == "expected shape [8, 10], found [8, 9]"
    assert found["top1_error"] == "expected probabilities of shape [8, 10], found [8, 9]"


# --- What proves nothing ----------------------------------------------------------------------------------------------


def test_weights_that_find_all_views_alike_prove_nothing(tmp_path: Path) -> None:
    start = given(weights="scaled")
    tensors = dict(read(start.weights))
    tensors["fc8.weight"] = tensors["fc8.weight"] * np.float32(1e-9)
    flat = tmp_path / "flat.safetensors"
    write(flat, tensors)
    images = whole_images(narrow(), 0, 2)
    found = predictions(narrow(), stated_of(narrow()), [flat, start.weights], images)
    path = tmp_path / "images.safetensors"
    write(path, {"images": images})
    blind = Expected(path, [flat, start.weights], found)
    message = messages(blind, answer(narrow(), blind))["probabilities"]
    assert message.startswith("vacuous: one mirrored view moves the probabilities by ")
    assert message.endswith("expected 10 (conformance/caps.toml, evaluation); use other weights or inputs")


def test_a_label_that_is_as_probable_as_another_class_decides_nothing(expected: Expected) -> None:
    tied = Expected(expected.images, expected.weights, _tied(expected.predictions))
    results = judged(PART, given(weights="scaled"), tied, answer(narrow(), expected))
    assert results["top1_error"].outcome is Outcome.SKIPPED
    assert results["top1_error"].message.startswith("every label is as probable as another class, within ")


def _tied(found: Predictions) -> Predictions:
    probabilities = np.full_like(found.first.probabilities, 0.1)
    return replace(found, first=replace(found.first, probabilities=probabilities))


def test_it_needs_a_section_and_weights_that_tell_images_apart() -> None:
    assert PART.skipped(given(weights="scaled")) == ""
    assert PART.skipped(given()).startswith("with the weights that training begins with")
    without = narrow().model_copy(update={"evaluation": None})
    assert PART.skipped(given(without, "scaled")) == "the network has no section 'evaluation'"


def test_mirrored_views_are_the_second_half_of_ten() -> None:
    images = np.random.default_rng(0).standard_normal((1, 1, 5, 6))
    views = crops(images, (3, 3), "ten_crop")
    assert all(np.array_equal(views[view], views[view + 5][..., ::-1]) for view in range(5))
