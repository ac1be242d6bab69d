"""Every operator once, with odd pads, groups, branches and both ways of rounding, in ONNX.

Images are (N, C, H, W). Initialisers have canonical names and layouts, which are ONNX's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first. Values are passed by name.

DO NOT EDIT. Generated from the spec of all_operators, sha256 5bfc5b4fae0890e2.
Generate it again with: python -m impls.generate all_operators
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.helper import make_tensor_value_info as value_info

LAYOUT = "NCHW"
OPSET = 17
IR_VERSION = 8

Tap = Callable[[str, str], str]


def no_tap(_name: str, value: str) -> str:
    """Leave every value as it is."""
    return value


class Nodes(list[onnx.NodeProto]):
    """The nodes of a graph in order; calling it adds one that is named as its output, which it returns."""

    def __call__(self, name: str, operator: str, *inputs: str, **attributes: Any) -> str:
        self.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name


def graph(node: Nodes, x: str, tap: Tap = no_tap) -> str:
    """(N, 6, 17, 13) → (N, 11).

    `tap` sees the name of every operator's output, and the name that it returns is read next.
    """
    # (N, 8, 8, 12)
    conv1 = tap(
        "conv1",
        node("conv1", "Conv", x, "conv1.weight", kernel_shape=[3, 5], strides=[2, 1], pads=[1, 2, 0, 1], group=2),
    )
    # (N, 8, 8, 12)
    bn1 = tap(
        "bn1",
        node("bn1", "BatchNormalization", conv1, "bn1.scale", "bn1.shift", "bn1.mean", "bn1.variance", epsilon=1e-05),
    )
    tanh1 = tap("tanh1", node("tanh1", "Tanh", bn1))  # (N, 8, 8, 12)
    # (N, 8, 8, 12)
    conv2 = tap(
        "conv2", node("conv2", "Conv", bn1, "conv2.weight", "conv2.bias", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    )
    sum1 = tap("sum1", node("sum1", "Sum", tanh1, conv2, bn1))  # (N, 8, 8, 12)
    relu1 = tap("relu1", node("relu1", "Relu", sum1))  # (N, 8, 8, 12)
    towers = [f"norm1.tower{i}" for i in range(2)]
    node.append(helper.make_node("Split", [relu1], towers, "norm1.split", axis=1))
    towers = [node(f"{t}.norm", "LRN", t, size=5, bias=1.0, alpha=0.1, beta=0.5) for t in towers]
    norm1 = tap("norm1", node("norm1", "Concat", *towers, axis=1))  # (N, 8, 8, 12)
    # (N, 8, 4, 6)
    pool_a = tap("pool_a", node("pool_a", "MaxPool", norm1, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 1, 2, 0]))
    padded = node("pool_b.padded", "Pad", norm1, "pool_b.pads")
    # (N, 8, 4, 6)
    pool_b = tap(
        "pool_b",
        node(
            "pool_b", "AveragePool", padded, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 0, 1], count_include_pad=0
        ),
    )
    # (N, 8, 4, 6)
    pool_c = tap(
        "pool_c",
        node(
            "pool_c", "AveragePool", norm1, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 0, 0, 1], count_include_pad=0
        ),
    )
    join = tap("join", node("join", "Concat", pool_a, pool_b, pool_c, axis=1))  # (N, 24, 4, 6)
    padded = node("pool_d.padded", "Pad", join, "pool_d.pads")
    # (N, 24, 3, 4)
    pool_d = tap(
        "pool_d",
        node(
            "pool_d", "AveragePool", padded, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1], count_include_pad=0
        ),
    )
    # (N, 24, 2, 2)
    pool_e = tap(
        "pool_e",
        node(
            "pool_e", "AveragePool", pool_d, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=0
        ),
    )
    # (N, 24, 2, 2)
    pool_f = tap("pool_f", node("pool_f", "MaxPool", pool_d, kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 0]))
    sum2 = tap("sum2", node("sum2", "Sum", pool_e, pool_f))  # (N, 24, 2, 2)
    # (N, 24, 1, 2)
    pool_g = tap("pool_g", node("pool_g", "AveragePool", sum2, kernel_shape=[2, 1], count_include_pad=0))
    flat = tap("flat", node("flat", "Flatten", pool_g, axis=1))  # (N, 48)
    gap = tap("gap", node("gap", "GlobalAveragePool", join))  # (N, 24, 1, 1)
    flat2 = tap("flat2", node("flat2", "Flatten", gap, axis=1))  # (N, 24)
    both = tap("both", node("both", "Concat", flat, flat2, axis=1))  # (N, 72)
    fc = tap("fc", node("fc", "Gemm", both, "fc.weight", transB=1))  # (N, 11)
    drop_a = tap("drop_a", node("drop_a", "Mul", fc, "drop_a.scale"))  # (N, 11)
    drop_b = tap("drop_b", node("drop_b", "Dropout", drop_a))  # (N, 11)
    return tap("prob", node("prob", "Softmax", drop_b, axis=1))  # (N, 11)


def build(tensors: Mapping[str, np.ndarray], tap: Tap = no_tap) -> onnx.ModelProto:
    """The model that holds `tensors` (canonical names and layouts)."""
    constants = {
        "pool_b.pads": np.array([0, 0, 1, 0, 0, 0, 0, 0], np.int64),
        "pool_d.pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "drop_a.scale": np.array(0.7, np.float32),
    }
    node = Nodes()
    output = graph(node, "image", tap)
    return helper.make_model(
        helper.make_graph(
            node,
            "all_operators",
            [value_info("image", TensorProto.FLOAT, ["N", 6, 17, 13])],
            [value_info(output, TensorProto.FLOAT, ["N", 11])],
            [numpy_helper.from_array(value, name) for name, value in (constants | dict(tensors)).items()],
        ),
        producer_name="lockstep",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
