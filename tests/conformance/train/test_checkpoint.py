"""Checkpoints: read as they were written, whole or not at all, and none of another run."""

import errno
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.train import checkpoint as checkpoints
from conformance.train.checkpoint import Checkpoint, Epoch, Identity, Maker, identity_of, read, require_same_run, write
from spec import tensors
from spec.exits import InputError, NotRunError
from spec.load import parse
from spec.store import content_sha256
from tests.conformance.train.specs import TINY, changed

IDENTITY = Identity("tiny", "a" * 64, "b" * 64, "c" * 64, 3)
MAKER = Maker("torch", "2.13.0", 2, "cpu", "eager", "native")
EPOCH = Epoch(0.1, 0.2, 1.0 / 3.0, 0.7, 12.5, None, 1.5)


def made(**changes: Any) -> Checkpoint:
    random = np.random.default_rng(0)
    parameters = {
        "conv1.weight": random.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "fc2.bias": np.zeros(3, np.float32),
    }
    velocities = {name: value + np.float32(0.5) for name, value in parameters.items()}
    stage = Checkpoint(IDENTITY, MAKER, 4, 7, (EPOCH, EPOCH), random.random(45), parameters, velocities)
    return replace(stage, **changes)


def assert_same(one: Checkpoint, other: Checkpoint) -> None:
    for field in fields(Checkpoint):
        before, after = getattr(one, field.name), getattr(other, field.name)
        match field.name:
            case "parameters" | "velocities":
                assert before.keys() == after.keys()
                assert all(np.array_equal(before[name], after[name]) for name in before)
            case "losses":
                assert np.array_equal(before, after)
            case _:
                assert before == after


def test_a_checkpoint_is_read_as_it_was_written(tmp_path: Path) -> None:
    write(tmp_path / "one.safetensors", made())
    assert_same(read(tmp_path / "one.safetensors"), made())
    assert [path.name for path in tmp_path.iterdir()] == ["one.safetensors"]


def test_operators_may_be_called_like_what_a_checkpoint_holds(tmp_path: Path) -> None:
    named = {"velocity.weight": np.ones(2, np.float32), "losses.bias": np.ones(1, np.float32)}
    stage = made(parameters=named, velocities={name: 2 * value for name, value in named.items()})
    write(tmp_path / "one", stage)
    assert_same(read(tmp_path / "one"), stage)


@pytest.mark.parametrize("written", [0, 100, 400])
def test_a_write_that_fails_leaves_the_checkpoint_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    path = tmp_path / "one"
    write(path, made())

    def fails(new: Path, *_: object) -> None:
        new.write_bytes(b"x" * written)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensors, "write", fails)
    with pytest.raises(NotRunError, match=r"one: expected to write a checkpoint, found: No space left on device"):
        write(path, made(step=9))
    assert_same(read(path), made())


def test_what_killed_runs_left_is_removed_by_the_next(tmp_path: Path) -> None:
    left = tmp_path / ".one.new.0123456789abcdef.partial"
    left.write_bytes(b"half")
    write(tmp_path / "one", made())
    assert not left.exists()


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])


def cut_in_the_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def without_state(path: Path) -> None:
    tensors.write(path, {"conv1.weight": np.ones(1, np.float32)})


def of_another_format(path: Path) -> None:
    state = json.dumps({"format": "lockstep-checkpoint/9"})
    tensors.write(path, {"x": np.ones(1, np.float32)}, {checkpoints.STATE: state})


def with_a_list_for_state(path: Path) -> None:
    tensors.write(path, {"x": np.ones(1, np.float32)}, {checkpoints.STATE: "[1]"})


def without_losses(path: Path) -> None:
    named = {name: np.array(value) for name, value in tensors.read(path).items() if name != checkpoints.LOSSES}
    state = json.loads(tensors.metadata(path)[checkpoints.STATE])
    state["sha256"] = content_sha256(named)
    tensors.write(path, named, {checkpoints.STATE: json.dumps(state)})


SPOILT = {
    truncated: "bytes of data, found",
    cut_in_the_header: "expected a header",
    emptied: "expected a safetensors file, found 0 bytes",
    flipped: "expected tensors of sha256",
    a_folder: "found a folder",
    without_state: "expected a checkpoint (lockstep-checkpoint/1), found 'none'",
    of_another_format: "expected a checkpoint (lockstep-checkpoint/1), found 'lockstep-checkpoint/9'",
    with_a_list_for_state: "expected the state of a run",
    without_losses: "expected the state of a run",
}


@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_a_damaged_checkpoint_is_named_with_what_is_wrong(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "one.safetensors"
    write(path, made())
    assert callable(spoil)
    spoil(path)
    with pytest.raises(InputError) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert SPOILT[spoil] in str(raised.value)
    assert "remove it, or name another --report" in str(raised.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network": "other"}, "the same network, 'tiny', found 'other'"),
        ({"graph_sha256": "d" * 64}, "the same graph of the network, aaaaaaaaaaaaaaaa…, found dddddddddddddddd…"),
        ({"recipe_sha256": "d" * 64}, "the same recipe (preprocessing, training, evaluation), bbbb"),
        ({"data_sha256": "d" * 64}, "the same data set, or its splits, cccc"),
        ({"seed": 4}, "the same seed, 3, found 4"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused_by_the_first_difference(change: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as raised:
        require_same_run(Path("one"), made(identity=replace(IDENTITY, **change)), IDENTITY)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("replacement", "field"),
    [
        (("out_channels: 4", "out_channels: 4"), None),
        (("epochs: 4", "epochs: 5"), None),
        (("title: A network", "title: Some network"), None),
        (("momentum: 0.9", "momentum: 0.8"), "recipe_sha256"),
        (("crop: random", "crop: none"), "recipe_sha256"),
        (("views: centre", "views: ten_crop"), "recipe_sha256"),
        (("drop_probability: 0.25", "drop_probability: 0.5"), "graph_sha256"),
    ],
)
def test_the_identity_covers_what_steps_depend_on(replacement: tuple[str, str], field: str | None) -> None:
    one = identity_of(parse(TINY, "s"), "data", 0)
    other = identity_of(parse(changed(replacement), "s"), "data", 0)
    differing = [each.name for each in fields(Identity) if getattr(one, each.name) != getattr(other, each.name)]
    assert differing == ([field] if field else [])


def test_what_is_no_number_is_found_wherever_it_is() -> None:
    assert made().is_finite()
    stage = made()
    spoilt = {"conv1.weight": np.full((4, 1, 3, 3), np.inf, np.float32)}
    assert not replace(stage, parameters={**stage.parameters, **spoilt}).is_finite()
    assert not replace(stage, velocities={**stage.velocities, **spoilt}).is_finite()
