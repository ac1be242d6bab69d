"""Weights whose header lies, or that are no tensors at all."""

import gzip
import json
import math
import pickle
import struct
import zipfile
from io import BytesIO
from typing import Any

import numpy as np

from tests.hostile.case import RUNNER, SPEC, WEIGHTS, Cases, Hostile, weights, weights_at
from tests.hostile.yaml_cases import Touches
from tests.spec.networks import SMALL, small

SHAPES = small().tensor_shapes
BYTES = 4 * sum(map(math.prod, SHAPES.values()))
NAME = "conv1.bias"
ENTRY = "expected a dtype of F64, F32, F16, BF16, I64, BOOL, a shape and offsets"


def right() -> dict[str, dict[str, Any]]:
    """The header of weights as the small spec wants them."""
    header, begin = {}, 0
    for name, shape in SHAPES.items():
        end = begin + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [begin, end]}
        begin = end
    return header


def packed(text: bytes, data: bytes = bytes(BYTES)) -> bytes:
    """A safetensors file with a header of that text."""
    return struct.pack("<Q", len(text)) + text + data


def header(text: bytes, says: str) -> Hostile:
    """Weights whose header is that text."""
    return weights(packed(text), f"{WEIGHTS}: {says}")


def entry(says: str, **changes: object) -> Hostile:
    """Weights right but for one entry of the header, of which some values are others."""
    whole = right()
    whole[NAME] |= changes
    return header(json.dumps(whole).encode(), says)


def values(value: float, says: str) -> Hostile:
    """Weights right but for the first value of one tensor."""
    data = bytearray(BYTES)
    struct.pack_into("<f", data, right()[NAME]["data_offsets"][0], value)
    return weights(packed(json.dumps(right()).encode(), bytes(data)), f"{WEIGHTS}: {says}")


def archive(name: str, content: bytes) -> bytes:
    """A zip archive of one file, as `torch.save` and `numpy.savez` write them."""
    whole = BytesIO()
    with zipfile.ZipFile(whole, "w") as file:
        file.writestr(name, content)
    return whole.getvalue()


def array_of_objects() -> bytes:
    """A NumPy file whose elements are pickled."""
    whole = BytesIO()
    np.save(whole, np.array([Touches()], object), allow_pickle=True)
    return whole.getvalue()


def huge_claim() -> Hostile:
    """A header of 100 MB that the file does hold."""

    def leaves(path: Any) -> None:
        with path.open("wb") as file:
            file.write(struct.pack("<Q", 10**8))
            file.truncate(2 * 10**8)

    return weights_at(leaves, f"{WEIGHTS}: expected a header of at most 4194304 bytes")


def named(name: str, content: bytes) -> Hostile:
    """Weights in a file with a name that is none of safetensors."""

    def leaves(folder: Any) -> None:
        (folder / SPEC).write_text(SMALL, encoding="utf-8")
        (folder / name).write_bytes(content)

    says = f"--weights: expected paper, scaled or a .safetensors file, found '{name}'"
    return Hostile(leaves, says, ("--spec", SPEC, "--weights", name, *RUNNER))


CASES: Cases = {
    # No tensors at all.
    "empty": weights(b"", f"{WEIGHTS}: expected a safetensors file, found 0 bytes"),
    "seven bytes": weights(b"\0" * 7, f"{WEIGHTS}: expected a safetensors file, found 7 bytes"),
    "pickle": weights(
        pickle.dumps(Touches()), f"{WEIGHTS}: expected a safetensors file, found a pickle, which is never read"
    ),
    "old pickle": weights(pickle.dumps(Touches(), 2), f"{WEIGHTS}: expected a safetensors file, found a pickle"),
    "oldest pickle": weights(pickle.dumps(Touches(), 0), f"{WEIGHTS}: expected a header of at most"),
    "checkpoint of torch": weights(
        archive("archive/data.pkl", pickle.dumps(Touches())),
        f"{WEIGHTS}: expected a safetensors file, found a zip archive",
    ),
    "checkpoint of torch by its own name": named("mine.pt", archive("archive/data.pkl", pickle.dumps(Touches()))),
    "pickle by its own name": named("mine.pkl", pickle.dumps(Touches())),
    "archive of NumPy": weights(
        archive("a.npy", array_of_objects()), f"{WEIGHTS}: expected a safetensors file, found a zip"
    ),
    "array of objects": weights(array_of_objects(), f"{WEIGHTS}: expected a header of at most"),
    "HDF5": weights(b"\x89HDF\r\n\x1a\n" + bytes(1000), f"{WEIGHTS}: expected a header of at most"),
    "compressed": weights(gzip.compress(bytes(10**7)), f"{WEIGHTS}: expected a header of at most"),
    "text": weights(SMALL.encode(), f"{WEIGHTS}: expected a header of at most"),
    # Headers.
    "header of 2⁶³ bytes": weights(struct.pack("<Q", 2**63) + b"{}", f"{WEIGHTS}: expected a header of at most"),
    "header of 2⁶⁴ − 1 bytes": weights(b"\xff" * 8 + b"{}", f"{WEIGHTS}: expected a header of at most"),
    "header one byte longer than its file": weights(
        struct.pack("<Q", 3) + b"{}", f"{WEIGHTS}: expected a header of at most"
    ),
    "header of 100 MB": huge_claim(),
    "header of 4 MiB of nothing": header(b'{"a":[' + b"{}," * 1_390_000 + b"{}]}", f"'a': {ENTRY}"),
    "header of 60,000 tensors": header(
        json.dumps({f"a{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)}).encode(),
        f"expected 0 bytes of data, found {BYTES}",
    ),
    "deep header": header(b"[" * 100_000, "expected a JSON header, found: "),
    "deep entry": header(b'{"a":' + b"[" * 900 + b"]" * 900 + b"}", ""),
    "header that is a list": header(b"[]", "expected a header that names tensors, found a list"),
    "header that is a number": header(b"NaN", "expected a header that names tensors, found a float"),
    "header in UTF-16": header(json.dumps(right()).encode("utf-16"), ""),
    "header with code": header(b"__import__('os').system('touch canary')", "expected a JSON header, found: "),
    "name that stands twice": header(b'{"a": 1, "a": 2}', "expected a JSON header, found: a key that stands twice"),
    "name of a megabyte": header(json.dumps({"a" * 10**6: 1}).encode(), "'aaa"),
    "name with a line break": header(json.dumps({"a\nb": 1}).encode(), r"'a\nb'"),
    "name with an escape": header(json.dumps({"\x1b[2J": 1}).encode(), r"'\x1b[2J'"),
    "name that is a path": header(
        json.dumps(right() | {"../canary": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode(),
        "expected no tensor '../canary'; small has no such parameter",
    ),
    # Entries.
    "dtype of objects": entry(f"'{NAME}': {ENTRY}", dtype="O"),
    "dtype that is a list": entry(f"'{NAME}': {ENTRY}", dtype=["F32"]),
    "extent below zero": entry(f"'{NAME}': {ENTRY}", shape=[-6]),
    "extents below zero": entry(f"'{NAME}': {ENTRY}", shape=[-2, -3]),
    "extent that is none": entry(f"'{NAME}': {ENTRY}", shape=[float("nan")]),
    "extent that is infinite": entry(f"'{NAME}': {ENTRY}", shape=[float("inf")]),
    "extent with a fraction": entry(f"'{NAME}': {ENTRY}", shape=[6.0]),
    "extent that is true": entry(f"'{NAME}': {ENTRY}", shape=[True]),
    "extent as text": entry(f"'{NAME}': {ENTRY}", shape=["6"]),
    "extent of 4,000 digits": entry(f"'{NAME}': {ENTRY}", shape=[10**4000]),
    "extent of 5,000 digits": header(
        b'{"a": {"shape": [1' + b"0" * 5000 + b"]}}", "expected a JSON header, found: Exceeds"
    ),
    "32 extents of 4,000 digits": entry(f"'{NAME}': {ENTRY}", shape=[10**4000] * 32),
    "exabyte": entry(f"'{NAME}': expected 1152921504606846976 bytes for its shape, found 24", shape=[2**58]),
    "nothing times an exabyte": entry(f"'{NAME}': {ENTRY}", shape=[0, 2**60, 2**60], data_offsets=[0, 0]),
    "10,000 extents": entry(f"'{NAME}': {ENTRY}", shape=[1] * 10_000),
    "no offsets": entry(f"'{NAME}': {ENTRY}", data_offsets=[]),
    "offset below zero": entry(f"'{NAME}': {ENTRY}", data_offsets=[-24, 0]),
    "offset that is none": entry(f"'{NAME}': {ENTRY}", data_offsets=[float("nan"), 24]),
    "offsets the other way": entry(f"'{NAME}': expected 24 bytes for its shape, found -24", data_offsets=[24, 0]),
    "offsets that overlap": entry("expected tensors one after the other, found an overlap", data_offsets=[0, 24]),
    "offsets beyond the file": entry(
        "expected tensors one after the other, found a gap", data_offsets=[10**9, 10**9 + 24]
    ),
    "offsets too near": entry(f"'{NAME}': expected 24 bytes for its shape, found 4", data_offsets=[432, 436]),
    # Data.
    "less data than told": weights(
        packed(json.dumps(right()).encode(), bytes(BYTES - 1)), f"expected {BYTES} bytes of data"
    ),
    "more data than told": weights(
        packed(json.dumps(right()).encode(), bytes(BYTES + 1)), f"expected {BYTES} bytes of data"
    ),
    "value that is none": values(float("nan"), f"'{NAME}': expected finite values, found nan at [0]"),
    "infinite value": values(float("-inf"), f"'{NAME}': expected finite values, found -inf at [0]"),
}
