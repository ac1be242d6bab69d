"""The walk over an ONNX graph: which operator of the spec gives which value, and what a spec cannot say."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from impls.onnx_import.naming import Names, identifier
from spec.base import Shape
from spec.operators import AnyOperator
from spec.shapes import ShapeError, shaped

Array = npt.NDArray[Any]
Fields = dict[str, Any]

_OPERATOR: TypeAdapter[AnyOperator] = TypeAdapter(AnyOperator)
#: How operators of a kind are called where the file has no name.
KINDS = {
    "max_pool": "pool",
    "avg_pool": "pool",
    "global_avg_pool": "pool",
    "lrn": "norm",
    "dense": "fc",
    "batch_norm": "bn",
    "dropout": "drop",
    "softmax": "prob",
}


class UnsupportedError(Exception):
    """A spec cannot say what a node does; the text is what is missing."""


@dataclass(frozen=True)
class Node:
    """A node of the file, as read_onnx.py wrote it."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    @property
    def place(self) -> str:
        """What errors call it."""
        return f"{self.op} {self.name or self.outputs[0]!s:.80}"


@dataclass
class Imported:
    """A graph in the words of a spec, and its weights."""

    input_name: str
    input_shape: Shape
    graph: list[Fields] = field(default_factory=list)
    """The fields of every operator; `inputs` always stated."""
    tensors: dict[str, Array] = field(default_factory=dict)
    """Canonical weights, float32."""
    shapes: dict[str, Shape] = field(default_factory=dict)
    """Output shapes, by the operator's name; the input's too."""
    unsupported: list[str] = field(default_factory=list)
    """One line a node that cannot be said."""


class Importer:
    """Walks over the nodes, and knows which operator gives which value."""

    def __init__(self, graph: Mapping[str, Any], tensors: Mapping[str, Array]) -> None:
        self.opset: int = graph["opset"]
        self.nodes = [
            Node(node["op"], node["name"], tuple(node["inputs"]), tuple(node["outputs"]), node["attributes"])
            for node in graph["nodes"]
        ]
        self.known = {name: np.array(value) for name, value in graph["values"].items()} | dict(tensors)
        for name, filled in graph["filled"].items():
            self.known[name] = np.broadcast_to(np.float32(filled["value"]), filled["shape"])
        first = identifier(graph["input"]["name"]) or "image"
        self.done = Imported(first, tuple(graph["input"]["shape"]))
        self.done.shapes[first] = self.done.input_shape
        self.names = Names([first])
        self.makers = {graph["input"]["name"]: first}
        """The operator that gives a value, by the value's name."""
        self.readers = Counter(value for node in self.nodes for value in node.inputs)
        self.readers[graph["output"]] += 1

    def run(self, rules: "Mapping[str, Rule]") -> Imported:
        """Import every node by the rule of its operator; all nodes that no rule can say are listed."""
        for node in self.nodes:
            rule = rules.get(node.op)
            try:
                if rule is None:
                    raise UnsupportedError("no operator of the spec does that")
                if any(value not in self.makers and value not in self.known for value in node.inputs if value):
                    continue  # behind a node that is listed already
                rule(self, node)
            except UnsupportedError as error:
                self.done.unsupported.append(f"{node.place} (opset {self.opset}): {error}")
        return self.done

    def value(self, node: Node, index: int) -> str:
        """The operator that gives the activation at an input."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if name not in self.makers:
            raise UnsupportedError(f"expected an activation as input {index}, found a constant")
        return self.makers[name]

    def constant(self, node: Node, index: int, what: str) -> Array | None:
        """The known value at an input, or nothing where the node has no such input."""
        name = node.inputs[index] if index < len(node.inputs) else ""
        if not name:
            return None
        if name not in self.known:
            raise UnsupportedError(f"expected {what} that is stored in the file, found one that is computed")
        return self.known[name]

    def parameter(self, node: Node, index: int, what: str) -> Array:
        """The float32 tensor at an input."""
        value = self.constant(node, index, what)
        if value is None:
            raise UnsupportedError(f"expected {what}, found none")
        if value.dtype != np.float32:
            raise UnsupportedError(f"expected {what} in float32, found {value.dtype}")
        return value

    def shape(self, operator: str) -> Shape:
        """The shape of what an operator gives."""
        return self.done.shapes[operator]

    def alias(self, node: Node, operator: str) -> None:
        """The node gives what `operator` gave."""
        self.makers[node.outputs[0]] = operator

    def add(
        self, node: Node, fields: Fields, inputs: tuple[str, ...], tensors: Mapping[str, Array] | None = None
    ) -> str:
        """Append an operator for the node, with its parameters by their short names; its name."""
        named = [value for value in node.inputs if value in self.known and self.known[value].dtype == np.float32]
        name = self.names.chosen(_kind(fields), node.name, named if tensors else [], node.outputs[0])
        self._append(name, fields, inputs, tensors or {})
        self.alias(node, name)
        return name

    def insert(self, fields: Fields, reads: str) -> str:
        """Append an operator that no node stands for; its name."""
        name = self.names.numbered(_kind(fields))
        self._append(name, fields, (reads,), {})
        return name

    def _append(self, name: str, fields: Fields, inputs: tuple[str, ...], tensors: Mapping[str, Array]) -> None:
        stated = {"name": name, **fields, "inputs": list(inputs)}
        try:
            operator = _OPERATOR.validate_python(stated)
            layer = shaped(operator, tuple(self.shape(read) for read in inputs))
        except ValidationError as error:
            problem = error.errors()[0]
            raise UnsupportedError(f"{'.'.join(map(str, problem['loc'][1:]))}: {problem['msg']}") from None
        except ShapeError as error:
            raise UnsupportedError(str(error)) from None
        for tensor, wanted in layer.tensor_shapes.items():
            found = tensors[tensor.rpartition(".")[2]]
            if found.shape != wanted:
                raise UnsupportedError(f"expected {tensor} of shape {list(wanted)}, found {list(found.shape)}")
        self.done.graph.append(stated)
        self.done.shapes[name] = layer.output_shape
        self.done.tensors |= {tensor: tensors[tensor.rpartition(".")[2]] for tensor in layer.tensor_shapes}

    def own(self, operator: str, value: str) -> Fields | None:
        """The fields of the operator that gives `value`, if no other node reads that: it may still be changed."""
        if self.readers[value] != 1:
            return None
        return next((fields for fields in self.done.graph if fields["name"] == operator), None)


Rule = Callable[[Importer, Node], None]
"""Adds what a node stands for; raises UnsupportedError."""


def _kind(fields: Fields) -> str:
    op: str = fields["op"]
    return KINDS.get(op, op)
