"""Ten crops, averages, errors and colours, by hand and by second formulations."""

import numpy as np
import pytest
import scipy.special
from sklearn.decomposition import PCA

from conformance.colour import ColourAxes, colour_axes, coloured
from conformance.evaluation import Average, averaged, crops, ensemble, top_error_percent
from spec.exits import InputError
from spec.recipe import PcaColour


def drawn(seed: int, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.random.default_rng(seed).standard_normal(shape)


def test_ten_crops_are_corners_and_centre_and_their_mirror_images() -> None:
    images = drawn(0, (2, 3, 8, 11))
    views = crops(images, (5, 4), "ten_crop")
    assert views.shape == (10, 2, 3, 5, 4)
    for view, (top, left) in enumerate([(0, 0), (0, 7), (3, 0), (3, 7), (1, 3)]):
        for row, column in np.ndindex(5, 4):
            pixel = images[:, :, top + row, left + column]
            np.testing.assert_array_equal(views[view, :, :, row, column], pixel)
            np.testing.assert_array_equal(views[view + 5, :, :, row, 3 - column], pixel)


def test_the_centre_view_is_the_fifth_of_ten() -> None:
    images = drawn(0, (2, 3, 8, 11))
    np.testing.assert_array_equal(crops(images, (5, 4), "centre")[0], crops(images, (5, 4), "ten_crop")[4])


def test_crops_larger_than_the_image_are_rejected() -> None:
    with pytest.raises(InputError, match="expected images of at least 9×4 pixels, found 8×11"):
        crops(drawn(0, (1, 3, 8, 11)), (9, 4), "ten_crop")


def test_probabilities_or_logits_are_averaged_over_views() -> None:
    logits = drawn(0, (10, 2, 5)) * 4
    of_probabilities = sum(scipy.special.softmax(view, axis=1) for view in logits) / 10
    of_logits = scipy.special.softmax(sum(logits) / 10, axis=1)
    np.testing.assert_allclose(averaged(logits, "probabilities"), of_probabilities, rtol=1e-12)
    np.testing.assert_allclose(averaged(logits, "logits"), of_logits, rtol=1e-12)
    assert np.abs(of_probabilities - of_logits).max() > 0.01


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_every_network_of_an_ensemble_counts_the_same_however_many_views_it_has(average: Average) -> None:
    one, other = drawn(0, (10, 2, 5)), drawn(1, (1, 2, 5))
    found = ensemble([one, other], average)
    if average == "probabilities":
        expected = (averaged(one, average) + averaged(other, average)) / 2
    else:
        expected = scipy.special.softmax((one.mean(axis=0) + other[0]) / 2, axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(ensemble([one], average), averaged(one, average), rtol=1e-12)


def test_an_ensemble_of_nothing_is_rejected() -> None:
    with pytest.raises(InputError, match="expected at least one prediction, found none"):
        ensemble([], "probabilities")


def test_top_errors_by_hand() -> None:
    scores = np.array([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.3, 0.3, 0.4], [0.2, 0.3, 0.5]])
    labels = np.array([1, 2, 1, 0])
    assert [top_error_percent(scores, labels, k) for k in (1, 2, 3)] == [75.0, 50.0, 0.0]


def test_of_equal_scores_the_lower_class_ranks_first_and_nan_is_never_right() -> None:
    assert top_error_percent(np.ones((4, 4)), np.arange(4), 1) == 75.0
    assert top_error_percent(np.full((4, 4), np.nan), np.arange(4), 4) == 100.0
    assert top_error_percent(np.array([[np.nan, 1.0]]), np.array([1]), 1) == 0.0


@pytest.mark.parametrize(
    ("shape", "labels", "k", "message"),
    [
        ((2, 3), [0, 1], 4, "expected k from 1 to 3 classes, found 4"),
        ((2, 3), [0, 1], 0, "expected k from 1 to 3 classes, found 0"),
        ((2, 3), [0, 3], 1, "expected classes from 0 to 2, found 3 at example 1"),
        ((0, 3), [], 1, "expected at least one image, found none"),
    ],
)
def test_evaluations_that_cannot_be_are_rejected(
    shape: tuple[int, int], labels: list[int], k: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        top_error_percent(np.zeros(shape), np.array(labels, np.int64), k)


def _pca(scale_by: str, rescale: str = "none") -> PcaColour:
    return PcaColour.model_validate({"std": 0.1, "scale_by": scale_by, "rescale": rescale})


AXES = ColourAxes(np.array([9.0, 4.0, 1.0]), np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))


def test_colour_is_shifted_by_eigenvalue_in_the_paper_and_by_its_root_in_the_code() -> None:
    images, draws = drawn(0, (2, 3, 4, 5)), np.array([[1.0, 0.0, 2.0], [0.0, -1.0, 0.0]])
    shift = (coloured(images, AXES, draws, _pca("eigenvalue")) - images)[:, :, 0, 0]
    np.testing.assert_allclose(shift, [[2.0, 9.0, 0.0], [0.0, 0.0, -4.0]], atol=1e-12)
    by_root = coloured(images, AXES, draws, _pca("root_of_eigenvalue")) - images
    np.testing.assert_allclose(by_root[:, :, 3, 4], [[2.0, 3.0, 0.0], [0.0, 0.0, -2.0]], atol=1e-12)
    assert np.ptp(by_root, axis=(2, 3)).max() < 1e-12
    rescaled = coloured(images, AXES, draws, _pca("eigenvalue", "one_plus_std"))
    np.testing.assert_allclose(1.1 * rescaled, coloured(images, AXES, draws, _pca("eigenvalue")), rtol=1e-12)


def test_colour_axes_are_those_of_scikit_learn() -> None:
    images = drawn(0, (4, 3, 9, 7)) * np.array([30.0, 5.0, 1.0])[:, None, None]
    images[:, 1] += 0.7 * images[:, 0]
    found = colour_axes(images)
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, 3)
    expected = PCA().fit(pixels)
    biased = expected.explained_variance_ * (len(pixels) - 1) / len(pixels)
    np.testing.assert_allclose(found.eigenvalues, biased, rtol=1e-10)
    for axis in range(3):
        own = found.eigenvectors[:, axis]
        assert abs(own @ expected.components_[axis]) == pytest.approx(1.0, rel=1e-10)
        assert own[np.abs(own).argmax()] > 0
