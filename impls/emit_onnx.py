"""Emits a network as a program that builds an ONNX model.

Native: ONNX's own operators. Fast: normalisation as a 1×1 convolution of the squares and square roots.
"""

from typing import assert_never

from impls.emission import Step, batched, comment, header, number, pads_with_overflow, steps, wrapped
from impls.frameworks import Lowering
from spec.network import Network
from spec.operators import (
    Add,
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
from spec.shapes import Layer

#: ONNX Runtime 1.15 (2023) and later read these.
OPSET = 17
IR_VERSION = 8

NOTES = """\
Images are (N, C, H, W). Initialisers have canonical names and layouts, which are ONNX's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first. Values are passed by name."""

PREAMBLE = f'''\
LAYOUT = "NCHW"
OPSET = {OPSET}
IR_VERSION = {IR_VERSION}

Tap = Callable[[str, str], str]


def no_tap(_name: str, value: str) -> str:
    """Leave every value as it is."""
    return value


class Nodes(list[onnx.NodeProto]):
    """The nodes of a graph in order; calling it adds one that is named as its output, which it returns."""

    def __call__(self, name: str, operator: str, *inputs: str, **attributes: Any) -> str:
        self.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

'''


BAND = '''\
def band(channels: int, n: int, alpha: float, towers: int = 1) -> np.ndarray:
    """A kernel (O, I, 1, 1) that sums n neighbouring channels of a tower, times alpha."""
    channel = np.arange(channels)
    tower = channel * towers // channels
    near = (abs(channel[:, None] - channel) <= n // 2) & (tower[:, None] == tower)
    return np.where(near, alpha, 0.0).astype(np.float32)[:, :, None, None]

'''


def emit(network: Network, lowering: Lowering, origin: str) -> str:
    """The source text of `network`; `origin` says which spec it comes from."""
    fast = lowering == "fast"
    body = [line for step in steps(network) for line in _forward(step, lowering)]
    constants = [wrapped(line) for layer in network.layers for line in _constants(layer, lowering)]
    output = network.layers[-1].output_shape
    quoted = f'"{network.input.name}"'
    parts = [
        header(network, "ONNX, fast lowering" if fast else "ONNX", origin, NOTES),
        "from collections.abc import Callable, Mapping",
        "from typing import Any\n",
        "import numpy as np",
        "import onnx",
        "from onnx import TensorProto, helper, numpy_helper",
        "from onnx.helper import make_tensor_value_info as value_info\n",
        PREAMBLE,
        *([BAND] if any("band(" in line for line in constants) else []),
        "def graph(node: Nodes, x: str, tap: Tap = no_tap) -> str:",
        f'    """{batched(network.input.shape)} → {batched(output)}.',
        "",
        "    `tap` sees the name of every operator's output, and the name that it returns is read next.",
        '    """',
        *body,
        "\n",
        "def build(tensors: Mapping[str, np.ndarray], tap: Tap = no_tap) -> onnx.ModelProto:",
        '    """The model that holds `tensors` (canonical names and layouts)."""',
        *(["    constants = {", *constants, "    }"] if constants else ["    constants: dict[str, np.ndarray] = {}"]),
        "    node = Nodes()",
        f"    output = graph(node, {quoted}, tap)",
        "    return helper.make_model(",
        "        helper.make_graph(",
        "            node,",
        f'            "{network.name}",',
        f"            [value_info({quoted}, TensorProto.FLOAT, {_dims(network.input.shape)})],",
        f"            [value_info(output, TensorProto.FLOAT, {_dims(output)})],",
        "            [numpy_helper.from_array(value, name) for name, value in (constants | dict(tensors)).items()],",
        "        ),",
        '        producer_name="lockstep",',
        '        opset_imports=[helper.make_opsetid("", OPSET)],',
        "        ir_version=IR_VERSION,",
        "    )",
        "",
    ]
    return "\n".join(parts)


def _dims(shape: tuple[int, ...]) -> str:
    return str(["N", *shape]).replace("'", '"')


def _constants(layer: Layer, lowering: Lowering) -> list[str]:
    """The constants that a layer's nodes read, beside its parameters."""
    operator = layer.operator
    match operator:
        case Dropout(convention="test_time"):
            return [f'        "{layer.name}.scale": np.array({number(operator.evaluation_scale)}, np.float32),']
        case Lrn() if lowering == "fast":
            channels = layer.input_shape[0]
            towers = f", towers={operator.towers}" if operator.towers > 1 else ""
            summed = f"band({channels}, n={operator.n}, alpha={number(operator.alpha_sum)}{towers})"
            lines = [
                f'        "{layer.name}.band": {summed},',
                f'        "{layer.name}.k": np.full({channels}, {number(operator.k)}, np.float32),',
            ]
            if operator.beta != 0.75:
                lines.append(f'        "{layer.name}.beta": np.array({number(operator.beta)}, np.float32),')
            return lines
        case AvgPool() if _padded_first(layer, operator):
            top, left, bottom, right = operator.pads
            return [f'        "{layer.name}.pads": np.array([0, 0, {top}, {left}, 0, 0, {bottom}, {right}], np.int64),']
        case _:
            return []


def _forward(step: Step, lowering: Lowering) -> list[str]:
    """The lines that add the nodes of one operator."""
    layer, x = step.layer, step.read
    operator, name = layer.operator, layer.name
    before: list[str] = []
    match operator:
        case Conv():
            bias = f', "{name}.bias"' if operator.bias else ""
            group = f", group={operator.groups}" if operator.groups > 1 else ""
            value = f'node("{name}", "Conv", {x}, "{name}.weight"{bias}, {_window(operator, operator.pads)}{group})'
        case Dense():
            bias = f', "{name}.bias"' if operator.bias else ""
            value = f'node("{name}", "Gemm", {x}, "{name}.weight"{bias}, transB=1)'
        case Lrn() if lowering == "fast":
            sums = f'node("{name}.sums", "Conv", squares, "{name}.band", "{name}.k", kernel_shape=[1, 1])'
            before = [f'    squares = node("{name}.squares", "Mul", {x}, {x})', f"    denominator = {sums}"]
            if operator.beta == 0.75:
                before += [
                    f'    root = node("{name}.root", "Sqrt", denominator)',
                    f'    power = node("{name}.power", "Mul", root, node("{name}.fourth_root", "Sqrt", root))',
                ]
            else:
                before.append(f'    power = node("{name}.power", "Pow", denominator, "{name}.beta")')
            value = f'node("{name}", "Div", {x}, power)'
        case Lrn():
            constants = (
                f"size={operator.n}, bias={number(operator.k)}, "
                f"alpha={number(operator.alpha_mean)}, beta={number(operator.beta)}"
            )
            if operator.towers == 1:
                value = f'node("{name}", "LRN", {x}, {constants})'
            else:
                before = [
                    f'    towers = [f"{name}.tower{{i}}" for i in range({operator.towers})]',
                    f'    node.append(helper.make_node("Split", [{x}], towers, "{name}.split", axis=1))',
                    f'    towers = [node(f"{{t}}.norm", "LRN", t, {constants}) for t in towers]',
                ]
                value = f'node("{name}", "Concat", *towers, axis=1)'
        case MaxPool():
            value = f'node("{name}", "MaxPool", {x}, {_window(operator, pads_with_overflow(layer, operator))})'
        case AvgPool():
            pads = pads_with_overflow(layer, operator)
            if _padded_first(layer, operator):
                before = [f'    padded = node("{name}.padded", "Pad", {x}, "{name}.pads")']
                x = "padded"
                pads = (0, 0, pads[2] - operator.pads[2], pads[3] - operator.pads[3])
            counted = int(operator.padding_counted and any(pads) and pads == operator.pads)
            window = _window(operator, pads)
            value = f'node("{name}", "AveragePool", {x}, {window}, count_include_pad={counted})'
        case GlobalAvgPool():
            value = f'node("{name}", "GlobalAveragePool", {x})'
        case BatchNorm():
            tensors = ", ".join(f'"{name}.{key}"' for key in ("scale", "shift", "mean", "variance"))
            value = f'node("{name}", "BatchNormalization", {x}, {tensors}, epsilon={number(operator.epsilon)})'
        case Relu():
            value = f'node("{name}", "Relu", {x})'
        case Tanh():
            value = f'node("{name}", "Tanh", {x})'
        case Flatten():
            value = f'node("{name}", "Flatten", {x}, axis=1)'
        case Dropout(convention="test_time"):
            value = f'node("{name}", "Mul", {x}, "{name}.scale")'
        case Dropout():
            value = f'node("{name}", "Dropout", {x})'
        case Softmax():
            value = f'node("{name}", "Softmax", {x}, axis=1)'
        case Add():
            value = f'node("{name}", "Sum", {", ".join(step.reads)})'
        case Concat():
            value = f'node("{name}", "Concat", {", ".join(step.reads)}, axis=1)'
        case _:
            assert_never(operator)
    line = f'    {step.assigns}tap("{name}", {value}){comment(layer)}'
    return [*map(wrapped, before), wrapped(line)]


def _padded_first(layer: Layer, operator: AvgPool) -> bool:
    """Whether padding counts and what `ceil` adds must not: ONNX has one answer for both, so zeros are added before."""
    return operator.padding_counted and any(operator.pads) and pads_with_overflow(layer, operator) != operator.pads


def _window(operator: Conv | MaxPool | AvgPool, pads: tuple[int, int, int, int]) -> str:
    text = f"kernel_shape={list(operator.kernel)}"
    if operator.stride != (1, 1):
        text += f", strides={list(operator.stride)}"
    return text + (f", pads={list(pads)}" if any(pads) else "")
