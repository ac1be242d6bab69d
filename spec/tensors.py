"""Named tensors in safetensors files: written whole or not at all, read in place.

This module runs inside every framework's environment, so it needs NumPy only. A uint16 array stands for bfloat16: its
elements are the upper halves of float32.
"""

import contextlib
import json
import os
import reprlib
import secrets
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
METADATA = "__metadata__"

_LENGTH = struct.Struct("<Q")
#: Longer headers than this are nonsense: tens of thousands of names fit.
_MAX_HEADER_BYTES = 4 * 1024 * 1024
_MAX_RANK = 32
_MAX_BYTES = 2**62

#: How files begin that hold code beside numbers. Nothing here would ever run it.
_PICKLED = {
    b"PK\x03\x04": "a zip archive, such as torch.save writes",
    **{bytes((0x80, version)): "a pickle" for version in range(2, 6)},
}


def write(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None) -> None:
    """Write `tensors` to `path`, which holds all of them or stays as it was; OSError, or ValueError for a dtype."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    arrays = []
    begin = 0
    # The widest elements first, so that each tensor is aligned.
    for name, tensor in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        dtype = tensor.dtype.newbyteorder("<")
        if dtype not in names:
            raise ValueError(f"{name}: expected a dtype of {', '.join(map(str, names))}, found {tensor.dtype}")
        array = np.ascontiguousarray(tensor, dtype=dtype)
        offsets = [begin, begin + array.nbytes]
        header[name] = {"dtype": names[dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        arrays.append(array)
        begin = offsets[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _LENGTH.size)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(_LENGTH.pack(len(text)) + text)
            for array in arrays:
                file.write(array.reshape(-1).view(np.uint8).data)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename is None:  # the system names it only where it cannot be opened
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise


def read(path: Path) -> dict[str, Array]:
    """Map the tensors of `path` into memory, read-only and without a copy; ValueError, one line, if it is damaged."""
    header, start, end = _header(path)
    spans = _spans(path, header, end - start)
    if start == end:
        return {name: np.zeros(shape, dtype) for name, (dtype, shape, _) in spans.items()}
    mapped = np.memmap(path, np.uint8, "r")
    return {
        name: np.ndarray(shape, dtype, mapped, start + begin).view(np.ndarray)
        for name, (dtype, shape, begin) in spans.items()
    }


def metadata(path: Path) -> dict[str, str]:
    """The words that were written beside the tensors; raises ValueError as `read` does."""
    header, _, _ = _header(path)
    words = header.get(METADATA, {})
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"{path}: expected metadata of words, found {reprlib.repr(words)}")
    return words


def _header(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header of a safetensors file, and where its data begins and ends."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ValueError(f"{path}: expected a regular file, found {'a folder' if path.is_dir() else 'none'}")
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(_LENGTH.size)
        if len(first) < _LENGTH.size:
            raise ValueError(f"{path}: expected a safetensors file, found {size} bytes")
        (length,) = _LENGTH.unpack(first)
        if length > min(_MAX_HEADER_BYTES, size - _LENGTH.size):
            for start, what in _PICKLED.items():
                if first.startswith(start):
                    raise ValueError(f"{path}: expected a safetensors file, found {what}, which is never read")
            limit = f"at most {_MAX_HEADER_BYTES} bytes within the file's {size}"
            raise ValueError(f"{path}: expected a header of {limit}, found one of {length}")
        text = file.read(length)
    try:
        header = json.loads(text.decode(), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a JSON header, found: {error}") from None
    if not isinstance(header, dict):
        raise ValueError(f"{path}: expected a header that names tensors, found a {type(header).__name__}")
    return header, _LENGTH.size + length, size


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = dict(pairs)
    if len(keys) < len(pairs):
        raise ValueError("a key that stands twice")
    return keys


def _spans(path: Path, header: dict[str, Any], size: int) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]:
    """Dtype, shape and first byte of every tensor; together they must fill the `size` bytes of data exactly."""
    spans = {}
    extents = []
    for name, entry in header.items():
        if name == METADATA:
            continue
        dtype, shape, (begin, end) = _entry(path, name, entry)
        if begin + prod(shape) * dtype.itemsize != end:
            wanted = prod(shape) * dtype.itemsize
            raise ValueError(f"{path}: {name[:80]!r}: expected {wanted} bytes for its shape, found {end - begin}")
        spans[name] = dtype, shape, begin
        extents.append((begin, end))
    before = 0
    for begin, end in sorted(extents):
        if begin != before:
            word = "an overlap" if begin < before else "a gap"
            raise ValueError(f"{path}: expected tensors one after the other, found {word} at byte {begin} of the data")
        before = end
    if before != size:
        raise ValueError(f"{path}: expected {before} bytes of data, found {size}")
    return spans


def _entry(path: Path, name: str, entry: Any) -> tuple[np.dtype[Any], tuple[int, ...], tuple[int, int]]:
    match entry:
        case {"dtype": str() as dtype, "shape": [*shape], "data_offsets": [int(begin), int(end)]} if (
            dtype in DTYPES
            and len(shape) <= _MAX_RANK
            and all(type(n) is int and 0 <= n <= _MAX_BYTES for n in (*shape, begin, end))
            and prod(max(n, 1) for n in shape) * DTYPES[dtype].itemsize <= _MAX_BYTES
        ):
            return DTYPES[dtype], tuple(shape), (begin, end)
        case _:
            wanted = f"a dtype of {', '.join(DTYPES)}, a shape and offsets"
            raise ValueError(f"{path}: {name[:80]!r}: expected {wanted}, found {reprlib.repr(entry)}")
