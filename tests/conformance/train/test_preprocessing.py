"""From images to inputs: squares, mean, crops, mirror images, colours; each against a formulation of its own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conformance.colour import colour_axes
from conformance.train.dataset import Dataset, Example, drawn, folder
from conformance.train.preprocessing import Preparation, Squares, square, survey
from spec.exits import InputError
from spec.load import parse
from spec.network import Network
from spec.recipe import Preprocessing
from tests.conformance.train.specs import COLOURFUL, TINY, changed
from tests.conformance.train.test_dataset import pictures


def stated(network: Network) -> Preprocessing:
    assert network.preprocessing is not None
    return network.preprocessing


def tell(_: str) -> None:
    """Nobody listens."""


def surveyed(root: Path, text: str = COLOURFUL) -> tuple[Squares, Preparation]:
    network = parse(text, "spec.yaml")
    found = survey(network, stated(network), folder(root, seed=0), tell)
    return found.squares, found.preparation


def test_a_square_is_the_centre_of_the_scaled_image() -> None:
    shaped = stated(parse(changed(("shorter_side: 8", "shorter_side: 20"), ("centre_crop: 8", "centre_crop: 12")), "s"))
    rows, columns = np.mgrid[0:30, 0:50]
    image = Image.fromarray((2 * rows + 3 * columns).astype(np.uint8))
    whole = image.resize((33, 20), Image.Resampling.BILINEAR)
    expected = np.asarray(whole)[4:16, 10:22].astype(int)
    found = square(image, shaped, channels=1)
    assert found.shape == (1, 12, 12)
    # The scaled image has 33 columns, of 33⅓ that keep its shape: a column lies up to a third of one aside.
    assert np.abs(found[0].astype(int) - expected).max() <= 3


def test_a_square_of_the_wanted_size_is_the_image_itself() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    assert np.array_equal(square(Image.fromarray(pixels), stated(parse(TINY, "s")), 1)[0], pixels)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "LA"])
def test_images_of_all_kinds_become_what_the_network_reads(mode: str) -> None:
    image = Image.new("RGB", (9, 30), (200, 100, 50)).convert(mode)
    assert square(image, stated(parse(TINY, "s")), 1).shape == (1, 8, 8)
    assert square(image, stated(parse(COLOURFUL, "s")), 3).shape == (3, 8, 8)


def test_the_narrowest_image_is_scaled_without_scaling_the_rest() -> None:
    found = square(Image.new("L", (1, 60_000), 77), stated(parse(TINY, "s")), 1)
    assert (found == 77).all()


def test_the_mean_image_is_that_of_the_training_images_alone(tmp_path: Path) -> None:
    squares, preparation = surveyed(pictures(tmp_path))
    training = squares(squares.dataset.splits["train"])
    assert np.allclose(preparation.mean, training.astype(np.float64).mean(axis=0), rtol=1e-7)
    whole = preparation.whole(training)
    assert np.abs(whole.mean(axis=0)).max() < 1e-6
    assert np.ptp(whole) > 0.9  # on the spec's range of 0 to 1


def test_a_stated_mean_is_subtracted_a_channel(tmp_path: Path) -> None:
    rgb = "{kind: per_channel, rgb: [10.0, 20.0, 30.0]}"
    text = changed(("{kind: per_pixel, rgb: [77.8, 77.8, 77.8]}", rgb), text=COLOURFUL)
    squares, preparation = surveyed(pictures(tmp_path), text)
    indices = np.array([0, 5])
    expected = (squares(indices) - np.array([10, 20, 30]).reshape(3, 1, 1)) / 255
    assert np.allclose(preparation.whole(squares(indices)), expected, atol=1e-7)


def test_axes_of_colours_are_those_of_all_training_images_in_the_specs_range(tmp_path: Path) -> None:
    squares, preparation = surveyed(pictures(tmp_path))
    expected = colour_axes(squares(squares.dataset.splits["train"]) / 255)
    assert preparation.axes is not None
    assert np.allclose(preparation.axes.eigenvalues, expected.eigenvalues, rtol=1e-9)
    assert np.allclose(preparation.axes.eigenvectors, expected.eigenvectors, atol=1e-9)


def places(whole: np.ndarray, crop: np.ndarray) -> list[tuple[int, int, bool]]:
    """Where in an image a crop comes from, and whether it is mirrored."""
    height, width = crop.shape[1:]
    return [
        (top, left, mirrored)
        for top in range(whole.shape[1] - height + 1)
        for left in range(whole.shape[2] - width + 1)
        for mirrored in (False, True)
        if np.array_equal(whole[:, top : top + height, left : left + width][..., :: -1 if mirrored else 1], crop)
    ]


def test_crops_and_mirror_images_are_all_drawn_and_depend_on_seed_epoch_and_example_alone(tmp_path: Path) -> None:
    text = changed(("pca_colour: {std: 0.1, scale_by: eigenvalue, rescale: none}", "pca_colour: null"), text=COLOURFUL)
    squares, preparation = surveyed(pictures(tmp_path), text)
    indices = np.arange(20)
    found = []
    for epoch in range(5):
        x = preparation.augmented(squares(indices), indices, seed=1, epoch=epoch)
        assert x.shape == (20, 3, 7, 7)
        assert x.dtype == np.float32
        for whole, crop in zip(preparation.whole(squares(indices)), x, strict=True):
            (place,) = places(whole, crop)
            found.append(place)
    assert set(found) == {(top, left, mirrored) for top in (0, 1) for left in (0, 1) for mirrored in (False, True)}
    some = np.array([7, 3])
    again = preparation.augmented(squares(some), some, seed=1, epoch=4)
    assert np.array_equal(again, preparation.augmented(squares(indices), indices, seed=1, epoch=4)[some])
    assert not np.array_equal(preparation.augmented(squares(some), some, seed=2, epoch=4), again)


def test_colours_are_shifted_by_draws_of_their_own_along_the_axes(tmp_path: Path) -> None:
    squares, preparation = surveyed(pictures(tmp_path))
    plain = changed(("pca_colour: {std: 0.1, scale_by: eigenvalue, rescale: none}", "pca_colour: null"), text=COLOURFUL)
    _, without = surveyed(tmp_path, plain)
    indices = np.arange(20)
    shift = preparation.augmented(squares(indices), indices, 1, 0) - without.augmented(squares(indices), indices, 1, 0)
    assert preparation.axes is not None
    assert np.allclose(shift, shift[:, :, :1, :1], atol=1e-6), "every pixel of an image moves alike"
    draws = shift[:, :, 0, 0] @ preparation.axes.eigenvectors / preparation.axes.eigenvalues
    assert 0.05 < draws.std() < 0.2
    assert len(np.unique(draws.round(4))) > 50


def test_the_hash_covers_contents_labels_and_splits_and_not_where_the_folder_lies(tmp_path: Path) -> None:
    network = parse(COLOURFUL, "spec.yaml")

    def sha256(root: Path, seed: int = 0) -> str:
        return survey(network, stated(network), folder(root, seed), tell).sha256

    first = sha256(pictures(tmp_path / "one"))
    assert sha256(pictures(tmp_path / "two")) == first
    assert sha256(tmp_path / "one", seed=1) != first
    (tmp_path / "two" / "b" / "0.png").rename(tmp_path / "two" / "a" / "x.png")
    assert sha256(tmp_path / "two") != first
    path = tmp_path / "one" / "a" / "0.png"
    Image.open(path).rotate(90).save(path)
    assert sha256(tmp_path / "one") != first


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def no_image(path: Path) -> None:
    path.write_text("not an image")


def nothing(path: Path) -> None:
    path.write_bytes(b"")


def damaged(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[60:90] = bytes(30)
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [truncated, no_image, nothing, damaged], ids=lambda spoil: spoil.__name__)
def test_a_file_that_is_no_image_is_named(tmp_path: Path, spoil: object) -> None:
    pictures(tmp_path)
    assert callable(spoil)
    spoil(tmp_path / "b" / "4.png")
    with pytest.raises(InputError, match=r"b/4\.png: expected an image, found: .*; repair or remove it") as raised:
        surveyed(tmp_path)
    assert "BytesIO" not in str(raised.value)


def test_an_image_that_would_fill_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(InputError, match=r"\.png: expected an image, found: .*exceeds limit"):
        surveyed(pictures(tmp_path))


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    dataset = folder(pictures(tmp_path), seed=0)
    (tmp_path / "a" / "0.png").unlink()
    with pytest.raises(InputError, match=r"a/0\.png: expected a readable image, found: No such file"):
        Squares(dataset, stated(parse(COLOURFUL, "s")), 3)(np.array([0]))


def test_squares_that_memory_cannot_keep_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, _ = surveyed(pictures(tmp_path))
    monkeypatch.setattr("conformance.train.preprocessing.KEPT_BYTES", 0)
    decoded, _ = surveyed(tmp_path)
    assert np.array_equal(kept(np.arange(20)), decoded(np.arange(20)))


def dataset_of(pixels: np.ndarray) -> Dataset:
    examples = tuple(Example(f"image {index}", index % 2, image) for index, image in enumerate(pixels))
    return Dataset("made", ("even", "odd"), examples, drawn(len(examples), 0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            changed(("shorter_side: 8", "shorter_side: 6"), ("centre_crop: 8", "centre_crop: 6")),
            "preprocessing.centre_crop: expected at least the 7×7 pixels of the network's input, found 6",
        ),
        (
            changed(("pca_colour: null", "pca_colour: {std: 0.1, scale_by: eigenvalue, rescale: none}")),
            "pca_colour: expected an input of 3 channels, found 1",
        ),
    ],
)
def test_a_spec_that_no_image_suits_is_refused(text: str, message: str) -> None:
    network = parse(text, "spec.yaml")
    pixels = np.random.default_rng(0).integers(0, 256, (20, 8, 8), np.uint8)
    with pytest.raises(InputError) as raised:
        survey(network, stated(network), dataset_of(pixels), tell)
    assert message in str(raised.value)
