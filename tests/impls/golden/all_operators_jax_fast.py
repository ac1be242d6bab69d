"""Every operator once, with odd pads, groups, branches and both ways of rounding, in JAX, fast lowering.

Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first.

DO NOT EDIT. Generated from the spec of all_operators, sha256 5bfc5b4fae0890e2.
Generate it again with: python -m impls.generate all_operators
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
Masks = dict[str, jax.Array]  # of each dropout, by its name: the elements that training keeps


def no_tap(_name: str, value: jax.Array) -> jax.Array:
    """Leave every value as it is."""
    return value


def correlate(x: jax.Array, kernel: jax.Array, stride: tuple[int, int], pads: Pads) -> jax.Array:
    """Cross-correlation with the kernel (H, W, I, O)."""
    return lax.conv_general_dilated(x, kernel, stride, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv(
    x: jax.Array,
    p: dict[str, jax.Array],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
    groups: int = 1,
) -> jax.Array:
    """Cross-correlation, group by group."""
    towers = zip(jnp.split(x, groups, axis=-1), jnp.split(p["weight"], groups, axis=-1), strict=True)
    y = jnp.concatenate([correlate(*tower, stride, pads) for tower in towers], axis=-1)
    return y + p["bias"] if "bias" in p else y


def dense(x: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
    """W·x + b with W in its stored layout (out, in), on the left: it is what XLA reads quickest."""
    y = (p["weight"] @ x.T).T
    return y + p["bias"] if "bias" in p else y


def neighbour_sums(x: jax.Array, n: int) -> jax.Array:
    """Sums over n neighbouring channels."""
    channels = x.shape[-1]
    padded = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (n // 2, n // 2)))
    return reduce(jnp.add, [padded[..., shift : shift + channels] for shift in range(n)])


def inverse_power(x: jax.Array, beta: float) -> jax.Array:
    """x^-beta, from roots where that can be."""
    if beta == 0.75:
        root = lax.rsqrt(x)
        return root * jnp.sqrt(root)
    return x**-beta


def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    return x * inverse_power(k + alpha * neighbour_sums(x * x, n), beta)


def windows(x: jax.Array, axis: int, size: int, stride: int) -> list[jax.Array]:
    """The first elements of all windows along an axis, the second ones, and so on."""
    last = (x.shape[axis] - size) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(size)]


def maxima(x: jax.Array, axis: int, size: int, stride: int) -> jax.Array:
    """Maximum over windows along one axis."""
    return reduce(jnp.maximum, windows(x, axis, size, stride))


def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows, first within each row, then over rows; padding never wins."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    return maxima(maxima(x, 2, kernel[1], stride[1]), 1, kernel[0], stride[0])


def sum_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Sum over windows."""
    y: jax.Array = lax.reduce_window(x, 0.0, lax.add, (1, *kernel, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))
    return y


def batch_norm(x: jax.Array, p: dict[str, jax.Array], epsilon: float) -> jax.Array:
    """Normalise every channel with its stored mean and variance."""
    return (x - p["mean"]) * (p["scale"] * lax.rsqrt(p["variance"] + epsilon)) + p["shift"]


def forward(parameters: Parameters, x: jax.Array, tap: Tap = no_tap, masks: Masks | None = None) -> jax.Array:
    """(N, 17, 13, 6) → (N, 11).

    `tap` sees every operator's output, and what it returns is read next. `masks` are those of a training step;
    without them the network is evaluated.
    """
    p = parameters
    conv1 = tap("conv1", conv(x, p["conv1"], stride=(2, 1), pads=((1, 0), (2, 1)), groups=2))  # (N, 8, 12, 8)
    bn1 = tap("bn1", batch_norm(conv1, p["bn1"], epsilon=1e-05))  # (N, 8, 12, 8)
    tanh1 = tap("tanh1", jnp.tanh(bn1))  # (N, 8, 12, 8)
    conv2 = tap("conv2", conv(bn1, p["conv2"], pads=((1, 1), (1, 1))))  # (N, 8, 12, 8)
    sum1 = tap("sum1", tanh1 + conv2 + bn1)  # (N, 8, 12, 8)
    relu1 = tap("relu1", jax.nn.relu(sum1))  # (N, 8, 12, 8)
    towers = jnp.split(relu1, 2, axis=-1)
    # (N, 8, 12, 8)
    norm1 = tap(
        "norm1", jnp.concatenate([local_response_norm(t, n=5, k=1.0, alpha=0.02, beta=0.5) for t in towers], axis=-1)
    )
    pool_a = tap("pool_a", max_pool(norm1, kernel=(3, 3), stride=(2, 2), pads=((0, 2), (1, 0))))  # (N, 4, 6, 8)
    counted = sum_pool(jnp.ones((1, 9, 12, 1), norm1.dtype), kernel=(3, 3), stride=(2, 2), pads=((0, 0), (0, 1)))
    # (N, 4, 6, 8)
    pool_b = tap("pool_b", sum_pool(norm1, kernel=(3, 3), stride=(2, 2), pads=((1, 0), (0, 1))) / counted)
    counted = sum_pool(jnp.ones((1, 8, 12, 1), norm1.dtype), kernel=(3, 3), stride=(2, 2), pads=((1, 0), (0, 1)))
    # (N, 4, 6, 8)
    pool_c = tap("pool_c", sum_pool(norm1, kernel=(3, 3), stride=(2, 2), pads=((1, 0), (0, 1))) / counted)
    join = tap("join", jnp.concatenate([pool_a, pool_b, pool_c], axis=-1))  # (N, 4, 6, 24)
    counted = sum_pool(jnp.ones((1, 6, 8, 1), join.dtype), kernel=(3, 3), stride=(2, 2), pads=((0, 1), (0, 1)))
    # (N, 3, 4, 24)
    pool_d = tap("pool_d", sum_pool(join, kernel=(3, 3), stride=(2, 2), pads=((1, 2), (1, 2))) / counted)
    counted = sum_pool(jnp.ones((1, 3, 4, 1), pool_d.dtype), kernel=(3, 3), stride=(2, 2), pads=((1, 1), (1, 1)))
    # (N, 2, 2, 24)
    pool_e = tap("pool_e", sum_pool(pool_d, kernel=(3, 3), stride=(2, 2), pads=((1, 1), (1, 1))) / counted)
    pool_f = tap("pool_f", max_pool(pool_d, kernel=(2, 2), stride=(2, 2), pads=((0, 1), (0, 0))))  # (N, 2, 2, 24)
    sum2 = tap("sum2", pool_e + pool_f)  # (N, 2, 2, 24)
    pool_g = tap("pool_g", sum_pool(sum2, kernel=(2, 1), stride=(1, 1)) / 2)  # (N, 1, 2, 24)
    flat = tap("flat", pool_g.transpose(0, 3, 1, 2).reshape(len(pool_g), -1))  # (N, 48)
    gap = tap("gap", join.mean(axis=(1, 2), keepdims=True))  # (N, 1, 1, 24)
    flat2 = tap("flat2", gap.transpose(0, 3, 1, 2).reshape(len(gap), -1))  # (N, 24)
    both = tap("both", jnp.concatenate([flat, flat2], axis=-1))  # (N, 72)
    fc = tap("fc", dense(both, p["fc"]))  # (N, 11)
    drop_a = tap("drop_a", fc * (0.7 if masks is None else masks["drop_a"]))  # (N, 11)
    drop_b = tap("drop_b", drop_a if masks is None else drop_a * masks["drop_b"] * (1 / 0.7))  # (N, 11)
    return tap("prob", jax.nn.softmax(drop_b, axis=1))  # (N, 11)


def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts); kernels become (H, W, I/groups, O)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = jnp.transpose(value, (2, 3, 1, 0)) if value.ndim == 4 else value
    return tree


def draw_masks(key: jax.Array, batch: int) -> Masks:
    """Masks for one batch, at random."""
    keys = jax.random.split(key, 2)
    return {
        "drop_a": jax.random.bernoulli(keys[0], 0.7, (batch, 11)),
        "drop_b": jax.random.bernoulli(keys[1], 0.7, (batch, 11)),
    }
