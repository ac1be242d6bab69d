"""A narrow AlexNet for quick tests, in JAX, fast lowering.

Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = "NHWC"

Parameters = dict[str, dict[str, jax.Array]]
Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
Tap = Callable[[str, jax.Array], jax.Array]


def no_tap(_name: str, value: jax.Array) -> jax.Array:
    """Leave every value as it is."""
    return value


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


def dense(x: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
    """W·x + b with W in its stored layout (out, in), on the left: it is what XLA reads quickest."""
    y = (p["weight"] @ x.T).T
    return y + p["bias"] if "bias" in p else y


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


def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows, first of rows, then of columns; padding never wins."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    for axis, size, step in ((1, kernel[0], stride[0]), (2, kernel[1], stride[1])):
        last = (x.shape[axis] - size) // step * step
        x = reduce(jnp.maximum, [lax.slice_in_dim(x, i, i + last + 1, step, axis) for i in range(size)])
    return x


def forward(parameters: Parameters, x: jax.Array, tap: Tap = no_tap) -> jax.Array:
    """(N, 135, 99, 3) → (N, 10).

    `tap` sees every operator's output, and what it returns is read next.
    """
    p = parameters
    x = tap("conv1", strided_conv(x, p["conv1"], stride=(4, 4)))  # (N, 32, 23, 8)  the paper's layers, fewer channels
    x = tap("relu1", jax.nn.relu(x))  # (N, 32, 23, 8)  the paper's layers, fewer channels
    # (N, 32, 23, 8)  the paper's layers, fewer channels
    x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
    x = tap("pool1", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 15, 11, 8)  the paper's layers, fewer channels
    # (N, 15, 11, 20)  the paper's layers, fewer channels
    x = tap("conv2", conv(x, p["conv2"], pads=((2, 2), (2, 2)), groups=2))
    x = tap("relu2", jax.nn.relu(x))  # (N, 15, 11, 20)  the paper's layers, fewer channels
    # (N, 15, 11, 20)  the paper's layers, fewer channels
    x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
    x = tap("pool2", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 7, 5, 20)  the paper's layers, fewer channels
    x = tap("conv3", conv(x, p["conv3"], pads=((1, 1), (1, 1))))  # (N, 7, 5, 24)  the paper's layers, fewer channels
    x = tap("relu3", jax.nn.relu(x))  # (N, 7, 5, 24)  the paper's layers, fewer channels
    # (N, 7, 5, 28)  the paper's layers, fewer channels
    x = tap("conv4", conv(x, p["conv4"], pads=((1, 1), (1, 1)), groups=2))
    x = tap("relu4", jax.nn.relu(x))  # (N, 7, 5, 28)  the paper's layers, fewer channels
    # (N, 7, 5, 12)  the paper's layers, fewer channels
    x = tap("conv5", conv(x, p["conv5"], pads=((1, 1), (1, 1)), groups=2))
    x = tap("relu5", jax.nn.relu(x))  # (N, 7, 5, 12)  the paper's layers, fewer channels
    x = tap("pool5", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 3, 2, 12)  the paper's layers, fewer channels
    x = tap("flatten", x.transpose(0, 3, 1, 2).reshape(len(x), -1))  # (N, 72)  the paper's layers, fewer channels
    x = tap("fc6", dense(x, p["fc6"]))  # (N, 40)  the paper's layers, fewer channels
    x = tap("relu6", jax.nn.relu(x))  # (N, 40)  the paper's layers, fewer channels
    x = tap("drop6", x * 0.5)  # (N, 40)  the paper's layers, fewer channels
    x = tap("fc7", dense(x, p["fc7"]))  # (N, 36)  the paper's layers, fewer channels
    x = tap("relu7", jax.nn.relu(x))  # (N, 36)  the paper's layers, fewer channels
    x = tap("drop7", x * 0.5)  # (N, 36)  the paper's layers, fewer channels
    return tap("fc8", dense(x, p["fc8"]))  # (N, 10)  the paper's layers, fewer channels


def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts); kernels become (H, W, I/groups, O)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = jnp.transpose(value, (2, 3, 1, 0)) if value.ndim == 4 else value
    return tree
