"""The part of colours: both ways of shifting pass, another scale, axis or draw does not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conformance.colour import ColourAxes, coloured
from conformance.measure import Array
from conformance.part_colour import ColourPart, Expected
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Outcome, Result
from spec.load import load
from spec.network import Network
from spec.recipe import PcaColour
from spec.tensors import read
from tests.conformance.stand_in import asked, given, judged
from tests.conformance.synthetic import narrow
from tests.spec.networks import small

PART = ColourPart()
NETWORKS = ("alexnet_narrow", "alexnet_code2012")


def stated_of(network: Network) -> PcaColour:
    assert network.preprocessing is not None
    stated = network.preprocessing.augmentation.pca_colour
    assert stated is not None
    return stated


def expected_of(name: str, folder: Path) -> Expected:
    start = given(narrow().model_copy(update={"preprocessing": load(name).preprocessing}))
    return PART.expected(start, folder)


def result(expected: Expected, own: Array) -> Result:
    (found,) = judged(PART, given(), expected, own).values()
    return found


def shifted(name: str, expected: Expected, **changes: Array) -> Array:
    """What float32 gives, of other numbers than it was given."""
    fed = read(expected.file) | changes
    axes = ColourAxes(fed["eigenvalues"], fed["eigenvectors"])
    return coloured(fed["images"], axes, fed["draws"], stated_of(load(name))).astype(np.float32)


@pytest.mark.parametrize("name", NETWORKS)
def test_float32_passes_in_either_way_of_shifting(name: str, tmp_path: Path) -> None:
    expected = expected_of(name, tmp_path)
    found = result(expected, shifted(name, expected))
    assert found.outcome is Outcome.PASSED
    assert found.noise_max is not None
    assert 0.1 < found.noise_max < 8


@pytest.mark.parametrize("name", NETWORKS)
def test_the_other_way_of_shifting_is_caught(name: str, tmp_path: Path) -> None:
    (other,) = set(NETWORKS) - {name}
    expected = expected_of(name, tmp_path)
    assert result(expected, shifted(other, expected)).outcome is Outcome.FAILED


def test_the_root_of_an_eigenvalue_is_caught(tmp_path: Path) -> None:
    expected = PART.expected(given(), tmp_path)
    own = asked(PART, given(), expected, NumpyRunner("pca_root_for_eigenvalue"), tmp_path)
    found = result(expected, own)
    assert found.outcome is Outcome.FAILED
    assert found.message.startswith("at [")
    assert "cap 16 (conformance/caps.toml, colour); RMS " in found.message


@pytest.mark.parametrize(
    ("tensor", "wrong"),
    [
        ("eigenvectors", lambda values: values.T),
        ("eigenvectors", lambda values: values[:, ::-1]),
        ("eigenvectors", lambda values: -values),
        ("eigenvalues", lambda values: values[::-1]),
        ("draws", lambda values: values[::-1]),
        ("draws", lambda values: np.broadcast_to(values[:1], values.shape)),
        ("draws", lambda values: values * np.float32(1.00001)),
        ("images", lambda values: values[:, ::-1]),
    ],
)
def test_other_axes_draws_and_channels_are_caught(tensor: str, wrong: Callable[[Array], Array], tmp_path: Path) -> None:
    expected = expected_of("alexnet_narrow", tmp_path)
    own = shifted("alexnet_narrow", expected, **{tensor: wrong(read(expected.file)[tensor])})
    assert result(expected, own).outcome is Outcome.FAILED


@pytest.mark.parametrize("change", [lambda own: own[:3], lambda own: own.astype(np.float64)])
def test_images_of_another_shape_or_precision_fail(change: Callable[[Array], Array], tmp_path: Path) -> None:
    expected = expected_of("alexnet_narrow", tmp_path)
    found = result(expected, change(shifted("alexnet_narrow", expected)))
    assert found.message.startswith("expected float32 of shape [4, 3, 135, 99], found float")


def test_it_applies_where_it_is_stated_and_to_three_colours() -> None:
    assert PART.skipped(given()) == ""
    plain = narrow().model_copy(update={"preprocessing": load("caffenet").preprocessing})
    assert PART.skipped(given(plain)) == "the network's preprocessing states no pca_colour"
    four = small().model_copy(update={"training": narrow().training, "preprocessing": narrow().preprocessing})
    assert PART.skipped(given(four, "scaled")).endswith("the input has 4 channels")
