"""Photographs and noise: prepared as the spec says, on its scale, no two alike."""

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from spec.exits import InputError
from spec.inputs import IMAGENET_RGB, INPUT_KINDS, InputKind, inputs, noise, photographs
from spec.load import load
from spec.network import Network
from spec.recipe import Preprocessing

MEAN = np.array([123.68, 116.78, 103.94])[:, np.newaxis, np.newaxis]


def reading(*shape: int, name: str = "alexnet_narrow", preprocessing: Preprocessing | None = None) -> Network:
    """A network that reads `shape`; its graph is not looked at."""
    network = load(name)
    update = {"input": network.input.model_copy(update={"shape": shape})}
    return network.model_copy(update=update | ({"preprocessing": preprocessing} if preprocessing else {}))


def resized_then_cropped(name: str, height: int, width: int) -> np.ndarray:
    """The paper's preprocessing, step by step: shorter side to 256, centre 256×256, centre of the input's size."""
    photograph = Image.fromarray(load_sample_image(name))
    photograph = photograph.resize((256 * 640 // 427, 256), Image.Resampling.BILINEAR)
    for crop_height, crop_width in ((256, 256), (height, width)):
        left, top = (photograph.width - crop_width) // 2, (photograph.height - crop_height) // 2
        photograph = photograph.crop((left, top, left + crop_width, top + crop_height))
    return np.asarray(photograph, np.float64).transpose(2, 0, 1)


@pytest.mark.parametrize("kind", INPUT_KINDS)
@pytest.mark.parametrize("shape", [(3, 227, 227), (3, 135, 99), (1, 28, 30), (5, 17, 40), (7, 1, 1), (3, 300, 611)])
def test_batch_has_the_shape_of_the_input(kind: InputKind, shape: tuple[int, ...]) -> None:
    batch = inputs(reading(*shape), kind, 0, 3)
    assert batch.shape == (3, *shape)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert np.isfinite(batch).all()


def test_first_two_images_are_the_centres_of_both_photographs() -> None:
    images = photographs(load("alexnet"), 0, 2)
    for image, name in zip(images, ("china.jpg", "flower.jpg"), strict=True):
        expected = resized_then_cropped(name, 227, 227) - MEAN
        # The long side would be 383.7 pixels; scaled as a whole it has 383, and its columns are a little narrower.
        assert np.abs(image - expected).mean() < 4
        assert np.corrcoef(image.ravel(), expected.ravel())[0, 1] > 0.99


def test_photograph_that_needs_no_scaling_is_cropped_exactly() -> None:
    preprocessing = load("alexnet").preprocessing
    assert preprocessing is not None
    unscaled = preprocessing.model_copy(update={"shorter_side": 427, "centre_crop": 427})
    image = photographs(reading(3, 227, 201, preprocessing=unscaled), 0, 1)[0]
    rows, columns = slice(100, 100 + 227), slice(106 + 113, 106 + 113 + 201)
    expected = load_sample_image("china.jpg")[rows, columns].transpose(2, 0, 1)
    assert np.array_equal(np.rint(image + MEAN), expected)


def test_pixels_stand_on_the_0_to_255_scale_minus_the_mean() -> None:
    pixels = photographs(load("alexnet"), 0, 2) + MEAN
    assert pixels.min() > -1e-3
    assert pixels.max() < 255.001
    assert pixels.max() - pixels.min() > 250
    assert np.abs(pixels - np.rint(pixels)).max() < 1e-3


@pytest.mark.parametrize(("height", "width"), [(227, 227), (13, 9)])
def test_no_two_images_are_alike_in_a_batch_or_between_seeds(height: int, width: int) -> None:
    network = reading(3, height, width)
    images = np.concatenate([photographs(network, seed, 16) for seed in range(4)])
    assert len({image.tobytes() for image in images}) == 64


def test_groups_of_three_channels_are_different_crops() -> None:
    (image,) = photographs(reading(7, 20, 30), 0, 1)
    assert np.array_equal(image[:3], photographs(reading(3, 20, 30), 0, 1)[0])
    assert len({channel.tobytes() for channel in image}) == 7


def test_smaller_batch_begins_a_larger_one() -> None:
    network = load("alexnet_narrow")
    for kind in INPUT_KINDS:
        assert np.array_equal(inputs(network, kind, 5, 6)[:2], inputs(network, kind, 5, 2))


def test_one_channel_is_luminance() -> None:
    grey = photographs(reading(1, 50, 60), 0, 2)[:, 0]
    colour = photographs(reading(3, 50, 60), 0, 2)
    luminance = np.tensordot(colour, np.array([0.299, 0.587, 0.114]), axes=(1, 0))
    assert np.abs(grey - luminance).max() < 1


def test_other_range_scales_pixels_and_mean_alike() -> None:
    preprocessing = load("alexnet_narrow").preprocessing
    assert preprocessing is not None
    unit = reading(3, 50, 60, preprocessing=preprocessing.model_copy(update={"value_range": (0.0, 1.0)}))
    for kind in INPUT_KINDS:
        wide = inputs(reading(3, 50, 60), kind, 0, 3)
        assert np.allclose(inputs(unit, kind, 0, 3) * 255, wide, rtol=1e-5, atol=1e-4)


def test_spec_without_preprocessing_gets_the_usual_one() -> None:
    network = load("alexnet").model_copy(update={"preprocessing": None})
    assert pytest.approx(MEAN.ravel()) == IMAGENET_RGB
    assert np.array_equal(photographs(network, 0, 2), photographs(load("alexnet"), 0, 2))


def test_input_larger_than_the_crop_is_filled_by_scaling_up() -> None:
    image = photographs(reading(3, 400, 512), 0, 1)[0]
    small = photographs(reading(3, 200, 256), 0, 1)[0]
    halved = image.reshape(3, 200, 2, 256, 2).mean(axis=(2, 4))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.98


def test_photographs_excite_normalisation() -> None:
    # With k = 2 and alpha = 1e-4 the sum of five squares must reach thousands, or dropping LRN goes unseen.
    images = photographs(load("alexnet"), 0, 2)
    assert images.std() > 50


def test_noise_is_normal_with_the_spread_of_pixels() -> None:
    batch = noise(load("alexnet"), 0, 2)
    assert batch.std() == pytest.approx(60, rel=0.01)
    assert abs(batch.mean()) < 1
    assert not np.array_equal(batch[0], batch[1])
    assert not np.array_equal(batch, noise(load("alexnet"), 1, 2))


def test_features_can_be_noise_but_no_photographs() -> None:
    network = reading(12)
    assert noise(network, 0, 2).shape == (2, 12)
    with pytest.raises(InputError, match=r"expected a network that reads images \(C, H, W\), found \[12\]; use noise"):
        photographs(network, 0, 2)


def test_wrong_batch_and_kind_are_rejected() -> None:
    with pytest.raises(InputError, match="expected at least 1 image, found 0"):
        inputs(load("alexnet"), "noise", 0, 0)
    with pytest.raises(InputError, match="expected one of photographs, noise, found 'zeros'"):
        inputs(load("alexnet"), "zeros", 0, 1)  # type: ignore[arg-type]
