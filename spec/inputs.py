"""Inputs from a seed, on the scale that a spec's constants were made for: real photographs, and noise."""

from functools import cache
from math import ceil
from typing import Literal, get_args

import numpy as np
from PIL import Image

from spec.exits import InputError, NotRunError
from spec.network import Network
from spec.recipe import Augmentation, Mean, Preprocessing
from spec.weights import Float32, generator

InputKind = Literal["photographs", "noise"]
INPUT_KINDS: tuple[InputKind, ...] = get_args(InputKind)

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
"""Two colour photographs of 640×427 pixels that scikit-learn ships."""

NOISE_STD = 60.0
"""About the standard deviation of photographs' pixels on the 0–255 scale."""

IMAGENET_RGB = (123.68, 116.78, 103.94)
LARGEST_SCALING = 2.0
"""How much larger than the spec's own scaling those of further crops may be."""


def inputs(network: Network, kind: InputKind, seed: int, batch: int) -> Float32:
    """A batch for `network` of `kind`: (batch, *input shape). Raises InputError."""
    if batch < 1:
        raise InputError(f"batch: expected at least 1 image, found {batch}")
    match kind:
        case "photographs":
            return photographs(network, seed, batch)
        case "noise":
            return noise(network, seed, batch)
        case _:
            raise InputError(f"input: expected one of {', '.join(INPUT_KINDS)}, found {kind!r:.80}")


def photographs(network: Network, seed: int, batch: int) -> Float32:
    """Photographs, prepared as the spec says: (batch, channels, height, width).

    Seed 0 begins with the centre crops of both photographs; all other images are crops, some mirrored, of larger
    scalings. The images of a smaller batch begin a larger one. Raises InputError where the input is no image.
    """
    if len(network.input.shape) != 3:
        raise InputError(
            f"photographs: expected a network that reads images (C, H, W), found {list(network.input.shape)}; use noise"
        )
    channels, height, width = network.input.shape
    preprocessing = network.preprocessing or _default_preprocessing(height, width)
    images = np.empty((batch, channels, height, width), np.float32)
    for index, image in enumerate(images):
        for first in range(0, channels, 3):
            crop = _crop(preprocessing, (height, width), seed, index, first // 3)
            image[first : first + 3] = _channels(crop, preprocessing, channels)[: channels - first]
    return images


def noise(network: Network, seed: int, batch: int) -> Float32:
    """Normally distributed pixels around the mean: (batch, *input shape)."""
    low, high = network.preprocessing.value_range if network.preprocessing else (0.0, 255.0)
    std = np.float32(NOISE_STD * (high - low) / 255.0)
    images = np.empty((batch, *network.input.shape), np.float32)
    for index, image in enumerate(images):
        generator(seed, "noise", index).standard_normal(dtype=np.float32, out=image)
    images *= std
    return images


def _default_preprocessing(height: int, width: int) -> Preprocessing:
    """For a spec that states none: AlexNet's own, with as narrow a margin around the input."""
    side = ceil(max(height, width) * 256 / 227)
    return Preprocessing(
        shorter_side=side,
        centre_crop=side,
        value_range=(0.0, 255.0),
        mean=Mean(kind="per_channel", rgb=IMAGENET_RGB),
        augmentation=Augmentation(crop="none", horizontal_flip=False, pca_colour=None),
    )


def _crop(preprocessing: Preprocessing, size: tuple[int, int], seed: int, index: int, part: int) -> Image.Image:
    """The crop of `size` (height, width) that is image `index` of a batch; `part` counts groups of three channels."""
    photograph = _photograph(PHOTOGRAPHS[index % len(PHOTOGRAPHS)])
    height, width = size
    # A network may read more than the central square that its spec keeps; then everything is scaled up until it fits.
    enlargement = max(1.0, height / preprocessing.centre_crop, width / preprocessing.centre_crop)
    shorter_side = ceil(preprocessing.shorter_side * enlargement)
    if seed == 0 and index < len(PHOTOGRAPHS) and part == 0:
        square = ceil(preprocessing.centre_crop * enlargement)
        scaled_height, scaled_width = _scaled_size(photograph, shorter_side)
        top = (scaled_height - square) // 2 + (square - height) // 2
        left = (scaled_width - square) // 2 + (square - width) // 2
        return _scaled_crop(photograph, shorter_side, (top, left), size)
    random = generator(seed, "photographs", index, part)
    shorter_side = int(shorter_side * random.uniform(1.0, LARGEST_SCALING))
    scaled_height, scaled_width = _scaled_size(photograph, shorter_side)
    top = int(random.integers(scaled_height - height, endpoint=True))
    left = int(random.integers(scaled_width - width, endpoint=True))
    crop = _scaled_crop(photograph, shorter_side, (top, left), size)
    return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.integers(2) else crop


@cache
def _photograph(name: str) -> Image.Image:
    # Imported late: scikit-learn takes seconds, and nothing needs it once the inputs are in the cache.
    try:
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        raise NotRunError(f"photographs: expected scikit-learn, which ships them, found: {error}") from None
    return Image.fromarray(load_sample_image(name))


def _scaled_size(photograph: Image.Image, shorter_side: int) -> tuple[int, int]:
    """Height and width once the shorter side has so many pixels."""
    shortest = min(photograph.size)
    return photograph.height * shorter_side // shortest, photograph.width * shorter_side // shortest


def _scaled_crop(
    photograph: Image.Image, shorter_side: int, corner: tuple[int, int], size: tuple[int, int]
) -> Image.Image:
    """What cropping the scaled photograph would give, without scaling the rest of it; bilinear, antialiased."""
    unit = min(photograph.size) / shorter_side
    (top, left), (height, width) = corner, size
    right = min(unit * (left + width), photograph.width)
    bottom = min(unit * (top + height), photograph.height)
    return photograph.resize((width, height), Image.Resampling.BILINEAR, (unit * left, unit * top, right, bottom))


def _channels(crop: Image.Image, preprocessing: Preprocessing, channels: int) -> Float32:
    """Colour channels, or luminance for a network of one: (3 or 1, H, W), in the spec's range and minus the mean."""
    mean = np.array(preprocessing.mean.rgb, np.float32)
    if channels == 1:
        pixels = np.asarray(crop.convert("L"), np.float32)[np.newaxis]
        mean = (mean @ np.array([0.299, 0.587, 0.114], np.float32))[np.newaxis]
    else:
        pixels = np.asarray(crop, np.float32).transpose(2, 0, 1)
    low, high = preprocessing.value_range
    # The mean stands on the 0–255 scale, so `low` is in the pixels and in the mean, and drops out.
    return (pixels - mean[:, np.newaxis, np.newaxis]) * np.float32((high - low) / 255.0)
