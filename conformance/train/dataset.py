"""Labelled images and their splits: the digits that scikit-learn ships, or a folder that holds a folder a class."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from spec.exits import InputError, NotRunError
from spec.weights import generator

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

Pixels = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]

#: Of images without splits of their own: in how many of a hundred lie validation and test, each.
HELD_BACK_PERCENT = 15
#: How a folder's own splits may be called.
FOLDERS: dict[str, Split] = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
#: Levels of grey in scikit-learn's digits, from none to all.
DIGIT_LEVELS = 16


@dataclass(frozen=True)
class Example:
    """One labelled image."""

    name: str
    """What errors call it."""
    label: int
    source: Path | Pixels
    """An image file, or the grey pixels (height, width) themselves."""

    def read(self) -> bytes:
        """What the image is made of; raises InputError for a file that cannot be read."""
        if not isinstance(self.source, Path):
            return self.source.tobytes()
        try:
            return self.source.read_bytes()
        except OSError as error:
            raise InputError(f"{self.name}: expected a readable image, found: {error.strerror or error}") from None

    def image(self, content: bytes) -> Image.Image:
        """What `read` gave, decoded; raises InputError."""
        if not isinstance(self.source, Path):
            return Image.fromarray(self.source)
        try:
            image = Image.open(io.BytesIO(content))
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # Pillow names an object in memory where it means the file.
            found = re.sub(r" <_io\.BytesIO object at \w+>", "", str(error))
            raise InputError(f"{self.name}: expected an image, found: {found}; repair or remove it") from None
        return image


@dataclass(frozen=True)
class Dataset:
    """Examples, and which of them are for what."""

    name: str
    classes: tuple[str, ...]
    examples: tuple[Example, ...]
    splits: Mapping[Split, Indices]
    """Indices of examples, in rising order; a data set with splits of its own may lack a test."""

    def labels(self, indices: Indices) -> Indices:
        """The label of each example."""
        return np.array([self.examples[index].label for index in indices], np.int64)


def dataset_of(root: str | None, seed: int) -> Dataset:
    """The images of a folder, or the digits where none is named. Raises InputError."""
    return digits(seed) if root is None else folder(Path(root), seed)


def digits(seed: int) -> Dataset:
    """The 1,797 handwritten digits of 8×8 pixels that scikit-learn ships; `seed` splits them."""
    # Imported late: scikit-learn takes seconds.
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise NotRunError(f"digits: expected scikit-learn, which ships them, found: {error}") from None
    loaded = load_digits()
    pixels = np.rint(loaded.images * (255 / DIGIT_LEVELS)).astype(np.uint8)
    examples = tuple(
        Example(f"digit {index}", int(label), image)
        for index, (label, image) in enumerate(zip(loaded.target, pixels, strict=True))
    )
    return Dataset("scikit-learn digits", tuple(map(str, loaded.target_names)), examples, drawn(len(examples), seed))


def folder(root: Path, seed: int) -> Dataset:
    """Images below `root`: `CLASS/*`, which `seed` splits, or `train/CLASS/*` and `val/CLASS/*`, and perhaps `test`.

    Hidden files are passed over. Raises InputError, which names what is wrong; no image is decoded yet.
    """
    own = _own_splits(root)
    if own is None:
        classes, examples = _examples(root, None)
        return _checked(root, Dataset(str(root), classes, examples, drawn(len(examples), seed)))
    classes, examples = _examples(own["train"], None)
    splits: dict[Split, Indices] = {"train": np.arange(len(examples))}
    for split in SPLITS[1:]:
        if split in own:
            _, more = _examples(own[split], classes)
            splits[split] = np.arange(len(examples), len(examples) + len(more))
            examples += more
    return _checked(root, Dataset(str(root), classes, examples, splits))


def drawn(count: int, seed: int) -> dict[Split, Indices]:
    """Splits of `count` examples, each drawn from all of them alike."""
    shuffled = generator(seed, "splits").permutation(count)
    held_back = count * HELD_BACK_PERCENT // 100
    ends = [count - 2 * held_back, count - held_back]
    return {split: np.sort(part) for split, part in zip(SPLITS, np.split(shuffled, ends), strict=True)}


def _own_splits(root: Path) -> dict[Split, Path] | None:
    """The folders of a data set that brings its splits."""
    named = {FOLDERS[path.name.lower()]: path for path in _folders(root) if path.name.lower() in FOLDERS}
    if not {"train", "validation"} & named.keys():
        return None
    for split, name in (("train", "train"), ("validation", "val")):
        if split not in named:
            raise InputError(f"{root}: expected a folder {name!r} beside the other split, found none")
    return named


def _entries(place: Path) -> list[Path]:
    """What lies in a folder and is not hidden, in the order of the names; raises InputError."""
    try:
        return sorted(path for path in place.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{place}: expected a folder of images, found: {error.strerror or error}") from None


def _folders(place: Path) -> list[Path]:
    return [path for path in _entries(place) if path.is_dir()]


def _examples(root: Path, known: Sequence[str] | None) -> tuple[tuple[str, ...], tuple[Example, ...]]:
    """The classes below `root` and their images, in the order of their names; `known` are the classes to train on."""
    found = _folders(root)
    if not found:
        raise InputError(f"{root}: expected a folder a class, with images in each, found no folder")
    classes = tuple(known or (path.name for path in found))
    examples = []
    for path in found:
        if path.name not in classes:
            raise InputError(f"{path}: expected a class of the training images, found {path.name!r:.80}")
        files = _entries(path)
        if not files:
            raise InputError(f"{path}: expected images, found an empty folder; remove it or fill it")
        for file in files:
            if not file.is_file():
                raise InputError(f"{file}: expected an image, found none; images lie right below their class")
            examples.append(Example(str(file), classes.index(path.name), file))
    return classes, tuple(examples)


def _checked(root: Path, dataset: Dataset) -> Dataset:
    if len(dataset.classes) < 2:
        raise InputError(f"{root}: expected two classes or more, found only {dataset.classes[0]!r:.80}")
    for split, indices in dataset.splits.items():
        if not len(indices):
            raise InputError(f"{root}: expected images for {split}, found {len(dataset.examples)} in all; add some")
    trained = {dataset.examples[index].label for index in dataset.splits["train"]}
    for label, name in enumerate(dataset.classes):
        if label not in trained:
            raise InputError(f"{root}: expected training images of every class, found none of {name!r:.80}; add some")
    return dataset
