"""AlexNet, the network of the paper, in JAX.

Images are (N, C, H, W). Parameters are a tree, `parameters["conv1"]["weight"]`, in canonical layouts: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = "NCHW"

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
    """Cross-correlation with the kernel (O, I/groups, H, W), and the bias where there is one."""
    y = lax.conv_general_dilated(
        x, p["weight"], stride, pads, dimension_numbers=("NCHW", "OIHW", "NCHW"), feature_group_count=groups
    )
    return y + p["bias"][:, None, None] if "bias" in p else y


def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    pads = ((0, 0), (n // 2, n // 2), (0, 0), (0, 0))
    sums: jax.Array = lax.reduce_window(x * x, 0.0, lax.add, (1, n, 1, 1), (1, 1, 1, 1), pads)
    return x / (k + alpha * sums) ** beta


def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows; padding never wins."""
    y: jax.Array = lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, *kernel), (1, 1, *stride), ((0, 0), (0, 0), *pads))
    return y


def forward(parameters: Parameters, x: jax.Array, tap: Tap = no_tap) -> jax.Array:
    """(N, 3, 227, 227) → (N, 1000).

    `tap` sees every operator's output, and what it returns is read next.
    """
    p = parameters
    x = tap("conv1", conv(x, p["conv1"], stride=(4, 4)))  # (N, 96, 55, 55)  §3.5
    x = tap("relu1", jax.nn.relu(x))  # (N, 96, 55, 55)  §3.1
    x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 96, 55, 55)  §3.3
    x = tap("pool1", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 96, 27, 27)  §3.4
    x = tap("conv2", conv(x, p["conv2"], pads=((2, 2), (2, 2)), groups=2))  # (N, 256, 27, 27)  §3.5
    x = tap("relu2", jax.nn.relu(x))  # (N, 256, 27, 27)  §3.1
    x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 256, 27, 27)  §3.3
    x = tap("pool2", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 256, 13, 13)  §3.4
    x = tap("conv3", conv(x, p["conv3"], pads=((1, 1), (1, 1))))  # (N, 384, 13, 13)  §3.5
    x = tap("relu3", jax.nn.relu(x))  # (N, 384, 13, 13)  §3.1
    x = tap("conv4", conv(x, p["conv4"], pads=((1, 1), (1, 1)), groups=2))  # (N, 384, 13, 13)  §3.5
    x = tap("relu4", jax.nn.relu(x))  # (N, 384, 13, 13)  §3.1
    x = tap("conv5", conv(x, p["conv5"], pads=((1, 1), (1, 1)), groups=2))  # (N, 256, 13, 13)  §3.5
    x = tap("relu5", jax.nn.relu(x))  # (N, 256, 13, 13)  §3.1
    x = tap("pool5", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 256, 6, 6)  §3.4
    x = tap("flatten", x.reshape(len(x), -1))  # (N, 9216)  §3.5
    x = tap("fc6", x @ p["fc6"]["weight"].T + p["fc6"]["bias"])  # (N, 4096)  §3.5
    x = tap("relu6", jax.nn.relu(x))  # (N, 4096)  §3.1
    x = tap("drop6", x * 0.5)  # (N, 4096)  §4.2
    x = tap("fc7", x @ p["fc7"]["weight"].T + p["fc7"]["bias"])  # (N, 4096)  §3.5
    x = tap("relu7", jax.nn.relu(x))  # (N, 4096)  §3.1
    x = tap("drop7", x * 0.5)  # (N, 4096)  §4.2
    return tap("fc8", x @ p["fc8"]["weight"].T + p["fc8"]["bias"])  # (N, 1000)  §3.5


def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = value
    return tree
