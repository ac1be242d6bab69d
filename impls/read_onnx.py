"""Reads an ONNX file as plain data: `python -m impls.read_onnx MODEL OUTPUT`, in the environment of onnx.

The file is not trusted: sizes are checked before anything of that size is made, tensors outside the file may only lie
in its own folder, and nothing of it is ever executed. What depends on no input is computed here, so that the graph that
is left holds operators on activations alone. OUTPUT is a safetensors file: the tensors that these read, and the graph
as JSON in its metadata.
"""

import json
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import numpy_helper
from onnx.external_data_helper import load_external_data_for_tensor, uses_external_data
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import infer_shapes

from spec.exits import Exit, InputError, NotRunError, end
from spec.tensors import write

Array = npt.NDArray[Any]

FIRST_OPSET = 3
#: What a protobuf message can hold, and the most that folded constants may take together.
LIMIT_BYTES = 2**31 - 1
#: With which byte a model can begin: the tag of one of its fields (onnx.proto), a number or of stated length.
FIRST_BYTES = frozenset(bytes((field << 3 | kind,)) for field in (*range(1, 9), 14) for kind in (0, 2))
#: Operators that are computed where all that they read is known. None gives more than it reads, but for broadcasting.
FOLDED = frozenset(
    "Add Cast Concat Constant Div Gather Identity Mul Reshape Shape Slice Squeeze Sub Transpose Unsqueeze".split()
)
#: More elements than any shape, list of axes or ratio has: what is no float32 goes to the graph itself.
MANY = 4096


def main(arguments: list[str]) -> Exit:
    """Run the program; raises InputError."""
    parser = ArgumentParser(prog="python -m impls.read_onnx", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--input-shape", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--output-name")
    options = parser.parse_args(arguments)
    graph, tensors = read_model(options.model, options.input_shape, options.output_name)
    write(options.output, tensors, {"graph": json.dumps(graph)})
    return Exit.PASSED


def read_model(
    path: Path, input_shape: Sequence[int] | None, output: str | None
) -> tuple[dict[str, Any], dict[str, Array]]:
    """The graph as plain data, and the tensors that it reads by name; raises InputError."""
    model = _parsed(path)
    opset = _opset(path, model)
    known = _initialisers(path, model)
    name, shape = _input(path, model, known, input_shape)
    outputs = [entry.name for entry in model.graph.output]
    if output is None and len(outputs) != 1:
        raise InputError(f"{path}: expected one output, found {_listed(outputs)}; choose one with --output-name")
    chosen = output or outputs[0]
    nodes = _needed(path, model, known, chosen)
    _require_order(path, nodes, {*known, name})
    _fold(path, model, nodes, known, (name, shape), opset)
    left = [node for node in nodes if not all(value in known for value in node.output if value)]
    read = {value for node in left for value in node.input if value in known}
    for value in read:
        if known[value].dtype != np.float32 and known[value].size > MANY:
            raise InputError(
                f"{path}: tensor {value[:80]!r}: expected weights in float32, found {known[value].dtype} of "
                f"{known[value].size:,} elements"
            )
    graph = {
        "title": model.graph.name,
        "opset": opset,
        "input": {"name": name, "shape": shape},
        "output": chosen,
        "nodes": [_plain(path, node) for node in left],
        "values": {value: known[value].tolist() for value in sorted(read) if known[value].dtype != np.float32},
        "filled": {
            value: {"value": float(known[value].flat[0]), "shape": known[value].shape}
            for value in sorted(read)
            if _is_filled(known[value])
        },
    }
    return graph, {
        value: known[value]
        for value in sorted(read)
        if known[value].dtype == np.float32 and not _is_filled(known[value])
    }


def _is_filled(value: Array) -> bool:
    """Whether a tensor is a view of one number, which need not be written out."""
    return value.dtype == np.float32 and value.size > 1 and not any(value.strides)


def _parsed(path: Path) -> onnx.ModelProto:
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise InputError(f"{path}: expected an ONNX file, found {'a folder' if path.is_dir() else 'no file'}")
        if size > LIMIT_BYTES:
            raise InputError(f"{path}: expected a file of less than 2 GiB, found {size:,} bytes; store tensors outside")
        with path.open("rb") as file:
            first = file.read(1)
            if first and first not in FIRST_BYTES:
                raise InputError(f"{path}: expected an ONNX model, found a file that is none, or truncated")
            content = first + file.read()
    except OSError as error:
        raise InputError(f"{path}: expected a readable ONNX file, found: {error.strerror}") from None
    except MemoryError:
        raise NotRunError(f"{path}: expected memory for the file and what is in it, found too little") from None
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError:
        raise InputError(f"{path}: expected an ONNX model, found a file that is none, or truncated") from None
    if not model.graph.node or not model.ir_version:
        raise InputError(f"{path}: expected an ONNX model, found none in {size:,} bytes")
    if wrong := next((word for word in _words(model) if isinstance(word, bytes)), None):
        raise InputError(f"{path}: expected names in UTF-8, found {wrong[:80]!r}")
    return model


def _words(model: onnx.ModelProto) -> Iterator[str | bytes]:
    """Every name in a model; one that is no UTF-8 comes as bytes."""
    graph = model.graph
    yield graph.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (entry.name for entry in node.attribute)
    for tensor in graph.initializer:
        yield tensor.name
        yield from (word for entry in tensor.external_data for word in (entry.key, entry.value))
    for value in (*graph.input, *graph.output):
        yield value.name
        yield from (extent.dim_param for extent in value.type.tensor_type.shape.dim)


def _opset(path: Path, model: onnx.ModelProto) -> int:
    """The version of the standard operators."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")] or [1]
    newest = onnx.defs.onnx_opset_version()
    if not FIRST_OPSET <= versions[0] <= newest:
        raise InputError(f"{path}: expected an opset from {FIRST_OPSET} to {newest}, found {versions[0]}")
    return int(versions[0])


def _initialisers(path: Path, model: onnx.ModelProto) -> dict[str, Array]:
    """Every stored tensor by name."""
    tensors = {}
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            _load_external(path, tensor)
        tensors[tensor.name] = _array(path, tensor)
    return tensors


def _load_external(path: Path, tensor: onnx.TensorProto) -> None:
    """Read a tensor from the file beside the model that it names."""
    label = f"{path}: tensor {tensor.name[:80]!r}"
    claims = {entry.key: entry.value for entry in tensor.external_data}
    location, wanted = claims.get("location", ""), _bytes(path, tensor)
    begin, length = (claims.get(key) or default for key, default in (("offset", "0"), ("length", str(wanted))))
    folder = path.resolve().parent
    place = (folder / location).resolve()
    if not location or not place.is_relative_to(folder):
        raise InputError(f"{label}: expected external data in the model's folder, found {location[:200]!r}")
    if not place.is_file():
        raise InputError(f"{label}: expected external data in {location[:200]!r}, found no such file")
    size = place.stat().st_size
    if not begin.isdecimal() or length != str(wanted) or int(begin[:20]) + wanted > size:
        raise InputError(
            f"{label}: expected {wanted:,} bytes in {location[:200]!r}, found {length[:20]} claimed from byte "
            f"{begin[:20]} on of {size:,}"
        )
    load_external_data_for_tensor(tensor, str(folder))


def _bytes(path: Path, tensor: onnx.TensorProto) -> int:
    """How many bytes a tensor of its shape takes."""
    label = f"{path}: tensor {tensor.name[:80]!r}"
    if any(extent < 0 for extent in tensor.dims):
        raise InputError(f"{label}: expected extents of at least 0, found {list(tensor.dims)[:8]}")
    try:
        item = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    except KeyError:
        raise InputError(f"{label}: expected a known element type, found {tensor.data_type}") from None
    return int(item * prod(tensor.dims))


def _array(path: Path, tensor: onnx.TensorProto) -> Array:
    wanted = _bytes(path, tensor)
    if tensor.raw_data and len(tensor.raw_data) != wanted:
        raise InputError(
            f"{path}: tensor {tensor.name[:80]!r}: expected {wanted:,} bytes for its shape {list(tensor.dims)}, "
            f"found {len(tensor.raw_data):,}"
        )
    try:
        value: Array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: tensor {tensor.name[:80]!r}: expected data for its shape, found: {error}") from None
    return value


def _input(
    path: Path, model: onnx.ModelProto, known: Mapping[str, Array], given: Sequence[int] | None
) -> tuple[str, list[int]]:
    """The one input that is used, and its shape without the batch."""
    used = {value for node in model.graph.node for value in node.input}
    entries = [entry for entry in model.graph.input if entry.name not in known and entry.name in used]
    if len(entries) != 1:
        found = _listed([entry.name for entry in entries])
        raise InputError(f"{path}: expected a network of one input, found {found}")
    (entry,) = entries
    kind = entry.type.tensor_type
    if kind.elem_type != onnx.TensorProto.FLOAT:
        found = onnx.TensorProto.DataType.Name(kind.elem_type).lower()
        raise InputError(f"{path}: input {entry.name[:80]!r}: expected float, found {found}")
    shape = [extent.dim_value if extent.HasField("dim_value") else 0 for extent in kind.shape.dim][1:]
    if given is not None:
        if any(stated > 0 and stated != wanted for stated, wanted in zip(shape, given, strict=False)) or (
            shape and len(shape) != len(given)
        ):
            raise InputError(f"--input-shape: expected a shape that fits the file's {shape}, found {list(given)}")
        shape = list(given)
    if len(shape) > 3:
        raise InputError(f"{path}: input {entry.name[:80]!r}: expected images or features, found the shape {shape[:8]}")
    if not shape or min(shape) < 1:
        words = [extent.dim_value or extent.dim_param or "?" for extent in kind.shape.dim]
        raise InputError(
            f"{path}: input {entry.name[:80]!r}: expected a known shape behind the batch, found "
            f"{_listed(words)}; state it with --input-shape, such as 3,224,224"
        )
    return entry.name, shape


def _needed(path: Path, model: onnx.ModelProto, known: Mapping[str, Array], output: str) -> list[onnx.NodeProto]:
    """The nodes that the output depends on, in the order of the file."""
    makers: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        for value in filter(None, node.output):
            if value in makers or value in known:
                raise InputError(f"{path}: expected every value once, found {value[:80]!r} twice")
            makers[value] = node
    if output not in makers:
        raise InputError(f"{path}: expected an output that a node computes, found {output[:80]!r}")
    asked = [output]
    names: set[str] = set()
    while asked:
        value = asked.pop()
        if value in makers and value not in names:
            names.update(filter(None, makers[value].output))
            asked.extend(filter(None, makers[value].input))
    return [node for node in model.graph.node if names.intersection(node.output)]


def _require_order(path: Path, nodes: Sequence[onnx.NodeProto], there: set[str]) -> None:
    """Raise InputError for a node that reads what is not there by then: nothing of that name, or made of its own."""
    made = set(there)
    for node in nodes:
        missing = next((value for value in node.input if value and value not in made), None)
        if missing is not None:
            raise InputError(
                f"{path}: {node.op_type[:80]} {node.name[:80]!r}: expected inputs that are stored, or computed by an "
                f"earlier node, found {missing[:80]!r}"
            )
        if node.op_type in ("Shape", "ConstantOfShape") and not any(node.input):
            raise InputError(f"{path}: {node.op_type} {node.name[:80]!r}: expected an input, found none")
        made.update(node.output)


def _fold(
    path: Path,
    model: onnx.ModelProto,
    nodes: Sequence[onnx.NodeProto],
    known: dict[str, Array],
    given: tuple[str, list[int]],
    opset: int,
) -> None:
    """Compute what depends on no activation, and shapes of activations; the batch counts as 1."""
    shapes: dict[str, list[int]] | None = None
    total = 0
    for node in nodes:
        if node.domain not in ("", "ai.onnx"):
            continue
        if node.op_type == "Shape" and node.input[0] not in known:
            if shapes is None:
                shapes = _shapes(model, given)
            if node.input[0] in shapes:
                known[node.output[0]] = _slice(node, np.array(shapes[node.input[0]], np.int64))
            continue
        if any(value not in known for value in node.input if value):
            continue
        if node.op_type == "ConstantOfShape":
            known[node.output[0]] = _constant(path, node, known[node.input[0]])
            total += known[node.output[0]].nbytes
            if total > LIMIT_BYTES:
                raise InputError(f"{path}: expected constants of less than 2 GiB together, found {total:,} bytes")
        elif node.op_type in FOLDED:
            _check_broadcast(path, node, [known[value] for value in node.input if value])
            try:
                values = _evaluated(node, known, opset)
            except (ValueError, TypeError, IndexError, RuntimeError, KeyError, NotImplementedError) as error:
                raise InputError(
                    f"{path}: {node.op_type} {node.name[:80]!r}: expected constants that it can compute, found: {error}"
                ) from None
            known.update(zip(node.output, values, strict=False))


def _shapes(model: onnx.ModelProto, given: tuple[str, list[int]]) -> dict[str, list[int]]:
    """The shapes of activations where onnx can infer them, of a batch of 1."""
    name, shape = given
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for entry in bare.graph.input:
        if entry.name == name:
            fixed = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, *shape])
            entry.CopyFrom(fixed)
    inferred = infer_shapes(bare, data_prop=True)
    found = {name: [1, *shape]}
    for entry in inferred.graph.value_info:
        extents = [extent.dim_value for extent in entry.type.tensor_type.shape.dim]
        if extents and min(extents) > 0:
            found[entry.name] = extents
    return found


def _slice(node: onnx.NodeProto, shape: Array) -> Array:
    """The part of a shape that `start` and `end` of opset 15 ask for."""
    attributes = {entry.name: entry.i for entry in node.attribute}
    return shape[attributes.get("start", 0) : attributes.get("end", len(shape))]


def _constant(path: Path, node: onnx.NodeProto, shape: Array) -> Array:
    """One value in a given shape; a view, so that it takes no memory before it is written."""
    values = [numpy_helper.to_array(entry.t) for entry in node.attribute if entry.name == "value"]
    value = values[0].reshape(()) if values else np.zeros((), np.float32)
    extents = [int(extent) for extent in shape.reshape(-1)]
    if any(extent < 0 for extent in extents) or prod(extents) * value.itemsize > LIMIT_BYTES:
        raise InputError(f"{path}: {node.output[0][:80]!r}: expected less than 2 GiB, found the shape {extents[:8]}")
    return np.broadcast_to(value, extents)


def _check_broadcast(path: Path, node: onnx.NodeProto, values: Sequence[Array]) -> None:
    if node.op_type in ("Add", "Sub", "Mul", "Div"):
        try:
            elements = prod(np.broadcast_shapes(*(value.shape for value in values)))
        except ValueError as error:
            raise InputError(f"{path}: {node.op_type} {node.name[:80]!r}: {error}") from None
        if elements * 8 > LIMIT_BYTES:
            raise InputError(f"{path}: {node.op_type} {node.name[:80]!r}: expected less than 2 GiB")


def _evaluated(node: onnx.NodeProto, known: Mapping[str, Array], opset: int) -> list[Array]:
    """What a node gives, by onnx's own evaluator."""

    def entries(names: Sequence[str]) -> list[onnx.ValueInfoProto]:
        return [onnx.helper.make_value_info(name, onnx.TypeProto()) for name in names if name]

    graph = onnx.helper.make_graph([node], "constant", entries(node.input), entries(node.output))
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    feed = {name: known[name] for name in node.input if name}
    return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feed)]


def _plain(path: Path, node: onnx.NodeProto) -> dict[str, Any]:
    """A node as JSON has it; attributes that are tensors or graphs are named, not kept."""
    attributes: dict[str, Any] = {}
    for entry in node.attribute:
        value = onnx.helper.get_attribute_value(entry)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif not isinstance(value, int | float | str):
            plain = isinstance(value, Sequence) and all(isinstance(item, int | float) for item in value)
            value = list(value) if plain else None
        attributes[entry.name] = value
    domain = "" if node.domain in ("", "ai.onnx") else f"{node.domain}."
    return {
        "op": f"{domain}{node.op_type}",
        "name": node.name,
        "inputs": list(node.input),
        "outputs": list(node.output),
        "attributes": attributes,
    }


def _listed(words: Sequence[object]) -> str:
    """Some of the words, shortened."""
    text = ", ".join(repr(word)[:80] for word in words[:6])
    return f"{text}, …" if len(words) > 6 else text or "none"


if __name__ == "__main__":
    end(main)
