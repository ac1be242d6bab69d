"""Our safetensors files against the reference library, and against what broken disks and programs leave behind."""

import json
import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from spec import tensors
from spec.tensors import Array

SAMPLE: dict[str, Array] = {
    "conv1.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "half": np.array([1.5, -2.0, 3.0], np.float16),
    "double": np.array([[1.0], [2.0]], np.float64),
    "count": np.array([1, -(2**62)], np.int64),
    "scalar": np.array(4.0, np.float32),
    "empty": np.zeros((3, 0), np.float32),
}


def same(first: dict[str, Array], second: dict[str, Array]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and np.array_equal(first[name], second[name]) for name in first
    )


def raw(path: Path, header: object, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, SAMPLE, {"sha256": "abc"})
    assert same(tensors.read(path), SAMPLE)
    assert tensors.metadata(path) == {"sha256": "abc"}
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_reference_library_reads_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, SAMPLE, {"a": "b"})
    assert same(load_file(path), SAMPLE)


def test_what_the_reference_library_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file(SAMPLE, path, {"a": "b"})
    assert same(tensors.read(path), SAMPLE)
    assert tensors.metadata(path) == {"a": "b"}


def test_tensors_are_mapped_aligned_and_read_only(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, SAMPLE)
    for name, tensor in tensors.read(path).items():
        assert type(tensor) is np.ndarray
        assert tensor.flags.aligned, name
        assert not tensor.flags.writeable or tensor.size == 0
        assert not tensor.flags.owndata or tensor.size == 0


def test_transposed_and_big_endian_arrays_are_written_by_value(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors.write(path, {"t": matrix.T, "b": matrix.astype(">f4")})
    assert same(tensors.read(path), {"t": matrix.T, "b": matrix})


def test_uint16_stands_for_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    bits = (np.array([1.0, -2.5], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    tensors.write(path, {"a": bits})
    assert b'"BF16"' in path.read_bytes()
    found = tensors.read(path)["a"]
    assert (found.astype(np.uint32) << 16).view(np.float32).tolist() == [1.0, -2.5]


def test_other_dtypes_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a: expected a dtype of float64, .* found complex64"):
        tensors.write(tmp_path / "a.safetensors", {"a": np.zeros(1, np.complex64)})
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, {"a": np.ones(3, np.float32)})

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(OSError, match="No space left"):
        tensors.write(path, {"a": np.zeros(3, np.float32)})
    assert tensors.read(path)["a"].tolist() == [1.0, 1.0, 1.0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_truncation_at_any_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, {"a": np.ones(3, np.float32), "b": np.ones(2, np.int64)}, {"k": "v"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="expected"):
            tensors.read(path)
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="expected 28 bytes of data, found 29"):
        tensors.read(path)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ([], "expected a header that names tensors, found a list"),
        ({"a": 1}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "dtype": "F8"}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": [-2]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": [True]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": [1] * 40}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": "2"}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "data_offsets": [0]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "data_offsets": [0, 8.0]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "data_offsets": [0, 4]}}, "'a': expected 8 bytes for its shape, found 4"),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, "'a': expected 8 bytes for its shape, found -8"),
        ({"a": {**ENTRY, "shape": [10**15]}}, "'a': expected 4000000000000000 bytes for its shape, found 8"),
        ({"a": {**ENTRY, "shape": [10**30]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": [10**4000] * 32}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": [0, 2**40, 2**40], "data_offsets": [0, 0]}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "shape": json.loads("[" * 400 + "]" * 400)}}, "'a': expected a dtype of"),
        ({"a": {**ENTRY, "data_offsets": [4, 12]}}, "found a gap at byte 4"),
        ({"a": ENTRY, "b": ENTRY}, "found an overlap at byte 0"),
        ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [4, 12]}}, "found an overlap at byte 4"),
        ({"a": ENTRY, "b": {**ENTRY, "data_offsets": [8, 16]}}, "expected 16 bytes of data, found 8"),
        ({}, "expected 0 bytes of data, found 8"),
    ],
)
def test_nonsense_header_is_rejected(tmp_path: Path, header: object, message: str) -> None:
    path = raw(tmp_path / "a.safetensors", header, b"\0" * 8)
    with pytest.raises(ValueError, match="expected") as caught:
        tensors.read(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 3) + b"{}",
        struct.pack("<Q", 4) + b"\xff\xfe{}",
        struct.pack("<Q", 14) + b'{"a":1,"a":2} ',
        struct.pack("<Q", 100_000) + b"[" * 100_000,
        b"not a tensor file at all\n",
    ],
)
def test_nonsense_file_is_rejected(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="expected") as caught:
        tensors.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_rejected_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match="expected a regular file, found none"):
        tensors.read(tmp_path / "a.safetensors")


def test_folder_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a regular file, found a folder"):
        tensors.read(tmp_path)


@pytest.mark.parametrize("version", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_is_named_and_not_read(tmp_path: Path, version: int) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(pickle.dumps({"a": [1.0]}, version))
    with pytest.raises(ValueError, match="expected a safetensors file, found a pickle, which is never read"):
        tensors.read(path)


@pytest.mark.parametrize("version", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_header_as_long_as_a_pickle_begins_is_read(tmp_path: Path, version: int) -> None:
    text = json.dumps({"a": ENTRY}).encode().ljust(version * 256 + 0x80)
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 8)
    assert (tmp_path / "a.safetensors").read_bytes()[:2] == pickle.dumps(None, version)[:2]
    assert tensors.read(tmp_path / "a.safetensors")["a"].tolist() == [0.0, 0.0]


def test_zip_archive_is_named_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": [1.0]}))
    with pytest.raises(ValueError, match=r"found a zip archive, such as torch\.save writes, which is never read"):
        tensors.read(path)


def test_longest_header_of_nonsense_is_rejected_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    text = b'{"a":[' + b"{}," * (2**22 // 3 - 4) + b"{}]}"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    began = time.process_time()
    with pytest.raises(ValueError, match="'a': expected a dtype of"):
        tensors.read(path)
    assert time.process_time() - began < 2


def test_metadata_that_is_no_words_is_rejected(tmp_path: Path) -> None:
    path = raw(tmp_path / "a.safetensors", {"__metadata__": {"a": 1}})
    with pytest.raises(ValueError, match="expected metadata of words"):
        tensors.metadata(path)


def test_file_without_tensors_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    tensors.write(path, {})
    assert tensors.read(path) == {}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_rejected(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "a.safetensors"
    path.write_bytes(content)
    try:
        tensors.read(path)
    except ValueError as error:
        assert "\n" not in str(error)


def test_module_needs_numpy_only() -> None:
    source = Path(tensors.__file__).read_text()
    imported = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {
        "contextlib",
        "json",
        "os",
        "reprlib",
        "secrets",
        "struct",
        "collections",
        "math",
        "pathlib",
        "typing",
        "numpy",
    }
