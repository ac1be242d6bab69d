"""The cache: the same file for the same recipe, whole or not there, and made again when damaged."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from spec import tensors
from spec.exits import NotRunError
from spec.load import load, parse
from spec.store import IN_USE_S, Store, content_sha256, default_root
from spec.weights import weights
from tests.spec.networks import changed, small

NARROW = load("alexnet_narrow")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def unused(path: Path) -> None:
    """Make `path` look as if nobody had asked for it for two hours."""
    then = time.time() - 2 * IN_USE_S
    os.utime(path, (then, then))


def test_file_holds_the_weights(store: Store) -> None:
    found = tensors.read(store.weights_file(NARROW, "scaled", 7))
    expected = weights(NARROW, "scaled", 7)
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_file_holds_the_input_under_its_name(store: Store) -> None:
    found = tensors.read(store.input_file(NARROW, "noise", 0, 2))
    assert {name: array.shape for name, array in found.items()} == {"image": (2, 3, 135, 99)}


def test_second_request_makes_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first = store.weights_file(NARROW, "scaled", 0)
    unused(first)

    def refuse(*_: object) -> None:
        raise AssertionError("written twice")

    monkeypatch.setattr(tensors, "write", refuse)
    assert store.weights_file(NARROW, "scaled", 0) == first
    assert time.time() - first.stat().st_mtime < 60


def test_each_recipe_has_its_file(store: Store) -> None:
    files = [
        store.weights_file(NARROW, "scaled", 0),
        store.weights_file(NARROW, "scaled", 1),
        store.weights_file(NARROW, "paper", 0),
        store.weights_file(small(), "scaled", 0),
        store.input_file(NARROW, "noise", 0, 2),
        store.input_file(NARROW, "noise", 0, 3),
        store.input_file(NARROW, "noise", 1, 2),
        store.input_file(NARROW, "photographs", 0, 2),
        store.input_file(small(), "noise", 0, 2),
    ]
    assert len(set(files)) == len(files)
    assert {file.name for file in store.root.iterdir()} == {file.name for file in files}


def test_what_does_not_change_the_numbers_does_not_change_the_file(store: Store) -> None:
    assert store.weights_file(small("other"), "scaled", 0) == store.weights_file(small(), "scaled", 0)
    assert store.input_file(load("alexnet"), "noise", 0, 1) == store.input_file(
        load("alexnet_one_tower"), "noise", 0, 1
    )


def test_what_changes_the_numbers_changes_the_file(store: Store) -> None:
    # Without its ReLU the first layer has another gain, though every tensor has the same name and shape.
    other = parse(changed(("op: relu", "op: tanh")), "net.yaml")
    assert other.tensor_shapes == small().tensor_shapes
    assert store.weights_file(other, "scaled", 0) != store.weights_file(small(), "scaled", 0)


def flip_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def swap_names(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"fc6.bias", b"fc9.bias"))


def drop_hash(path: Path) -> None:
    tensors.write(path, tensors.read(path))


@pytest.mark.parametrize("damage", [flip_bit, truncate, empty, swap_names, drop_hash])
def test_damaged_file_is_made_again_with_one_line(
    store: Store, damage: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = store.weights_file(NARROW, "scaled", 0)
    assert capsys.readouterr().err == ""
    assert callable(damage)
    damage(path)
    assert store.weights_file(NARROW, "scaled", 0) == path
    assert content_sha256(tensors.read(path)) == content_sha256(weights(NARROW, "scaled", 0))
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert shown.err.startswith("warning: ")
    assert str(path) in shown.err


def test_one_wrong_bit_in_any_byte_is_noticed(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = parse(
        "format: lockstep-network/1\nname: tiny\ntitle: One weight\nsource: this test\n"
        "input: {name: image, shape: [2]}\n"
        "graph: [{name: fc, op: dense, in_features: 2, out_features: 1, bias: true}]\n"
        "expect: {shapes: {fc: [1]}, parameters: 3, macs: 2, neurons: 1}\n",
        "tiny.yaml",
    )
    path = store.weights_file(tiny, "scaled", 0)
    whole = path.read_bytes()
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert store.weights_file(tiny, "scaled", 0) == path
        assert path.read_bytes() == whole
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == len(whole)


def test_file_that_is_replaced_stays_readable_where_it_is_mapped(store: Store) -> None:
    path = store.weights_file(NARROW, "scaled", 0)
    mapped = tensors.read(path)
    before = {name: array.copy() for name, array in mapped.items()}
    tensors.write(path, {"other": np.zeros(1, np.float32)})
    assert all(np.array_equal(mapped[name], before[name]) for name in before)


def test_simultaneous_requests_get_one_whole_file(store: Store) -> None:
    with ThreadPoolExecutor(8) as threads:
        paths = list(threads.map(lambda _: store.weights_file(NARROW, "scaled", 0), range(24)))
    assert len(set(paths)) == 1
    assert [file.name for file in store.root.iterdir()] == [paths[0].name]
    assert content_sha256(tensors.read(paths[0])) == content_sha256(weights(NARROW, "scaled", 0))


def test_simultaneous_processes_get_one_whole_file(tmp_path: Path) -> None:
    program = (
        "from spec.load import load; from spec.store import Store; "
        "print(Store().weights_file(load('alexnet_narrow'), 'scaled', 0))"
    )
    environment = {**os.environ, "LOCKSTEP_CACHE": str(tmp_path)}
    runs = [subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=-1, text=True) for _ in range(3)]
    outputs = {run.communicate()[0] for run in runs}
    assert [run.returncode for run in runs] == [0, 0, 0]
    (path,) = outputs
    assert content_sha256(tensors.read(Path(path.strip()))) == content_sha256(weights(NARROW, "scaled", 0))


def test_longest_unused_files_are_removed_beyond_the_limit(tmp_path: Path) -> None:
    roomy = Store(tmp_path)
    old = [roomy.weights_file(NARROW, "scaled", seed) for seed in range(4)]
    for path in old:
        unused(path)
    recent = roomy.weights_file(NARROW, "scaled", 1)
    tight = Store(tmp_path, limit_bytes=3 * recent.stat().st_size)
    new = tight.weights_file(NARROW, "scaled", 9)
    assert recent.exists()
    assert new.exists()
    assert sum(path.exists() for path in old) == 2


def test_files_in_use_are_kept_whatever_the_limit(tmp_path: Path) -> None:
    tight = Store(tmp_path, limit_bytes=1)
    paths = [tight.weights_file(NARROW, "scaled", seed) for seed in range(3)]
    assert all(path.exists() for path in paths)


def test_leftovers_of_broken_runs_are_removed_and_files_being_written_are_not(store: Store) -> None:
    store.root.mkdir()
    left, growing = store.root / ".a.safetensors.0.partial", store.root / ".b.safetensors.1.partial"
    left.write_bytes(b"half")
    growing.write_bytes(b"half")
    unused(left)
    store.weights_file(small(), "scaled", 0)
    assert not left.exists()
    assert growing.exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_full_disk_is_one_line(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open

    def opened(path: Path, mode: str = "r") -> object:
        return open("/dev/full", "wb") if mode == "xb" else original(path, mode)  # noqa: PTH123

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(NotRunError, match=r"cannot keep .* bytes of weights: No space left on device; make room"):
        store.weights_file(NARROW, "scaled", 0)
    assert list(store.root.iterdir()) == []


def test_folder_that_cannot_be_made_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotRunError, match=r"cannot keep .* bytes of weights: Not a directory") as caught:
        Store(tmp_path / "file" / "cache").weights_file(NARROW, "scaled", 0)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().err == ""


def test_more_than_the_memory_holds_is_one_line(store: Store) -> None:
    batch = psutil.virtual_memory().total // (4 * 3 * 135 * 99) + 1
    with pytest.raises(NotRunError, match=r"input: needs [0-9,]+ bytes of memory, found [0-9,]+ available"):
        store.input_file(NARROW, "noise", 0, batch)


def test_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path))
    assert Store().root == default_root() == tmp_path
    monkeypatch.delenv("LOCKSTEP_CACHE")
    assert Store().root.parts[-2:] == ("build", "tensors")
