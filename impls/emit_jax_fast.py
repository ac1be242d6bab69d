"""Emits a network as JAX functions that XLA runs quickly on a CPU, channels last.

What was measured to matter: groups split instead of `feature_group_count`; normalisation and max pooling as shifted
slices, which XLA fuses, instead of `reduce_window`; dense weights in stored layout, on the left of the product, never
`x @ W.T`; a strided convolution image by image, as one product of patches that stay in the cache.
"""

from math import prod
from typing import assert_never

from impls.emission import Step, comment, header, number, pads_with_overflow, wrapped
from impls.emit_jax_fast_functions import functions
from impls.emit_jax_source import axis_pads, masked, source
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

LAYOUT = "NHWC"

NOTES = """\
Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first."""

LOAD = '''\
def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts); kernels become (H, W, I/groups, O)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = jnp.transpose(value, (2, 3, 1, 0)) if value.ndim == 4 else value
    return tree
'''


def emit(network: Network, origin: str) -> str:
    """The source text of `network`; `origin` says which spec it comes from."""
    opening = header(network, "JAX, fast lowering", origin, NOTES)
    return source(network, opening, LAYOUT, functions(network.training is not None), LOAD, _forward)


def _forward(step: Step) -> list[str]:
    """The lines of the forward pass that compute one operator."""
    layer, x = step.layer, step.read
    operator, p = layer.operator, f'p["{layer.name}"]'
    before: list[str] = []
    match operator:
        case Conv():
            stride = f", stride={operator.stride}" if operator.stride != (1, 1) else ""
            groups = f", groups={operator.groups}" if operator.groups > 1 else ""
            function = "strided_conv" if _fits_blocks(operator) else "conv"
            value = f"{function}({x}, {p}{stride}{axis_pads(operator.pads)}{groups})"
        case Dense():
            value = f"dense({x}, {p})"
        case Lrn():
            alpha, beta = number(operator.alpha_sum), number(operator.beta)
            constants = f"n={operator.n}, k={number(operator.k)}, alpha={alpha}, beta={beta}"
            if operator.towers == 1:
                value = f"local_response_norm({x}, {constants})"
            else:
                before = [f"    towers = jnp.split({x}, {operator.towers}, axis=-1)"]
                value = f"jnp.concatenate([local_response_norm(t, {constants}) for t in towers], axis=-1)"
        case MaxPool():
            pads = axis_pads(pads_with_overflow(layer, operator))
            value = f"max_pool({x}, kernel={operator.kernel}, stride={operator.stride}{pads})"
        case AvgPool():
            before, value = _average(layer, operator, x)
        case GlobalAvgPool():
            value = f"{x}.mean(axis=(1, 2), keepdims=True)"
        case BatchNorm():
            value = f"batch_norm({x}, {p}, epsilon={number(operator.epsilon)})"
        case Relu():
            value = f"jax.nn.relu({x})"
        case Tanh():
            value = f"jnp.tanh({x})"
        case Flatten():
            value = f"{x}.transpose(0, 3, 1, 2).reshape(len({x}), -1)"
        case Dropout():
            value = masked(operator, x)
        case Softmax():
            value = f"jax.nn.softmax({x}, axis=1)"
        case Add():
            value = " + ".join(step.reads)
        case Concat():
            value = f"jnp.concatenate([{', '.join(step.reads)}], axis=-1)"
        case _:
            assert_never(operator)
    line = f'    {step.assigns}tap("{layer.name}", {value}){comment(layer, LAYOUT)}'
    return [*map(wrapped, before), wrapped(line)]


def _fits_blocks(operator: Conv) -> bool:
    """Whether whole blocks of stride × stride pixels waste little: less than half of the kernel's own arithmetic."""
    covered = prod(-(-size // step) * step for size, step in zip(operator.kernel, operator.stride, strict=True))
    return operator.groups == 1 and operator.stride != (1, 1) and covered <= 1.5 * prod(operator.kernel)


def _average(layer: Layer, operator: AvgPool, x: str) -> tuple[list[str], str]:
    """Sums over windows, divided by how many elements each window counts."""
    _, height, width = layer.input_shape
    pads = pads_with_overflow(layer, operator)
    windows = f"kernel={operator.kernel}, stride={operator.stride}"
    sums = f"sum_pool({x}, {windows}{axis_pads(pads)})"
    if not any(pads) or (operator.padding_counted and pads == operator.pads):
        return [], f"{sums} / {operator.kernel[0] * operator.kernel[1]}"
    top, left, bottom, right = operator.pads if operator.padding_counted else (0, 0, 0, 0)
    ones = f"jnp.ones((1, {height + top + bottom}, {width + left + right}, 1), {x}.dtype)"
    rest = (pads[0] - top, pads[1] - left, pads[2] - bottom, pads[3] - right)
    return [f"    counted = sum_pool({ones}, {windows}{axis_pads(rest)})"], f"{sums} / counted"
