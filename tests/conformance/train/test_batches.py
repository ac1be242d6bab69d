"""Batches of an epoch: every training image at most once, the same whatever the files are, and from the seed alone."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from conformance.train.batches import Batches, ahead
from conformance.train.dataset import digits
from conformance.train.preprocessing import survey
from conformance.updates import Rates
from impls.training import MASK
from spec.load import parse
from spec.tensors import read
from tests.conformance.train.specs import TINY

RATES = Rates(0.1, 0.2)


@pytest.fixture(scope="module")
def batches() -> Batches:
    network = parse(TINY, "tiny.yaml")
    assert network.preprocessing is not None
    return Batches(network, survey(network, network.preprocessing, digits(0), lambda _: None), batch=64, seed=5)


def joined(
    batches: Batches, folder: Path, epoch: int, first: int = 0, every: int | None = None
) -> dict[str, np.ndarray]:
    """All files of an epoch as one."""
    parts = [read(chunk.path) for chunk in batches.chunks(epoch, first, RATES, folder, every)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def test_an_epoch_has_every_training_image_at_most_once_and_full_batches_only(batches: Batches) -> None:
    order = batches.order(epoch=2)
    assert order.shape == (batches.steps, 64) == (1259 // 64, 64)
    assert len(np.unique(order)) == order.size
    assert set(order.flat) <= set(batches.data.squares.dataset.splits["train"])


def test_epochs_and_seeds_are_shuffled_each_in_its_own_way(batches: Batches) -> None:
    other = Batches(batches.network, batches.data, batches.batch, seed=6)
    orders = [batches.order(0), batches.order(1), other.order(0)]
    assert all(not np.array_equal(orders[one], orders[two]) for one, two in ((0, 1), (0, 2), (1, 2)))


def test_tensors_are_what_the_protocol_asks_for(batches: Batches, tmp_path: Path) -> None:
    found = joined(batches, tmp_path, epoch=1)
    steps = batches.steps
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "image": ((steps, 64, 1, 7, 7), "float32"),
        "labels": ((steps, 64), "int64"),
        "rates": ((steps, 2), "float64"),
        f"{MASK}drop2": ((steps, 64, 24), "bool"),
    }
    assert (found["rates"] == [0.1, 0.2]).all()
    expected = batches.data.squares.dataset.labels(batches.order(1).reshape(-1))
    assert np.array_equal(found["labels"].reshape(-1), expected)
    assert found[f"{MASK}drop2"].mean() == pytest.approx(0.75, abs=0.01)


@pytest.mark.parametrize(("first", "every"), [(0, 4), (7, None), (3, 5)])
def test_steps_are_the_same_however_they_are_cut_into_files(
    batches: Batches, tmp_path: Path, first: int, every: int | None
) -> None:
    whole = joined(batches, tmp_path, epoch=2)
    rest = joined(batches, tmp_path, epoch=2, first=first, every=every)
    for name, value in whole.items():
        assert np.array_equal(value[first:], rest[name]), name


def test_files_end_at_multiples_of_all_steps_of_the_run(batches: Batches, tmp_path: Path) -> None:
    ends = [chunk.first + chunk.steps for chunk in batches.chunks(1, 2, RATES, tmp_path, every=5)]
    assert ends == [6, 11, 16, 19]  # of 19 steps an epoch; 25, 30, 35 and 38 of all


def test_a_file_keeps_within_its_bytes_but_holds_a_step_at_least(
    batches: Batches, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step_bytes = 64 * 7 * 7 * 4
    for limit, steps in ((3 * step_bytes, 3), (1, 1)):
        monkeypatch.setattr("conformance.train.batches.FILE_BYTES", limit)
        assert next(batches.chunks(0, 0, RATES, tmp_path)).steps == steps


def test_items_are_made_one_ahead_in_order() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(4):
            made.append(number)
            yield number

    assert [number for number in ahead(items()) if len(made) <= number + 2] == [0, 1, 2, 3]


def test_an_error_while_items_are_made_arrives() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("the disk is full")

    with pytest.raises(ValueError, match="the disk is full"):
        list(ahead(items()))
