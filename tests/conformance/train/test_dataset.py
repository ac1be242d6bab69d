"""Labelled images: the digits, folders with and without splits of their own, and folders that are wrong."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conformance.train.dataset import SPLITS, digits, drawn, folder
from spec.exits import InputError


def picture(path: Path, seed: int, size: tuple[int, int] = (12, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def pictures(root: Path, classes: str = "ab", count: int = 10) -> Path:
    """A folder with a folder a class."""
    for label, name in enumerate(classes):
        for number in range(count):
            picture(root / name / f"{number}.png", 100 * label + number)
    return root


def test_digits_are_all_there_and_split_by_the_seed() -> None:
    dataset = digits(seed=3)
    assert len(dataset.examples) == 1797
    assert dataset.classes == tuple("0123456789")
    assert {split: len(indices) for split, indices in dataset.splits.items()} == {
        "train": 1259,
        "validation": 269,
        "test": 269,
    }
    together = np.concatenate(list(dataset.splits.values()))
    assert np.array_equal(np.sort(together), np.arange(1797))
    assert not np.array_equal(dataset.splits["test"], digits(seed=4).splits["test"])
    assert np.array_equal(dataset.splits["test"], digits(seed=3).splits["test"])


def test_a_digit_spans_the_range_of_pixels() -> None:
    sources = [example.source for example in digits(seed=0).examples]
    pixels = np.stack([source for source in sources if isinstance(source, np.ndarray)])
    assert pixels.shape == (1797, 8, 8)
    assert (pixels.min(), pixels.max()) == (0, 255)


def test_splits_hold_each_example_once_whatever_their_number() -> None:
    for count in range(40):
        parts = list(drawn(count, seed=1).values())
        assert sorted(np.concatenate(parts).tolist()) == list(range(count))
        assert len(parts[1]) == len(parts[2]) == count * 15 // 100


def test_a_folder_a_class_is_split_by_the_seed(tmp_path: Path) -> None:
    dataset = folder(pictures(tmp_path, "ab", 10), seed=0)
    assert dataset.classes == ("a", "b")
    assert [example.label for example in dataset.examples] == [0] * 10 + [1] * 10
    assert [len(dataset.splits[split]) for split in SPLITS] == [14, 3, 3]


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_splits_of_the_folder_itself_are_kept(tmp_path: Path, validation: str) -> None:
    pictures(tmp_path / "train", "ab", 3)
    pictures(tmp_path / validation, "b", 2)
    dataset = folder(tmp_path, seed=0)
    assert {split: indices.tolist() for split, indices in dataset.splits.items()} == {
        "train": [0, 1, 2, 3, 4, 5],
        "validation": [6, 7],
    }
    assert dataset.labels(dataset.splits["validation"]).tolist() == [1, 1]
    pictures(tmp_path / "test", "a", 1)
    assert folder(tmp_path, seed=0).splits["test"].tolist() == [8]


def test_hidden_files_and_files_beside_the_classes_are_passed_over(tmp_path: Path) -> None:
    pictures(tmp_path, "ab", 10)
    (tmp_path / "README.txt").write_text("about these images")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".DS_Store").write_bytes(b"\0")
    assert len(folder(tmp_path, seed=0).examples) == 20


def empty(root: Path) -> None:
    shutil.rmtree(root)
    root.mkdir()


def gone(root: Path) -> None:
    shutil.rmtree(root)


def a_file(root: Path) -> None:
    shutil.rmtree(root)
    root.write_bytes(b"")


def one_class(root: Path) -> None:
    shutil.rmtree(root / "b")


def empty_class(root: Path) -> None:
    (root / "c").mkdir()


def deeper(root: Path) -> None:
    picture(root / "a" / "more" / "0.png", 1)


def train_without_val(root: Path) -> None:
    shutil.copytree(root, root.parent / "own" / "train")
    shutil.rmtree(root)
    (root.parent / "own").rename(root)


def val_without_train(root: Path) -> None:
    train_without_val(root)
    (root / "train").rename(root / "val")


def unknown_class_in_val(root: Path) -> None:
    train_without_val(root)
    pictures(root / "val", "c", 1)


def too_few(root: Path) -> None:
    for path in root.rglob("*.png"):
        if path.name != "0.png":
            path.unlink()


WRONG = {
    empty: "expected a folder a class, with images in each, found no folder",
    gone: "expected a folder of images, found: No such file or directory",
    a_file: "expected a folder of images, found: Not a directory",
    one_class: "expected two classes or more, found only 'a'",
    empty_class: "c: expected images, found an empty folder",
    deeper: "more: expected an image, found none; images lie right below their class",
    train_without_val: "expected a folder 'val' beside the other split, found none",
    val_without_train: "expected a folder 'train' beside the other split, found none",
    unknown_class_in_val: "expected a class of the training images, found 'c'",
    too_few: "expected images for validation, found 2 in all; add some",
}


@pytest.mark.parametrize("make_wrong", WRONG, ids=lambda make_wrong: make_wrong.__name__)
def test_a_wrong_folder_is_named_with_what_was_expected_of_it(tmp_path: Path, make_wrong: object) -> None:
    root = pictures(tmp_path / "images", "ab", 10)
    assert callable(make_wrong)
    make_wrong(root)
    with pytest.raises(InputError) as raised:
        folder(root, seed=0)
    assert WRONG[make_wrong] in str(raised.value)
    assert str(root) in str(raised.value)


def test_a_class_that_training_never_sees_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, "a", 60)
    picture(tmp_path / "b" / "0.png", 1)
    seeds = [seed for seed in range(20) if 60 not in drawn(61, seed)["train"]]
    assert seeds, "one of twenty seeds holds the last image back"
    with pytest.raises(InputError, match="expected training images of every class, found none of 'b'"):
        folder(tmp_path, seed=seeds[0])
