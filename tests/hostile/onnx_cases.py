"""ONNX files that lie, or are none: what `impls.read_onnx` says of them. Written field by field, without onnx."""

import os
import pickle
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.hostile.case import Cases, Hostile
from tests.hostile.yaml_cases import Touches

MODEL = "model.onnx"
FLOAT, INT64 = 1, 7
ARGUMENTS = (MODEL, "out.safetensors")


def varint(value: int) -> bytes:
    """A number as protobuf has it; a negative one in ten bytes."""
    value &= 2**64 - 1
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(content)) + content


def node(op: str | bytes, inputs: Sequence[str | bytes], output: str, more: bytes = b"") -> bytes:
    """A node, as a field of a graph."""
    read = b"".join(field(1, name) for name in inputs)
    return field(1, read + field(2, output) + field(3, f"the_{output}") + field(4, op) + more)


def tensor(name: str, dims: Sequence[int], kind: int = FLOAT, more: bytes = b"") -> bytes:
    """An initialiser, as a field of a graph."""
    return field(5, b"".join(field(1, extent) for extent in dims) + field(2, kind) + field(8, name) + more)


def raw(*values: float) -> bytes:
    """The data of an initialiser in the file."""
    return field(9, struct.pack(f"<{len(values)}f", *values))


def external(**claims: str) -> bytes:
    """The data of an initialiser elsewhere."""
    return b"".join(field(13, field(1, key) + field(2, value)) for key, value in claims.items()) + field(14, 1)


def value(number: int, name: str, dims: Sequence[int | str]) -> bytes:
    """An input (11) or output (12), as a field of a graph."""
    extents = b"".join(field(1, field(1 if isinstance(extent, int) else 2, extent)) for extent in dims)
    return field(number, field(1, name) + field(2, field(1, field(1, FLOAT) + field(2, extents))))


def model(*parts: bytes, shape: Sequence[int | str] = (1, 3, 9, 7), opset: int = 13) -> bytes:
    """A model whose input is `x`, and whose output `y`."""
    graph = b"".join([*parts, field(2, "graph"), value(11, "x", shape), value(12, "y", ())])
    return field(1, 8) + field(8, field(1, "") + field(2, opset)) + field(7, graph)


RIGHT = model(node("Mul", ["x", "w"], "y"), tensor("w", [1, 3, 1, 1], more=raw(1, 2, 3)))


def content(what: bytes, says: str) -> Hostile:
    """A file of that content."""
    return made(lambda path: path.write_bytes(what), says)


def made(make: Callable[[Path], object], says: str) -> Hostile:
    """A file that `make` puts there."""
    return Hostile(lambda folder: make(folder / MODEL), f"{MODEL}: {says}", ARGUMENTS, "impls.read_onnx")


def stored(says: str, *dims: int, kind: int = FLOAT, more: bytes = b"") -> Hostile:
    """A model right but for its one initialiser."""
    return content(model(node("Mul", ["x", "w"], "y"), tensor("w", dims, kind, more)), f"tensor 'w': {says}")


def elsewhere(says: str, dims: Sequence[int] = (1, 3, 1, 1), **claims: str) -> Hostile:
    """A model right but for where its one initialiser is said to be; `there.bin` has twelve bytes."""

    def leaves(path: Path) -> None:
        whole = model(node("Mul", ["x", "w"], "y"), tensor("w", dims, more=external(**claims)))
        path.write_bytes(whole)
        path.with_name("there.bin").write_bytes(bytes(12))
        path.with_name("link.bin").symlink_to("/etc/passwd")

    return made(leaves, f"tensor 'w': {says}")


def sparse(size: int, says: str) -> Hostile:
    """A file of so many bytes that takes no room on disk."""

    def leaves(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(size)

    return made(leaves, says)


NONE = "expected an ONNX model, found a file that is none, or truncated"
FOLDER = "expected external data in the model's folder, found"
ORDER = "expected inputs that are stored, or computed by an earlier node, found"

CASES: Cases = {
    "nothing": content(b"", "expected an ONNX model, found none in 0 bytes"),
    "text": content(b"no model", NONE),
    "a pickle that calls": content(pickle.dumps(Touches()), NONE),
    "cut in the middle": content(RIGHT[: len(RIGHT) // 2], NONE),
    "cut by a byte": content(RIGHT[:-1], NONE),
    "no graph": content(field(1, 8), "expected an ONNX model, found none in 2 bytes"),
    "2 GB of zeros": sparse(2 * 10**9, NONE),
    "3 GiB": sparse(3 * 2**30, "expected a file of less than 2 GiB, found 3,221,225,472 bytes"),
    "folder": made(lambda path: path.mkdir(), "expected an ONNX file, found a folder"),
    "pipe": made(os.mkfifo, "expected an ONNX file, found no file"),
    "link to itself": made(
        lambda path: path.symlink_to(MODEL), "expected a readable ONNX file, found: Too many levels"
    ),
    "names that are no text": content(
        model(node("Relu", [b"\xff\xfe"], "y")), "expected names in UTF-8, found b'\\xff"
    ),
    "operator that is no text": content(model(node(b"\xff", ["x"], "y")), "expected names in UTF-8, found b'\\xff'"),
    "opset 0": content(model(node("Relu", ["x"], "y"), opset=0), "expected an opset from 3 to"),
    "opset of the far future": content(model(node("Relu", ["x"], "y"), opset=2**40), "expected an opset from 3 to"),
    "open shape": content(
        model(node("Relu", ["x"], "y"), shape=("N", 3, "H", "W")),
        "input 'x': expected a known shape behind the batch, found 'N', 3, 'H', 'W'; state it with --input-shape",
    ),
    "shape of five": content(
        model(node("Relu", ["x"], "y"), shape=(1, 3, 4, 5, 6)),
        "input 'x': expected images or features, found the shape",
    ),
    "cycle": content(model(node("Add", ["x", "y"], "a"), node("Relu", ["a"], "y")), f"Add 'the_a': {ORDER} 'y'"),
    "node that reads itself": content(model(node("Add", ["x", "y"], "y")), f"Add 'the_y': {ORDER} 'y'"),
    "node that reads nothing there": content(model(node("Add", ["x", "z"], "y")), f"Add 'the_y': {ORDER} 'z'"),
    "value made twice": content(
        model(node("Relu", ["x"], "y"), node("Tanh", ["x"], "y")), "expected every value once, found 'y' twice"
    ),
    "output that nothing makes": content(
        model(node("Relu", ["x"], "z")), "expected an output that a node computes, found 'y'"
    ),
    "no input": content(model(node("Relu", [], "y")), "expected a network of one input, found none"),
    "shape of nothing": content(
        model(node("Shape", [], "s"), node("Reshape", ["x", "s"], "y")), "Shape 'the_s': expected an input, found none"
    ),
    "fewer bytes than the shape": stored("expected 12 bytes for its shape [3], found 8", 3, more=raw(1, 2)),
    "no bytes at all": stored("expected data for its shape, found", 3),
    "exabytes": stored("expected 4,611,686,018,427,387,904 bytes for its shape", 2**30, 2**30, more=raw(1)),
    "more than any number of bytes": stored(
        "expected 4,835,703,278,458,516,698,824,704 bytes", 2**40, 2**40, more=raw(1)
    ),
    "an extent below zero": stored("expected extents of at least 0, found [-3]", -3, more=raw(1, 2, 3)),
    "a type that is none": stored("expected a known element type, found 99", 3, kind=99, more=raw(1, 2, 3)),
    "terabytes of a constant": content(
        model(
            node("ConstantOfShape", ["s"], "c"),
            node("Add", ["x", "c"], "y"),
            tensor("s", [2], INT64, field(9, struct.pack("<2q", 2**20, 2**20))),
        ),
        "'c': expected less than 2 GiB, found the shape [1048576, 1048576]",
    ),
    "data at an absolute path": elsewhere(f"{FOLDER} '/etc/passwd'", location="/etc/passwd"),
    "data above the folder": elsewhere(f"{FOLDER} '../there.bin'", location="../there.bin"),
    "data through a way around": elsewhere(f"{FOLDER} 'a/../../there.bin'", location="a/../../there.bin"),
    "data behind a link": elsewhere(f"{FOLDER} 'link.bin'", location="link.bin"),
    "data nowhere": elsewhere(f"{FOLDER} ''"),
    "data in the folder itself": elsewhere("expected external data in '.', found no such file", location="."),
    "data that is not there": elsewhere("expected external data in 'no.bin', found no such file", location="no.bin"),
    "data beyond the end": elsewhere(
        "expected 12 bytes in 'there.bin', found 12 claimed from byte 8 on of 12", location="there.bin", offset="8"
    ),
    "data before the start": elsewhere(
        "expected 12 bytes in 'there.bin', found 12 claimed from byte -8 on of 12", location="there.bin", offset="-8"
    ),
    "data of another length": elsewhere(
        "expected 12 bytes in 'there.bin', found 8 claimed from byte 0 on of 12", location="there.bin", length="8"
    ),
    "exabytes of data": elsewhere("expected 4,611,686,018,427,387,904 bytes", (2**30, 2**30), location="there.bin"),
}
