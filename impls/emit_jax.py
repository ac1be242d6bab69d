"""Emits a network as pure JAX functions over a parameter tree, with `jax.lax`'s own operators: the native lowering."""

from typing import assert_never

from impls.emission import Step, comment, header, number, pads_with_overflow, wrapped
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

NOTES = """\
Images are (N, C, H, W). Parameters are a tree, `parameters["conv1"]["weight"]`, in canonical layouts: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first."""

#: The functions that a source defines for operators which `jax.lax` does not have in one call, if it uses them.
FUNCTIONS: dict[str, str] = {
    "conv": '''\
def conv(
    x: jax.Array,
    p: dict[str, jax.Array],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Cross-correlation with the kernel (O, I/groups, H, W), and the bias where there is one."""
    y = lax.conv_general_dilated(
        x, p["weight"], stride, pads, dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=groups
    )
    return y + p["bias"][:, None, None] if "bias" in p else y
''',
    "local_response_norm": '''\
def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    pads = ((0, 0), (n // 2, n // 2), (0, 0), (0, 0))
    sums: jax.Array = lax.reduce_window(x * x, 0.0, lax.add, (1, n, 1, 1), (1, 1, 1, 1), pads)
    return x / (k + alpha * sums) ** beta
''',
    "max_pool": '''\
def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows; padding never wins."""
    y: jax.Array = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *kernel), (1, 1, *stride), ((0, 0), (0, 0), *pads))
    return y
''',
    "sum_pool": '''\
def sum_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Sum over windows."""
    y: jax.Array = lax.reduce_window(x, 0.0, lax.add, (1, 1, *kernel), (1, 1, *stride), ((0, 0), (0, 0), *pads))
    return y
''',
    "batch_norm": '''\
def batch_norm(x: jax.Array, p: dict[str, jax.Array], epsilon: float) -> jax.Array:
    """Normalise every channel with its stored mean and variance."""
    factor = p["scale"] * lax.rsqrt(p["variance"] + epsilon)
    return (x - p["mean"][:, None, None]) * factor[:, None, None] + p["shift"][:, None, None]
''',
}


LOAD = '''\
def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = value
    return tree
'''


def emit(network: Network, origin: str) -> str:
    """The source text of `network`; `origin` says which spec it comes from."""
    return source(network, header(network, "JAX", origin, NOTES), "NCHW", FUNCTIONS, LOAD, _forward)


def _forward(step: Step) -> list[str]:
    """The lines of the forward pass that compute one operator."""
    layer, x = step.layer, step.read
    operator, p = layer.operator, f'p["{layer.name}"]'
    before: list[str] = []
    match operator:
        case Conv():
            stride = f", stride={operator.stride}" if operator.stride != (1, 1) else ""
            groups = f", groups={operator.groups}" if operator.groups > 1 else ""
            value = f"conv({x}, {p}{stride}{axis_pads(operator.pads)}{groups})"
        case Dense():
            value = f'{x} @ {p}["weight"].T'
            if operator.bias:
                value = f'{value} + {p}["bias"]'
        case Lrn():
            alpha, beta = number(operator.alpha_sum), number(operator.beta)
            constants = f"n={operator.n}, k={number(operator.k)}, alpha={alpha}, beta={beta}"
            if operator.towers == 1:
                value = f"local_response_norm({x}, {constants})"
            else:
                before = [f"    towers = jnp.split({x}, {operator.towers}, axis=1)"]
                value = f"jnp.concatenate([local_response_norm(t, {constants}) for t in towers], axis=1)"
        case MaxPool():
            pads = axis_pads(pads_with_overflow(layer, operator))
            value = f"max_pool({x}, kernel={operator.kernel}, stride={operator.stride}{pads})"
        case AvgPool():
            before, value = _average(layer, operator, x)
        case GlobalAvgPool():
            value = f"{x}.mean(axis=(2, 3), keepdims=True)"
        case BatchNorm():
            value = f"batch_norm({x}, {p}, epsilon={number(operator.epsilon)})"
        case Relu():
            value = f"jax.nn.relu({x})"
        case Tanh():
            value = f"jnp.tanh({x})"
        case Flatten():
            value = f"{x}.reshape(len({x}), -1)"
        case Dropout():
            value = masked(operator, x)
        case Softmax():
            value = f"jax.nn.softmax({x}, axis=1)"
        case Add():
            value = " + ".join(step.reads)
        case Concat():
            value = f"jnp.concatenate([{', '.join(step.reads)}], axis=1)"
        case _:
            assert_never(operator)
    line = f'    {step.assigns}tap("{layer.name}", {value}){comment(layer)}'
    return [*map(wrapped, before), wrapped(line)]


def _average(layer: Layer, operator: AvgPool, x: str) -> tuple[list[str], str]:
    """Sums over windows, divided by how many elements each window counts."""
    _, height, width = layer.input_shape
    pads = pads_with_overflow(layer, operator)
    windows = f"kernel={operator.kernel}, stride={operator.stride}"
    sums = f"sum_pool({x}, {windows}{axis_pads(pads)})"
    if not any(pads) or (operator.padding_counted and pads == operator.pads):
        return [], f"{sums} / {operator.kernel[0] * operator.kernel[1]}"
    top, left, bottom, right = operator.pads if operator.padding_counted else (0, 0, 0, 0)
    ones = f"jnp.ones((1, 1, {height + top + bottom}, {width + left + right}), {x}.dtype)"
    rest = (pads[0] - top, pads[1] - left, pads[2] - bottom, pads[3] - right)
    counted = f"    counted = sum_pool({ones}, {windows}{axis_pads(rest)})"
    return [counted], f"{sums} / counted"
