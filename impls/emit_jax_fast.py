"""Emits a network as JAX functions that XLA runs quickly on a CPU, channels last.

What was measured to matter: groups split instead of `feature_group_count`; normalisation and max pooling as shifted
slices, which XLA fuses, instead of `reduce_window`; dense weights in stored layout, on the left of the product, never
`x @ W.T`; a strided convolution image by image, as one product of patches that stay in the cache.
"""

from math import prod
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

LAYOUT = "NHWC"

NOTES = """\
Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first."""

#: The functions that a source defines for operators which take more than one call, if it uses them.
FUNCTIONS: dict[str, str] = {
    "conv": '''\
def conv(
    x: jax.Array,
    p: dict[str, jax.Array],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Cross-correlation, group by group."""

    def part(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(images, kernel, stride, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))

    towers = zip(jnp.split(x, groups, axis=-1), jnp.split(p["weight"], groups, axis=-1), strict=True)
    y = jnp.concatenate([part(*tower) for tower in towers], axis=-1)
    return y + p["bias"] if "bias" in p else y
''',
    "strided_conv": '''\
def strided_conv(
    x: jax.Array, p: dict[str, jax.Array], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Cross-correlation from space to depth: every stride × stride pixels become the channels of a block.

    The kernel then covers a few whole blocks, with zeros where it ends within one. Image by image, one product each, so
    that the patches stay in the cache.
    """
    (kernel_height, kernel_width, channels, filters), (down, across) = p["weight"].shape, stride
    rows, columns = -(-kernel_height // down), -(-kernel_width // across)
    (top, bottom), (left, right) = pads
    height = (x.shape[1] + top + bottom - kernel_height) // down + 1
    width = (x.shape[2] + left + right - kernel_width) // across + 1
    tall, wide = height + rows - 1, width + columns - 1
    depth = down * across * channels

    def blocks(pixels: jax.Array, tall: int, wide: int) -> jax.Array:
        apart = pixels.reshape(tall, down, wide, across * channels, -1)
        return apart.transpose(0, 2, 1, 3, 4).reshape(tall, wide, depth, -1)

    ends = ((0, rows * down - kernel_height), (0, columns * across - kernel_width), (0, 0), (0, 0))
    kernel = blocks(jnp.pad(p["weight"], ends), rows, columns).reshape(-1, filters)
    below, beside = tall * down - top - x.shape[1], wide * across - left - x.shape[2]

    def one(image: jax.Array) -> jax.Array:
        padded = lax.pad(image, jnp.zeros((), x.dtype), ((top, below, 0), (left, beside, 0), (0, 0, 0)))
        block = blocks(padded, tall, wide)[..., 0]
        patches = [block[i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
        product: jax.Array = jnp.concatenate(patches, axis=-1) @ kernel
        return product

    y: jax.Array = lax.map(one, x)
    return y + p["bias"] if "bias" in p else y
''',
    "dense": '''\
def dense(x: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
    """W·x + b with W in its stored layout (out, in), on the left: it is what XLA reads quickest."""
    y = (p["weight"] @ x.T).T
    return y + p["bias"] if "bias" in p else y
''',
    "local_response_norm": '''\
def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    channels = x.shape[-1]
    squares = jnp.pad(x * x, ((0, 0), (0, 0), (0, 0), (n // 2, n // 2)))
    sums = sum(squares[..., shift : shift + channels] for shift in range(n))
    denominator = k + alpha * sums
    if beta == 0.75:
        root = lax.rsqrt(denominator)
        return x * (root * jnp.sqrt(root))
    return x * denominator**-beta
''',
    "max_pool": '''\
def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows, first of rows, then of columns; padding never wins."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis, size, step in ((1, kernel[0], stride[0]), (2, kernel[1], stride[1])):
        last = (x.shape[axis] - size) // step * step
        x = reduce(jnp.maximum, [lax.slice_in_dim(x, i, i + last + 1, step, axis) for i in range(size)])
    return x
''',
    "sum_pool": '''\
def sum_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Sum over windows."""
    y: jax.Array = lax.reduce_window(x, 0.0, lax.add, (1, *kernel, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))
    return y
''',
    "batch_norm": '''\
def batch_norm(x: jax.Array, p: dict[str, jax.Array], epsilon: float) -> jax.Array:
    """Normalise every channel with its stored mean and variance."""
    return (x - p["mean"]) * (p["scale"] * lax.rsqrt(p["variance"] + epsilon)) + p["shift"]
''',
}

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
    return source(network, header(network, "JAX, fast lowering", origin, NOTES), LAYOUT, FUNCTIONS, LOAD, _forward)


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
