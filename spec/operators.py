"""The operators of a network, as a spec states them. Nothing that popular accounts get wrong has a default."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from spec.base import AsTuple, Extent, Fraction, Line, NotNegative, Pads, Pair, Part, Positive
from spec.identifiers import Identifier


class Operator(Part):
    """One named operator: a node of the graph, and a tap of every run."""

    name: Identifier
    """Names the operator, its output (the tap) and its parameters (`conv1.weight`)."""
    inputs: Annotated[tuple[Identifier, ...], Field(min_length=1, max_length=64), AsTuple] | None = None
    """The operators (or the network's input) that it reads, in order. Default: the operator before it."""
    source: Line | None = None
    """Where the values come from: a section of the paper, a line of a configuration."""

    @property
    def reads(self) -> tuple[str, ...]:
        """The names that it reads, once the graph has been resolved."""
        if self.inputs is None:
            raise ValueError(f"operator {self.name!r} belongs to no resolved graph")
        return self.inputs


class Conv(Operator):
    """Two-dimensional cross-correlation. Kernel layout: (out_channels, in_channels / groups, height, width)."""

    op: Literal["conv"]
    out_channels: Extent
    kernel: Pair
    stride: Pair
    pads: Pads
    groups: Extent
    bias: bool


class Relu(Operator):
    """max(x, 0)."""

    op: Literal["relu"]


class Tanh(Operator):
    """Hyperbolic tangent."""

    op: Literal["tanh"]


class Lrn(Operator):
    """Local response normalisation: y = x / (k + α_sum · Σ x²)^β over n channels around each, clipped at the ends."""

    op: Literal["lrn"]
    n: Extent
    """Channels in the window; odd, because frameworks centre an even window differently."""
    k: Positive
    alpha: NotNegative
    alpha_convention: Literal["sum", "mean"]
    """`sum`: α multiplies the sum of squares (the paper). `mean`: their mean, zeros counted (Caffe, torch)."""
    beta: Positive
    scope: Literal["whole", "per_group"]
    """`whole`: the window crosses all channels. `per_group`: it stays inside each of `groups` equal towers."""
    groups: Extent | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Lrn":
        if self.n % 2 == 0:
            raise ValueError(f"n: expected an odd number of channels, found {self.n}")
        if (self.scope == "per_group") != (self.groups is not None):
            found = "none" if self.groups is None else f"groups={self.groups}"
            wanted = "groups" if self.scope == "per_group" else "no groups"
            raise ValueError(f"scope: {self.scope} expects {wanted}, found {found}")
        return self

    @property
    def alpha_sum(self) -> float:
        """α in the paper's convention."""
        return self.alpha if self.alpha_convention == "sum" else self.alpha / self.n

    @property
    def alpha_mean(self) -> float:
        """α in the convention of torch, ONNX and Caffe, which divide it by n."""
        return self.alpha if self.alpha_convention == "mean" else self.alpha * self.n

    @property
    def towers(self) -> int:
        """Into how many independent groups of channels the normalisation is split."""
        return self.groups or 1


class Pool(Operator):
    """What max and average pooling have in common."""

    kernel: Pair
    stride: Pair
    pads: Pads
    rounding: Literal["floor", "ceil"]
    """`ceil` keeps a last window that only partly fits, if it starts on the input or its top or left padding."""

    @model_validator(mode="after")
    def _windows_see_input(self) -> "Pool":
        height, width = self.kernel
        if max(self.pads[0], self.pads[2]) >= height or max(self.pads[1], self.pads[3]) >= width:
            raise ValueError(
                f"pads: expected less than the kernel {height}×{width}, so that every window sees the input, "
                f"found {list(self.pads)}"
            )
        return self


class MaxPool(Pool):
    """Maximum over windows; padding never wins."""

    op: Literal["max_pool"]


class AvgPool(Pool):
    """Mean over windows."""

    op: Literal["avg_pool"]
    padding_counted: bool
    """Whether padded zeros count in the divisor. What `ceil` adds beyond the padding never does."""


class GlobalAvgPool(Operator):
    """Mean over height and width: (C, H, W) → (C, 1, 1)."""

    op: Literal["global_avg_pool"]


class Flatten(Operator):
    """(C, H, W) → (C·H·W), channel first, then height, then width."""

    op: Literal["flatten"]


class Dense(Operator):
    """y = W·x + b. Weight layout: (out_features, in_features)."""

    op: Literal["dense"]
    in_features: Extent
    out_features: Extent
    bias: bool


class Dropout(Operator):
    """Sets elements to zero while training; when evaluating it is a scale, or nothing."""

    op: Literal["dropout"]
    drop_probability: Fraction
    convention: Literal["test_time", "inverted"]
    """`test_time`: evaluation multiplies by the keep probability (2012). `inverted`: training divides by it."""

    @property
    def evaluation_scale(self) -> float:
        """The factor on every element when the network evaluates."""
        return 1.0 - self.drop_probability if self.convention == "test_time" else 1.0


class Softmax(Operator):
    """exp(x) / Σ exp(x) over the features of (F)."""

    op: Literal["softmax"]


class Add(Operator):
    """Sum of two or more tensors of one shape."""

    op: Literal["add"]


class Concat(Operator):
    """Two or more tensors, joined along channels."""

    op: Literal["concat"]


class BatchNorm(Operator):
    """y = scale · (x − mean) / sqrt(variance + epsilon) + shift, a channel; evaluation uses the stored statistics."""

    op: Literal["batch_norm"]
    epsilon: Positive


AnyOperator = (
    Conv
    | Relu
    | Tanh
    | Lrn
    | MaxPool
    | AvgPool
    | GlobalAvgPool
    | Flatten
    | Dense
    | Dropout
    | Softmax
    | Add
    | Concat
    | BatchNorm
)

OPERATORS: tuple[type[Operator], ...] = AnyOperator.__args__
"""Every operator of the language, in the order of its documentation."""
