"""Emits a network as a TensorFlow `tf.Module`, channels last.

Native: `tf.nn`'s own operators. Fast: normalisation as shifted sums that XLA fuses, dense layers as (W·xᵀ)ᵀ.
"""

from typing import assert_never

from impls.emission import (
    Step,
    batched,
    calls,
    class_name,
    code,
    comment,
    header,
    number,
    pads_with_overflow,
    same_or_pair,
    steps,
    wrapped,
)
from impls.emission_training import dropouts
from impls.emit_tensorflow_functions import DIFFERENTIATED, FUNCTIONS
from impls.emit_tensorflow_training import MASKS, recipe
from impls.frameworks import Lowering
from spec.base import Shape
from spec.network import Network
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
from spec.shapes import Layer

LAYOUT = "NHWC"

NOTES = """\
Images are (N, H, W, C). Tensors are given in canonical layout, kernels (O, I/groups, H, W) and dense weights (out, in),
and stored as TensorFlow reads them: (H, W, I/groups, O) and (in, out). Features are flattened channel first."""

NOTES_FAST = """\
Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first."""

PREAMBLE = '''\
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

LAYOUT = "NHWC"

Tap = Callable[[str, tf.Tensor], tf.Tensor]


def no_tap(_name: str, value: tf.Tensor) -> tf.Tensor:
    """Leave every value as it is."""
    return value

'''

VARIABLES = '''\
def variables(
    tensors: Mapping[str, np.ndarray], layer: str, axes: tuple[int, ...] | None = None
) -> dict[str, tf.Variable]:
    """The tensors of one layer; the weight's axes are permuted from canonical layout."""
    own = {name.partition(".")[2]: value for name, value in tensors.items() if name.partition(".")[0] == layer}
    if axes is not None:
        own["weight"] = np.transpose(own["weight"], axes)
    return {name: tf.Variable(value, name=f"{layer}.{name}") for name, value in own.items()}

'''

TOLD = "Evaluate the network; `tap` sees every operator's output, and what it returns is read next."
PADS = "Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)"

#: The line that makes the variables of a layer, and the lines that do where some of them are statistics.
MADE = '    return {name: tf.Variable(value, name=f"{layer}.{name}") for name, value in own.items()}'
MADE_WITH_STATISTICS = """\
    return {
        name: tf.Variable(value, name=f"{layer}.{name}", trainable=name not in ("mean", "variance"))
        for name, value in own.items()
    }"""


def emit(network: Network, lowering: Lowering, origin: str) -> str:
    """The source text of `network`; `origin` says which spec it comes from."""
    name = class_name(network)
    fast = lowering == "fast"
    body = [line for step in steps(network) for line in _forward(step, lowering, trains=network.training is not None)]
    functions = FUNCTIONS | (DIFFERENTIATED if fast and network.training else {})
    used = [function for function in functions if calls(function, code(body))]
    held = [wrapped(line) for layer in network.layers if (line := _held(layer, lowering))]
    parts = [
        header(network, "TensorFlow, fast lowering" if fast else "TensorFlow", origin, NOTES_FAST if fast else NOTES),
        _preamble(bool(dropouts(network)), any("Pads" in functions[function] for function in used)),
        *([_variables(network)] if held else []),
        *(functions[function] for function in used),
        f"class {name}(tf.Module):",
        f'    """{batched(network.input.shape, LAYOUT)} → {batched(network.layers[-1].output_shape, LAYOUT)}."""\n',
        f"    def __init__(self, {'' if held else '_'}tensors: Mapping[str, np.ndarray]) -> None:",
        f'        super().__init__(name="{network.name}")',
        *held,
        "",
        "    @tf.function",
        "    def __call__(self, x: tf.Tensor) -> tf.Tensor:",
        "        return self.forward(x)",
        "",
        *_begun(network),
        *body,
        "\n",
        f"def load(tensors: Mapping[str, np.ndarray]) -> {name}:",
        '    """A model that holds `tensors` (canonical names and layouts)."""',
        f"    return {name}(tensors)",
        "",
        *recipe(network, lowering),
    ]
    return "\n".join(parts)


def _preamble(masks: bool, pads: bool) -> str:
    """Imports, and the names of types that the source uses."""
    aliases = [*([MASKS] if masks else []), *([PADS] if pads else []), "Tap ="]
    return PREAMBLE.replace("Tap =", "\n".join(aliases))


def _variables(network: Network) -> str:
    """The function that makes variables; training changes no statistics."""
    if not any(layer.statistic_shapes for layer in network.layers):
        return VARIABLES
    return VARIABLES.replace(MADE, MADE_WITH_STATISTICS)


def _begun(network: Network) -> list[str]:
    """The first lines of the forward pass."""
    if not dropouts(network):
        masks, told = "", []
    else:
        masks = ", masks: Masks | None = None"
        told = ["", "        `masks` are those of a training step; without them the network is evaluated.", "        "]
    return [
        f"    def forward(self, x: tf.Tensor, tap: Tap = no_tap{masks}) -> tf.Tensor:",
        "\n".join([f'        """{TOLD}', *told]) + '"""',
    ]


def _held(layer: Layer, lowering: Lowering) -> str | None:
    """The line that makes a layer's variables."""
    operator: AnyOperator = layer.operator
    shape: Shape
    match operator:
        case Conv():
            oihw = layer.parameter_shapes[f"{layer.name}.weight"]
            shape = (oihw[2], oihw[3], oihw[1], oihw[0])
            axes = ", axes=(2, 3, 1, 0)"
        case Dense() if lowering == "fast":
            shape, axes = (operator.out_features, operator.in_features), ""
        case Dense():
            shape, axes = (operator.in_features, operator.out_features), ", axes=(1, 0)"
        case BatchNorm():
            shape, axes = layer.parameter_shapes[f"{layer.name}.scale"], ""
        case _:
            return None
    source = f"  {operator.source}" if operator.source else ""
    return f'        self.{layer.name} = variables(tensors, "{layer.name}"{axes})  # {shape}{source}'


def _forward(step: Step, lowering: Lowering, trains: bool) -> list[str]:
    """The lines of the forward pass that compute one operator; `trains`: whether gradients flow through them."""
    layer, x = step.layer, step.read
    operator, p = layer.operator, f"self.{layer.name}"
    before: list[str] = []
    match operator:
        case Conv():
            value = _convolved(operator, x, p, lowering, trains)
        case Dense() if lowering == "fast":
            value = f"dense({x}, {p})"
        case Dense():
            value = f'tf.linalg.matmul({x}, {p}["weight"])'
            if operator.bias:
                value = f'{value} + {p}["bias"]'
        case Lrn():
            normalised = _normalised(operator, lowering)
            if operator.towers == 1:
                value = normalised.format(x)
            else:
                before = [
                    f"        towers = tf.split({x}, {operator.towers}, axis=-1)",
                    f"        towers = [{normalised.format('t')} for t in towers]",
                ]
                value = "tf.concat(towers, axis=-1)"
        case MaxPool():
            pads_all = pads_with_overflow(layer, operator)
            source = f"padded({x}, {_pads(pads_all)}, -np.inf)" if any(pads_all) else x
            value = f'tf.nn.max_pool2d({source}, {_window(operator)}, "VALID")'
        case AvgPool():
            before, value = _average(layer, operator, x)
        case GlobalAvgPool():
            value = f"tf.reduce_mean({x}, axis=(1, 2), keepdims=True)"
        case BatchNorm():
            value = f"batch_norm({x}, {p}, epsilon={number(operator.epsilon)})"
        case Relu():
            value = f"tf.nn.relu({x})"
        case Tanh():
            value = f"tf.math.tanh({x})"
        case Flatten():
            value = f"tf.reshape(tf.transpose({x}, (0, 3, 1, 2)), (-1, {layer.output_shape[0]}))"
        case Dropout():
            value = _dropped(operator, x)
        case Softmax():
            value = f"tf.nn.softmax({x})"
        case Add():
            value = " + ".join(step.reads)
        case Concat():
            value = f"tf.concat([{', '.join(step.reads)}], axis=-1)"
        case _:
            assert_never(operator)
    line = f'        {step.assigns}tap("{layer.name}", {value}){comment(layer, LAYOUT)}'
    return [*map(wrapped, before), wrapped(line)]


def _convolved(operator: Conv, x: str, p: str, lowering: Lowering, trains: bool) -> str:
    """The call that convolves. It says `SAME` only where that pads as the spec does: at stride 1, by half a kernel."""
    stride = f", stride={operator.stride}" if operator.stride != (1, 1) else ""
    height, width = operator.kernel
    around = (height // 2, width // 2, height // 2, width // 2)
    if not any(operator.pads):
        pads = ""
    elif not (trains and lowering == "fast"):
        pads = f", pads={_pads(operator.pads)}"
    elif operator.stride == (1, 1) and height % 2 and width % 2 and operator.pads == around:
        pads = ', padding="SAME"'
    else:
        x, pads = f"padded({x}, {_pads(operator.pads)})", ""
    grouped = trains and operator.groups > 1
    return f"{'grouped_conv' if grouped else 'conv'}({x}, {p}{f', {operator.groups}' * grouped}{stride}{pads})"


def _dropped(operator: Dropout, x: str) -> str:
    """Evaluation, and while training what the mask keeps; one of the two scales."""
    keep, mask = number(1.0 - operator.drop_probability), f'masks["{operator.name}"]'
    match operator.convention:
        case "test_time":
            return f"{x} * {keep} if masks is None else tf.where({mask}, {x}, 0.0)"
        case "inverted":
            return f"{x} if masks is None else tf.where({mask}, {x} / {keep}, 0.0)"
        case _:
            assert_never(operator.convention)


def _normalised(operator: Lrn, lowering: Lowering) -> str:
    """The call that normalises, with {} for what it reads."""
    k, alpha, beta = number(operator.k), number(operator.alpha_sum), number(operator.beta)
    if lowering == "fast":
        return f"local_response_norm({{}}, n={operator.n}, k={k}, alpha={alpha}, beta={beta})"
    radius = operator.n // 2
    return f"tf.nn.local_response_normalization({{}}, depth_radius={radius}, bias={k}, alpha={alpha}, beta={beta})"


def _average(layer: Layer, operator: AvgPool, x: str) -> tuple[list[str], str]:
    """Means over padded windows; where not all of a window counts, divided by the share that does."""
    _, height, width = layer.input_shape
    pads = pads_with_overflow(layer, operator)
    if not any(pads):
        return [], f'tf.nn.avg_pool2d({x}, {_window(operator)}, "VALID")'
    mean = f'tf.nn.avg_pool2d(padded({x}, {_pads(pads)}), {_window(operator)}, "VALID")'
    if operator.padding_counted and pads == operator.pads:
        return [], mean
    top, left, bottom, right = operator.pads if operator.padding_counted else (0, 0, 0, 0)
    ones = f"tf.ones((1, {height + top + bottom}, {width + left + right}, 1))"
    rest = (pads[0] - top, pads[1] - left, pads[2] - bottom, pads[3] - right)
    counted = f'        counted = tf.nn.avg_pool2d(padded({ones}, {_pads(rest)}), {_window(operator)}, "VALID")'
    return [counted], f"{mean} / counted"


def _pads(pads: tuple[int, int, int, int]) -> str:
    """Top, left, bottom, right as ((top, bottom), (left, right))."""
    top, left, bottom, right = pads
    return str(((top, bottom), (left, right)))


def _window(operator: MaxPool | AvgPool) -> str:
    return f"{same_or_pair(operator.kernel)}, {same_or_pair(operator.stride)}"
