"""What follows from a graph: output shapes, parameter shapes, and counts of parameters, multiplications and neurons."""

from dataclasses import dataclass
from math import prod
from typing import assert_never

from spec.base import MAX_EXTENT, Shape
from spec.operators import (
    Add,
    AnyOperator,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Lrn,
    MaxPool,
    Relu,
    Softmax,
    Tanh,
)

#: A normalisation window of so many channels is nothing odd, even where a small network has fewer.
COMMON_WINDOW = 15


class ShapeError(Exception):
    """An operator does not fit its inputs."""

    def __init__(self, operator: str, field: str, message: str) -> None:
        super().__init__(message)
        self.operator = operator
        self.field = field


@dataclass(frozen=True)
class Layer:
    """An operator in its place: with the shapes that it reads and writes, batch left out."""

    operator: AnyOperator
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    parameter_shapes: dict[str, Shape]
    """What training changes, by canonical name (`conv1.weight`)."""
    statistic_shapes: dict[str, Shape]
    """Stored statistics that no gradient changes (`norm1.mean`)."""
    macs: int
    """Multiplications with an addition, an image."""

    @property
    def name(self) -> str:
        """The operator's name, which is also its tap."""
        return self.operator.name

    @property
    def input_shape(self) -> Shape:
        """The shape of the only, or first, input."""
        return self.input_shapes[0]

    @property
    def tensor_shapes(self) -> dict[str, Shape]:
        """Parameters and statistics: every tensor that a runner must load."""
        return self.parameter_shapes | self.statistic_shapes

    @property
    def parameters(self) -> int:
        """How many numbers training changes."""
        return sum(prod(shape) for shape in self.parameter_shapes.values())

    @property
    def neurons(self) -> int:
        """Outputs of a layer with weights (the paper's count)."""
        return prod(self.output_shape) if isinstance(self.operator, Conv | Dense) else 0


@dataclass(frozen=True)
class Window:
    """How a pooling or convolution window walks over one image."""

    output: tuple[int, int]
    overflow: tuple[int, int]
    """Rows and columns beyond the bottom and right padding that `ceil` rounding lets the last window reach."""


def window(operator: Conv | MaxPool | AvgPool, height: int, width: int) -> Window:
    """Place the windows of `operator` on an image of `height` × `width`; raises ShapeError where none fits."""
    top, left, bottom, right = operator.pads
    ceil = not isinstance(operator, Conv) and operator.rounding == "ceil"
    outputs, overflows = [], []
    for axis, size, before, after, kernel, stride in (
        ("height", height, top, bottom, operator.kernel[0], operator.stride[0]),
        ("width", width, left, right, operator.kernel[1], operator.stride[1]),
    ):
        room = before + size + after - kernel
        if room < 0:
            raise ShapeError(
                operator.name,
                "kernel",
                f"expected a kernel that fits the padded {axis} {before + size + after}, found {kernel}",
            )
        steps = -(-room // stride) if ceil else room // stride
        if ceil and steps * stride >= before + size:
            steps -= 1
        outputs.append(steps + 1)
        overflows.append(max(0, steps * stride - room))
    return Window(output=(outputs[0], outputs[1]), overflow=(overflows[0], overflows[1]))


def shaped(operator: AnyOperator, input_shapes: tuple[Shape, ...]) -> Layer:
    """Put `operator` in its place behind inputs of `input_shapes`; raises ShapeError where it does not fit."""
    _check_arity(operator, len(input_shapes))
    shape = input_shapes[0]
    padded: dict[str, Shape] = {}
    parameters: dict[str, Shape] = {}
    statistics: dict[str, Shape] = {}
    macs = 0
    match operator:
        case Conv():
            channels, height, width = _image(operator, shape)
            for divided, of in (("in_channels", channels), ("out_channels", operator.out_channels)):
                if of % operator.groups:
                    raise ShapeError(
                        operator.name, "groups", f"groups={operator.groups} does not divide {divided}={of}"
                    )
            output: Shape = (operator.out_channels, *window(operator, height, width).output)
            padded["padded input"] = _padded(operator, channels, height, width)
            parameters["weight"] = (operator.out_channels, channels // operator.groups, *operator.kernel)
            if operator.bias:
                parameters["bias"] = (operator.out_channels,)
            macs = prod(output) * prod(parameters["weight"][1:])
        case Dense():
            if len(shape) != 1 or shape[0] != operator.in_features:
                found = f"{'×'.join(map(str, shape))}" + (f" = {prod(shape)}" if len(shape) > 1 else "")
                hint = "; put a flatten before it" if prod(shape) == operator.in_features else ""
                raise ShapeError(
                    operator.name, "in_features", f"expected {operator.in_features} input features, found {found}{hint}"
                )
            output = (operator.out_features,)
            parameters["weight"] = (operator.out_features, operator.in_features)
            if operator.bias:
                parameters["bias"] = (operator.out_features,)
            macs = operator.in_features * operator.out_features
        case MaxPool() | AvgPool():
            channels, height, width = _image(operator, shape)
            output = (channels, *window(operator, height, width).output)
            padded["padded input"] = _padded(operator, channels, height, width)
        case Lrn():
            channels, height, width = _image(operator, shape)
            if channels % operator.towers:
                raise ShapeError(
                    operator.name, "groups", f"groups={operator.towers} does not divide channels={channels}"
                )
            widest = max(2 * (channels // operator.towers) - 1, COMMON_WINDOW)
            if operator.n > widest:
                raise ShapeError(
                    operator.name, "n", f"expected a window of at most {widest} channels, found {operator.n}"
                )
            output = shape
        case GlobalAvgPool():
            channels, height, width = _image(operator, shape)
            output = (channels, 1, 1)
        case Flatten():
            _image(operator, shape)
            output = (prod(shape),)
        case Softmax():
            if len(shape) != 1:
                raise ShapeError(operator.name, "op", f"expected features (F), found shape {_text(shape)}")
            output = shape
        case Add():
            for other in input_shapes[1:]:
                if other != shape:
                    raise ShapeError(
                        operator.name,
                        "inputs",
                        f"expected inputs of one shape, found {_text(shape)} and {_text(other)}",
                    )
            output = shape
        case Concat():
            for other in input_shapes[1:]:
                if other[1:] != shape[1:] or len(other) != len(shape):
                    raise ShapeError(
                        operator.name,
                        "inputs",
                        f"expected inputs that differ in channels only, found {_text(shape)} and {_text(other)}",
                    )
            output = (sum(other[0] for other in input_shapes), *shape[1:])
        case BatchNorm():
            channels, height, width = _image(operator, shape)
            parameters = {"scale": (channels,), "shift": (channels,)}
            statistics = {"mean": (channels,), "variance": (channels,)}
            output = shape
        case Relu() | Tanh() | Dropout():
            output = shape
        case _:
            assert_never(operator)
    for field, tensor in {"output": output, **padded, **parameters}.items():
        if prod(tensor) > MAX_EXTENT:
            raise ShapeError(
                operator.name,
                "op",
                f"expected a {field} of at most {MAX_EXTENT} elements, found {_text(tensor)} = {prod(tensor)}",
            )
    return Layer(
        operator=operator,
        input_shapes=input_shapes,
        output_shape=output,
        parameter_shapes={f"{operator.name}.{key}": value for key, value in parameters.items()},
        statistic_shapes={f"{operator.name}.{key}": value for key, value in statistics.items()},
        macs=macs,
    )


def _check_arity(operator: AnyOperator, count: int) -> None:
    several = isinstance(operator, Add | Concat)
    if (several and count < 2) or (not several and count != 1):
        wanted = "two or more inputs" if several else "one input"
        raise ShapeError(operator.name, "inputs", f"{operator.op} expects {wanted}, found {count}")


def _image(operator: AnyOperator, shape: Shape) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ShapeError(operator.name, "op", f"{operator.op} expects an image (C, H, W), found shape {_text(shape)}")
    channels, height, width = shape
    return channels, height, width


def _padded(operator: Conv | MaxPool | AvgPool, channels: int, height: int, width: int) -> Shape:
    top, left, bottom, right = operator.pads
    return channels, top + height + bottom, left + width + right


def _text(shape: Shape) -> str:
    return "×".join(map(str, shape))
