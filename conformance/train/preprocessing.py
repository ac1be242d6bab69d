"""From an image to the network's input, as a spec's `preprocessing` says."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, assert_never

import numpy as np
import numpy.typing as npt
from PIL import Image

from conformance.colour import ColourAxes, axes_of, coloured
from conformance.evaluation import crops
from conformance.train.dataset import Dataset, Example, Indices, Pixels
from spec.exits import InputError
from spec.network import Network
from spec.recipe import PcaColour, Preprocessing
from spec.weights import Float32, generator

#: How Pillow calls images of so many channels.
COLOURS = {1: "L", 3: "RGB"}
#: Decoded images are kept in memory up to so many bytes; of a larger data set each is decoded whenever it is used.
KEPT_BYTES = 2**30
#: How many images are decoded at a time while a data set is looked through.
AT_A_TIME = 256

Array = npt.NDArray[Any]


def square(image: Image.Image, stated: Preprocessing, channels: int) -> Pixels:
    """The central square that the spec keeps of an image: (channels, centre_crop, centre_crop), 0–255.

    What scaling the whole image and cropping it would give, without scaling the rest of it; bilinear, antialiased.
    """
    image = image.convert(COLOURS[channels])
    side, unit = stated.centre_crop, min(image.size) / stated.shorter_side
    left, top = (max(0.0, (extent / unit - side) // 2 * unit) for extent in image.size)
    right, bottom = (min(start + side * unit, extent) for start, extent in zip((left, top), image.size, strict=True))
    scaled = image.resize((side, side), Image.Resampling.BILINEAR, (left, top, right, bottom))
    return np.asarray(scaled).reshape(side, side, channels).transpose(2, 0, 1)


class Squares:
    """The central square of every image of a data set, decoded once if memory can hold them all."""

    def __init__(self, dataset: Dataset, stated: Preprocessing, channels: int) -> None:
        self.dataset = dataset
        self.stated = stated
        self.shape = (channels, stated.centre_crop, stated.centre_crop)
        count = len(dataset.examples)
        self._kept: dict[int, Pixels] | None = {} if count * int(np.prod(self.shape)) <= KEPT_BYTES else None

    def __call__(self, indices: Indices) -> Pixels:
        """(N, *shape) of some examples; raises InputError for what is no image."""
        wanted, kept = indices.tolist(), self._kept
        if kept is not None and kept.keys() >= set(wanted):
            return np.stack([kept[index] for index in wanted])
        return np.stack([pixels for _, pixels in self.decoded(wanted)])

    def decoded(self, wanted: Sequence[int]) -> list[tuple[bytes, Pixels]]:
        """SHA-256 of what each example is made of, and its square; raises InputError."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._decoded, wanted))

    def _decoded(self, index: int) -> tuple[bytes, Pixels]:
        example = self.dataset.examples[index]
        content = example.read()
        pixels = square(example.image(content), self.stated, self.shape[0])
        if self._kept is not None:
            self._kept[index] = pixels
        return hashlib.sha256(content).digest(), pixels


@dataclass(frozen=True)
class Preparation:
    """Everything that makes inputs of squares."""

    stated: Preprocessing
    size: tuple[int, int]
    """Height and width of the network's input."""
    mean: Float32
    """(C, S, S), or (C, 1, 1): what is subtracted, on the 0–255 scale."""
    axes: ColourAxes | None
    """Of the colours of the training images, where the spec shifts colours."""

    def whole(self, squares: Pixels) -> Float32:
        """Squares (N, C, S, S) in the spec's range and minus the mean: what evaluation crops its views from."""
        low, high = self.stated.value_range
        # The mean stands on the 0–255 scale, so `low` is in the pixels and in the mean, and drops out.
        return (squares - self.mean) * np.float32((high - low) / 255.0)

    def augmented(self, squares: Pixels, indices: Indices, seed: int, epoch: int) -> Float32:
        """Inputs (N, C, *size) for training; what chance decides depends on seed, epoch and example alone."""
        whole, (height, width) = self.whole(squares), self.size
        randoms = [generator(seed, "augmentation", epoch, int(index)) for index in indices]
        stated = self.stated.augmentation
        match stated.crop:
            case "none":
                (x,) = crops(whole, self.size, "centre")
            case "random":
                free = (whole.shape[2] - height, whole.shape[3] - width)
                corners = [random.integers(free, endpoint=True) for random in randoms]
                pairs = zip(whole, corners, strict=True)
                x = np.stack([image[:, top : top + height, left : left + width] for image, (top, left) in pairs])
            case _:
                assert_never(stated.crop)
        if stated.horizontal_flip:
            mirrored = np.array([random.integers(2) for random in randoms], np.bool_)
            x[mirrored] = x[mirrored][..., ::-1]
        if stated.pca_colour is not None and self.axes is not None:
            x = self._coloured(x, stated.pca_colour, randoms)
        return np.ascontiguousarray(x, np.float32)

    def _coloured(self, x: Float32, stated: PcaColour, randoms: Sequence[np.random.Generator]) -> Array:
        assert self.axes is not None
        return coloured(x, self.axes, np.stack([random.normal(0.0, stated.std, 3) for random in randoms]), stated)


@dataclass(frozen=True)
class Surveyed:
    """A data set that was looked through: all of it are images."""

    squares: Squares
    preparation: Preparation
    sha256: str
    """Of all images' contents, their labels and their splits."""


def survey(network: Network, stated: Preprocessing, dataset: Dataset, tell: Callable[[str], None]) -> Surveyed:
    """Decode every image once, for the hash, for the mean image and for the axes of colours. Raises InputError."""
    channels, height, width = _image_shape(network, stated)
    squares = Squares(dataset, stated, channels)
    digest, moments = hashlib.sha256(), _Moments(squares.shape)
    tell(f"{dataset.name}: reading {len(dataset.examples):,} images")
    for split, indices in dataset.splits.items():
        for start in range(0, len(indices), AT_A_TIME):
            some = indices[start : start + AT_A_TIME]
            for index, (content, pixels) in zip(some, squares.decoded(some.tolist()), strict=True):
                digest.update(json.dumps([split, *_identity(dataset.examples[index])]).encode() + content)
                if split == "train":
                    moments.add(pixels)
    low, high = stated.value_range
    colour = stated.augmentation.pca_colour
    preparation = Preparation(
        stated,
        (height, width),
        moments.mean_image() if stated.mean.kind == "per_pixel" else _stated_mean(stated, channels),
        axes_of(moments.covariance() * ((high - low) / 255.0) ** 2) if colour else None,
    )
    return Surveyed(squares, preparation, digest.hexdigest())


def _image_shape(network: Network, stated: Preprocessing) -> tuple[int, int, int]:
    shape = network.input.shape
    if len(shape) != 3 or shape[0] not in COLOURS:
        raise InputError(f"{network.name}: expected an input of 1 or 3 channels, height, width; found {list(shape)}")
    channels, height, width = shape
    if max(height, width) > stated.centre_crop:
        raise InputError(
            f"{network.name}: preprocessing.centre_crop: expected at least the {height}×{width} pixels of the "
            f"network's input, found {stated.centre_crop}; raise it, and shorter_side with it"
        )
    if stated.augmentation.pca_colour is not None and channels != 3:
        raise InputError(
            f"{network.name}: preprocessing.augmentation.pca_colour: expected an input of 3 channels, found {channels}"
        )
    return channels, height, width


def _identity(example: Example) -> tuple[int, str]:
    """The label, and the name of the file below its class: wherever the folder of the data set lies."""
    return example.label, "" if isinstance(example.source, np.ndarray) else example.source.name


def _stated_mean(stated: Preprocessing, channels: int) -> Float32:
    """The spec's mean a channel: (channels, 1, 1); of grey images that of their luminance."""
    mean = np.array(stated.mean.rgb, np.float32)
    if channels == 1:
        mean = np.array([mean @ np.array([0.299, 0.587, 0.114], np.float32)])
    return mean[:, np.newaxis, np.newaxis]


class _Moments:
    """Sums over training images; of whole numbers, and so exact."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.count = 0
        self.sums = np.zeros(shape, np.int64)
        self.products = np.zeros((shape[0], shape[0]), np.int64)

    def add(self, pixels: Pixels) -> None:
        self.count += 1
        self.sums += pixels
        flat = pixels.reshape(len(pixels), -1).astype(np.int64)
        self.products += flat @ flat.T

    def mean_image(self) -> Float32:
        return (self.sums / self.count).astype(np.float32)

    def covariance(self) -> Array:
        """(C, C), of all pixels of all images; divides by their number."""
        pixels = self.count * self.sums[0].size
        mean = self.sums.sum(axis=(1, 2)) / pixels
        covariance: Array = self.products / pixels - np.outer(mean, mean)
        return covariance
