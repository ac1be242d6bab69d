"""A network: the typed form of a spec file."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cached_property
from math import prod
from typing import Annotated, Any, Literal

from pydantic import Field

from spec.base import AsTuple, Line, Part, Shape, ShapeField, Total
from spec.identifiers import Identifier
from spec.operators import AnyOperator
from spec.recipe import Evaluation, Preprocessing, Training
from spec.shapes import Layer, shaped

FORMAT = "lockstep-network/1"
FLOAT32_BYTES = 4


class Input(Part):
    """The network's one input."""

    name: Identifier
    shape: ShapeField
    """Channels, height, width."""


class Expect(Part):
    """What must follow from the graph; every figure is asserted when the spec is loaded."""

    shapes: dict[str, ShapeField]
    """The output shape of every operator."""
    parameters: Total
    macs: Total
    """Multiplications with an addition, an image."""
    neurons: Total
    """Outputs of the layers with weights."""


class Network(Part):
    """A directed graph of named operators, with its training recipe."""

    format: Literal["lockstep-network/1"]
    name: Identifier
    title: Line
    source: Line
    """What the values below are cited from."""
    input: Input
    graph: Annotated[
        tuple[Annotated[AnyOperator, Field(discriminator="op")], ...], Field(min_length=1, max_length=4096), AsTuple
    ]
    """The operators, each after those that it reads. The last one's output is the network's."""
    expect: Expect
    preprocessing: Preprocessing | None = None
    training: Training | None = None
    evaluation: Evaluation | None = None

    def placed(self) -> Iterator[Layer]:
        """Yield every operator with its shapes, in the order of the graph; raises ShapeError where one does not fit."""
        shapes: dict[str, Shape] = {self.input.name: self.input.shape}
        for operator in self.graph:
            layer = shaped(operator, tuple(shapes[name] for name in operator.reads))
            shapes[operator.name] = layer.output_shape
            yield layer

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every operator with its shapes, in the order of the graph."""
        return tuple(self.placed())

    def with_graph(self, graph: Sequence[AnyOperator]) -> "Network":
        """The network with another graph, whose inputs are resolved; nothing else is checked."""
        fields = {name: getattr(self, name) for name in type(self).model_fields}
        return type(self).model_construct(**(fields | {"graph": tuple(graph)}))

    def with_expectations(self) -> "Network":
        """The network, whose inputs are resolved, with what follows from its graph as what is expected of it."""
        expect = Expect.model_construct(
            shapes={layer.name: layer.output_shape for layer in self.layers},
            parameters=self.parameters,
            macs=self.macs,
            neurons=self.neurons,
        )
        return self.model_copy(update={"expect": expect})

    def with_operator(self, name: str, **changes: Any) -> "Network":
        """The network with other values in one operator."""
        return self.with_graph(
            [operator.model_copy(update=changes) if operator.name == name else operator for operator in self.graph]
        )

    @property
    def output(self) -> str:
        """The name of the operator whose output is the network's."""
        return self.graph[-1].name

    @property
    def tensor_shapes(self) -> dict[str, Shape]:
        """Canonical name and shape of every tensor to load, in the order of the graph."""
        return {name: shape for layer in self.layers for name, shape in layer.tensor_shapes.items()}

    @property
    def parameters(self) -> int:
        """How many numbers training changes."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiplications with an addition, an image."""
        return sum(layer.macs for layer in self.layers)

    @property
    def neurons(self) -> int:
        """Outputs of the layers with weights."""
        return sum(layer.neurons for layer in self.layers)

    def bytes_needed(self, batch: int) -> int:
        """A lower bound on the memory of one float32 run that keeps every tap, in bytes."""
        elements = sum(prod(layer.output_shape) for layer in self.layers) + prod(self.input.shape)
        weights = sum(prod(shape) for shape in self.tensor_shapes.values())
        return FLOAT32_BYTES * (elements * batch + weights)

    def is_linear(self) -> bool:
        """Whether every operator reads just the one before it."""
        names = (self.input.name, *(operator.name for operator in self.graph))
        return all(operator.reads == (before,) for before, operator in zip(names, self.graph, strict=False))

    @cached_property
    def sha256(self) -> str:
        """Content hash of all that the generated sources depend on; comments and layout of the file do not count."""
        content = self.model_dump(mode="json", exclude={"expect": True, "evaluation": {"results", "contradicted"}})
        return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
