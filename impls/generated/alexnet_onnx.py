"""AlexNet, the network of the paper, in ONNX.

Images are (N, C, H, W). Initialisers have canonical names and layouts, which are ONNX's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first. Values are passed by name.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
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
    """(N, 3, 227, 227) → (N, 1000).

    `tap` sees the name of every operator's output, and the name that it returns is read next.
    """
    # (N, 96, 55, 55)  §3.5
    x = tap("conv1", node("conv1", "Conv", x, "conv1.weight", "conv1.bias", kernel_shape=[11, 11], strides=[4, 4]))
    x = tap("relu1", node("relu1", "Relu", x))  # (N, 96, 55, 55)  §3.1
    x = tap("norm1", node("norm1", "LRN", x, size=5, bias=2.0, alpha=0.0005, beta=0.75))  # (N, 96, 55, 55)  §3.3
    x = tap("pool1", node("pool1", "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]))  # (N, 96, 27, 27)  §3.4
    # (N, 256, 27, 27)  §3.5
    x = tap(
        "conv2", node("conv2", "Conv", x, "conv2.weight", "conv2.bias", kernel_shape=[5, 5], pads=[2, 2, 2, 2], group=2)
    )
    x = tap("relu2", node("relu2", "Relu", x))  # (N, 256, 27, 27)  §3.1
    x = tap("norm2", node("norm2", "LRN", x, size=5, bias=2.0, alpha=0.0005, beta=0.75))  # (N, 256, 27, 27)  §3.3
    x = tap("pool2", node("pool2", "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]))  # (N, 256, 13, 13)  §3.4
    # (N, 384, 13, 13)  §3.5
    x = tap("conv3", node("conv3", "Conv", x, "conv3.weight", "conv3.bias", kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
    x = tap("relu3", node("relu3", "Relu", x))  # (N, 384, 13, 13)  §3.1
    # (N, 384, 13, 13)  §3.5
    x = tap(
        "conv4", node("conv4", "Conv", x, "conv4.weight", "conv4.bias", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2)
    )
    x = tap("relu4", node("relu4", "Relu", x))  # (N, 384, 13, 13)  §3.1
    # (N, 256, 13, 13)  §3.5
    x = tap(
        "conv5", node("conv5", "Conv", x, "conv5.weight", "conv5.bias", kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2)
    )
    x = tap("relu5", node("relu5", "Relu", x))  # (N, 256, 13, 13)  §3.1
    x = tap("pool5", node("pool5", "MaxPool", x, kernel_shape=[3, 3], strides=[2, 2]))  # (N, 256, 6, 6)  §3.4
    x = tap("flatten", node("flatten", "Flatten", x, axis=1))  # (N, 9216)  §3.5
    x = tap("fc6", node("fc6", "Gemm", x, "fc6.weight", "fc6.bias", transB=1))  # (N, 4096)  §3.5
    x = tap("relu6", node("relu6", "Relu", x))  # (N, 4096)  §3.1
    x = tap("drop6", node("drop6", "Mul", x, "drop6.scale"))  # (N, 4096)  §4.2
    x = tap("fc7", node("fc7", "Gemm", x, "fc7.weight", "fc7.bias", transB=1))  # (N, 4096)  §3.5
    x = tap("relu7", node("relu7", "Relu", x))  # (N, 4096)  §3.1
    x = tap("drop7", node("drop7", "Mul", x, "drop7.scale"))  # (N, 4096)  §4.2
    return tap("fc8", node("fc8", "Gemm", x, "fc8.weight", "fc8.bias", transB=1))  # (N, 1000)  §3.5


def build(tensors: Mapping[str, np.ndarray], tap: Tap = no_tap) -> onnx.ModelProto:
    """The model that holds `tensors` (canonical names and layouts)."""
    constants = {
        "drop6.scale": np.array(0.5, np.float32),
        "drop7.scale": np.array(0.5, np.float32),
    }
    node = Nodes()
    output = graph(node, "image", tap)
    return helper.make_model(
        helper.make_graph(
            node,
            "alexnet",
            [value_info("image", TensorProto.FLOAT, ["N", 3, 227, 227])],
            [value_info(output, TensorProto.FLOAT, ["N", 1000])],
            [numpy_helper.from_array(value, name) for name, value in (constants | dict(tensors)).items()],
        ),
        producer_name="lockstep",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
