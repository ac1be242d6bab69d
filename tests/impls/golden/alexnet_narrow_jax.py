"""A narrow AlexNet for quick tests, in JAX.

Images are (N, C, H, W). Parameters are a tree, `parameters["conv1"]["weight"]`, in canonical layouts: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = "NCHW"

Parameters = dict[str, dict[str, jax.Array]]
Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
Tap = Callable[[str, jax.Array], jax.Array]
Masks = dict[str, jax.Array]  # of each dropout, by its name: the elements that training keeps
Path = tuple[jax.tree_util.DictKey, ...]  # of a parameter: its layer, and what it is there


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


def forward(parameters: Parameters, x: jax.Array, tap: Tap = no_tap, masks: Masks | None = None) -> jax.Array:
    """(N, 3, 135, 99) → (N, 10).

    `tap` sees every operator's output, and what it returns is read next. `masks` are those of a training step;
    without them the network is evaluated.
    """
    p = parameters
    x = tap("conv1", conv(x, p["conv1"], stride=(4, 4)))  # (N, 8, 32, 23)  the paper's layers, fewer channels
    x = tap("relu1", jax.nn.relu(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
    # (N, 8, 32, 23)  the paper's layers, fewer channels
    x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
    x = tap("pool1", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 8, 15, 11)  the paper's layers, fewer channels
    # (N, 20, 15, 11)  the paper's layers, fewer channels
    x = tap("conv2", conv(x, p["conv2"], pads=((2, 2), (2, 2)), groups=2))
    x = tap("relu2", jax.nn.relu(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
    # (N, 20, 15, 11)  the paper's layers, fewer channels
    x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
    x = tap("pool2", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 20, 7, 5)  the paper's layers, fewer channels
    x = tap("conv3", conv(x, p["conv3"], pads=((1, 1), (1, 1))))  # (N, 24, 7, 5)  the paper's layers, fewer channels
    x = tap("relu3", jax.nn.relu(x))  # (N, 24, 7, 5)  the paper's layers, fewer channels
    # (N, 28, 7, 5)  the paper's layers, fewer channels
    x = tap("conv4", conv(x, p["conv4"], pads=((1, 1), (1, 1)), groups=2))
    x = tap("relu4", jax.nn.relu(x))  # (N, 28, 7, 5)  the paper's layers, fewer channels
    # (N, 12, 7, 5)  the paper's layers, fewer channels
    x = tap("conv5", conv(x, p["conv5"], pads=((1, 1), (1, 1)), groups=2))
    x = tap("relu5", jax.nn.relu(x))  # (N, 12, 7, 5)  the paper's layers, fewer channels
    x = tap("pool5", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 12, 3, 2)  the paper's layers, fewer channels
    x = tap("flatten", x.reshape(len(x), -1))  # (N, 72)  the paper's layers, fewer channels
    x = tap("fc6", x @ p["fc6"]["weight"].T + p["fc6"]["bias"])  # (N, 40)  the paper's layers, fewer channels
    x = tap("relu6", jax.nn.relu(x))  # (N, 40)  the paper's layers, fewer channels
    x = tap("drop6", x * (0.5 if masks is None else masks["drop6"]))  # (N, 40)  the paper's layers, fewer channels
    x = tap("fc7", x @ p["fc7"]["weight"].T + p["fc7"]["bias"])  # (N, 36)  the paper's layers, fewer channels
    x = tap("relu7", jax.nn.relu(x))  # (N, 36)  the paper's layers, fewer channels
    x = tap("drop7", x * (0.5 if masks is None else masks["drop7"]))  # (N, 36)  the paper's layers, fewer channels
    return tap("fc8", x @ p["fc8"]["weight"].T + p["fc8"]["bias"])  # (N, 10)  the paper's layers, fewer channels


def load(tensors: dict[str, jax.Array]) -> Parameters:
    """The parameter tree that holds `tensors` (canonical names and layouts)."""
    tree: Parameters = {}
    for name, value in tensors.items():
        layer, _, parameter = name.partition(".")
        tree.setdefault(layer, {})[parameter] = value
    return tree


def draw_masks(key: jax.Array, batch: int) -> Masks:
    """Masks for one batch, at random."""
    keys = jax.random.split(key, 2)
    return {
        "drop6": jax.random.bernoulli(keys[0], 0.5, (batch, 40)),
        "drop7": jax.random.bernoulli(keys[1], 0.5, (batch, 36)),
    }


def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of logits (N, 10) for labels (N), averaged over the batch."""
    log_likelihoods = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -log_likelihoods.mean()


def gradients(parameters: Parameters, x: jax.Array, labels: jax.Array, masks: Masks) -> tuple[jax.Array, Parameters]:
    """The loss of a batch, and its gradient in every parameter; weight decay is not in it."""

    def objective(changed: Parameters) -> jax.Array:
        return loss(forward(changed, x, masks=masks), labels)

    found: tuple[jax.Array, Parameters] = jax.value_and_grad(objective)(parameters)
    return found


def start(parameters: Parameters) -> Parameters:
    """The velocities before the first step: nothing moves yet."""
    velocities: Parameters = jax.tree.map(jnp.zeros_like, parameters)
    return velocities


def train_step(
    parameters: Parameters, velocities: Parameters, x: jax.Array, labels: jax.Array, rates: jax.Array, masks: Masks
) -> tuple[Parameters, Parameters, jax.Array]:
    """Parameters and velocities after a step on one batch, and the loss before it.

    `rates` (2): of weights, and of biases (`bias`).
    """
    value, slopes = gradients(parameters, x, labels, masks)

    def velocity(path: Path, w: jax.Array, v: jax.Array, g: jax.Array) -> jax.Array:
        if path[-1].key == "bias":
            return 0.9 * v - rates[1] * g
        return 0.9 * v - 0.0005 * rates[0] * w - rates[0] * g

    velocities = jax.tree.map_with_path(velocity, parameters, velocities, slopes)
    return jax.tree.map(jnp.add, parameters, velocities), velocities, value


def initialise(key: jax.Array) -> Parameters:
    """Parameters as training begins with them."""
    keys = jax.random.split(key, 8)
    return {
        "conv1": {
            "weight": 0.01 * jax.random.normal(keys[0], (8, 3, 11, 11)),
            "bias": jnp.zeros(8),
        },
        "conv2": {
            "weight": 0.01 * jax.random.normal(keys[1], (20, 4, 5, 5)),
            "bias": jnp.ones(20),
        },
        "conv3": {
            "weight": 0.01 * jax.random.normal(keys[2], (24, 20, 3, 3)),
            "bias": jnp.zeros(24),
        },
        "conv4": {
            "weight": 0.01 * jax.random.normal(keys[3], (28, 12, 3, 3)),
            "bias": jnp.ones(28),
        },
        "conv5": {
            "weight": 0.01 * jax.random.normal(keys[4], (12, 14, 3, 3)),
            "bias": jnp.ones(12),
        },
        "fc6": {
            "weight": 0.01 * jax.random.normal(keys[5], (40, 72)),
            "bias": jnp.ones(40),
        },
        "fc7": {
            "weight": 0.01 * jax.random.normal(keys[6], (36, 40)),
            "bias": jnp.ones(36),
        },
        "fc8": {
            "weight": 0.01 * jax.random.normal(keys[7], (10, 36)),
            "bias": jnp.zeros(10),
        },
    }


def save(parameters: Parameters) -> dict[str, jax.Array]:
    """What `load` read, by canonical names; velocities and gradients can be saved too."""
    return {f"{layer}.{name}": value for layer, named in parameters.items() for name, value in named.items()}


def predict(parameters: Parameters, images: jax.Array) -> jax.Array:
    """Probabilities (N, 10) of images (N, 3, H, W).

    Averaged over ten views of each: its corners and its centre, then their mirror images.
    """
    rows, columns = images.shape[2] - 135, images.shape[3] - 99
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = jnp.stack([images[:, :, top : top + 135, left : left + 99] for top, left in corners])
    views = jnp.concatenate([crops, crops[..., ::-1]])  # (10, N, 3, 135, 99)
    scores = lax.map(lambda view: forward(parameters, view), views)  # (10, N, 10)
    return jax.nn.softmax(scores).mean(axis=0)


def shift_colours(images: jax.Array, eigenvalues: jax.Array, eigenvectors: jax.Array, draws: jax.Array) -> jax.Array:
    """Images (N, 3, H, W) with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation 0.1.
    """
    shifts = (draws * eigenvalues) @ eigenvectors.T  # (N, 3)
    return images + shifts[:, :, None, None]
