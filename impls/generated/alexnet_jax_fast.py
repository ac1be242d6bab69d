"""AlexNet, the network of the paper, in JAX, fast lowering.

Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
"""

from collections.abc import Callable
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax import lax

LAYOUT = "NHWC"

Parameters = dict[str, dict[str, jax.Array]]
Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
Tap = Callable[[str, jax.Array], jax.Array]
Masks = dict[str, jax.Array]  # of each dropout, by its name: the elements that training keeps
Path = tuple[jax.tree_util.DictKey, ...]  # of a parameter: its layer, and what it is there


def no_tap(_name: str, value: jax.Array) -> jax.Array:
    """Leave every value as it is."""
    return value


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
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


def correlate_forward(
    x: jax.Array, kernel: jax.Array, stride: tuple[int, int], pads: Pads
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The correlation, and what the gradients read."""
    return correlate(x, kernel, stride, pads), (x, kernel)


def correlate_backward(
    stride: tuple[int, int], pads: Pads, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The kernel's gradient is added up from a few images at a time, which stay in the cache."""
    x, kernel = saved

    def of(images: jax.Array, g: jax.Array) -> jax.Array:
        gradient: jax.Array = jax.vjp(lambda w: correlate.fun(images, w, stride, pads), kernel)[1](g)[0]
        return gradient

    some = [slice(first, first + 16) for first in range(0, len(x), 16)]
    to_x: jax.Array = jax.vjp(lambda x: correlate.fun(x, kernel, stride, pads), x)[1](g)[0]
    return to_x, reduce(jnp.add, [of(x[images], g[images]) for images in some])


correlate.defvjp(correlate_forward, correlate_backward)


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

    y: jax.Array = lax.map(jax.checkpoint(one), x)  # whose gradient makes the patches again
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


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    return x * inverse_power(k + alpha * neighbour_sums(x * x, n), beta)


def local_response_norm_forward(
    x: jax.Array, n: int, k: float, alpha: float, beta: float
) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The normalised x, and what the gradient reads."""
    denominator = k + alpha * neighbour_sums(x * x, n)
    y = x * inverse_power(denominator, beta)
    return y, (x, y, denominator)


def local_response_norm_backward(
    n: int, _k: float, alpha: float, beta: float, saved: tuple[jax.Array, ...], g: jax.Array
) -> tuple[jax.Array]:
    """To x_j goes g_j · d_j^-beta - 2 · alpha · beta · x_j · Σ g_i · y_i / d_i, with d = k + alpha · Σ x²."""
    x, y, denominator = saved
    others = neighbour_sums(g * y / denominator, n)
    return (g * inverse_power(denominator, beta) - 2 * alpha * beta * x * others,)


local_response_norm.defvjp(local_response_norm_forward, local_response_norm_backward)


def windows(x: jax.Array, axis: int, size: int, stride: int) -> list[jax.Array]:
    """The first elements of all windows along an axis, the second ones, and so on."""
    last = (x.shape[axis] - size) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(size)]


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def maxima(x: jax.Array, axis: int, size: int, stride: int) -> jax.Array:
    """Maximum over windows along one axis."""
    return reduce(jnp.maximum, windows(x, axis, size, stride))


def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows, first within each row, then over rows; padding never wins."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    return maxima(maxima(x, 2, kernel[1], stride[1]), 1, kernel[0], stride[0])


def maxima_forward(x: jax.Array, axis: int, size: int, stride: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    """The maxima, and what the gradient reads."""
    y = maxima(x, axis, size, stride)
    return y, (x, y)


def maxima_backward(
    axis: int, size: int, stride: int, saved: tuple[jax.Array, jax.Array], g: jax.Array
) -> tuple[jax.Array]:
    """The gradient of each window goes to its first largest element."""
    x, y = saved
    none_before, shares = jnp.ones(y.shape, bool), []
    for element in windows(x, axis, size, stride):
        shares.append(jnp.where(none_before & (element == y), g, 0))
        none_before &= element != y
    blocks = -(-x.shape[axis] // stride)  # of as many elements as a window moves on by

    def moved(share: jax.Array, by: int) -> jax.Array:
        pads = [(0, 0)] * x.ndim
        pads[axis] = (by, blocks - by - y.shape[axis])
        return jnp.pad(share, pads)

    nothing = moved(jnp.zeros_like(g), 0)
    places = [reduce(jnp.add, map(moved, shares[i::stride], range(size)), nothing) for i in range(stride)]
    shape = (*x.shape[:axis], blocks * stride, *x.shape[axis + 1 :])
    return (lax.slice_in_dim(jnp.stack(places, axis + 1).reshape(shape), 0, x.shape[axis], axis=axis),)


maxima.defvjp(maxima_forward, maxima_backward)


def forward(parameters: Parameters, x: jax.Array, tap: Tap = no_tap, masks: Masks | None = None) -> jax.Array:
    """(N, 227, 227, 3) → (N, 1000).

    `tap` sees every operator's output, and what it returns is read next. `masks` are those of a training step;
    without them the network is evaluated.
    """
    p = parameters
    x = tap("conv1", strided_conv(x, p["conv1"], stride=(4, 4)))  # (N, 55, 55, 96)  §3.5
    x = tap("relu1", jax.nn.relu(x))  # (N, 55, 55, 96)  §3.1
    x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 55, 55, 96)  §3.3
    x = tap("pool1", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 27, 27, 96)  §3.4
    x = tap("conv2", conv(x, p["conv2"], pads=((2, 2), (2, 2)), groups=2))  # (N, 27, 27, 256)  §3.5
    x = tap("relu2", jax.nn.relu(x))  # (N, 27, 27, 256)  §3.1
    x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 27, 27, 256)  §3.3
    x = tap("pool2", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 13, 13, 256)  §3.4
    x = tap("conv3", conv(x, p["conv3"], pads=((1, 1), (1, 1))))  # (N, 13, 13, 384)  §3.5
    x = tap("relu3", jax.nn.relu(x))  # (N, 13, 13, 384)  §3.1
    x = tap("conv4", conv(x, p["conv4"], pads=((1, 1), (1, 1)), groups=2))  # (N, 13, 13, 384)  §3.5
    x = tap("relu4", jax.nn.relu(x))  # (N, 13, 13, 384)  §3.1
    x = tap("conv5", conv(x, p["conv5"], pads=((1, 1), (1, 1)), groups=2))  # (N, 13, 13, 256)  §3.5
    x = tap("relu5", jax.nn.relu(x))  # (N, 13, 13, 256)  §3.1
    x = tap("pool5", max_pool(x, kernel=(3, 3), stride=(2, 2)))  # (N, 6, 6, 256)  §3.4
    x = tap("flatten", x.transpose(0, 3, 1, 2).reshape(len(x), -1))  # (N, 9216)  §3.5
    x = tap("fc6", dense(x, p["fc6"]))  # (N, 4096)  §3.5
    x = tap("relu6", jax.nn.relu(x))  # (N, 4096)  §3.1
    x = tap("drop6", x * (0.5 if masks is None else masks["drop6"]))  # (N, 4096)  §4.2
    x = tap("fc7", dense(x, p["fc7"]))  # (N, 4096)  §3.5
    x = tap("relu7", jax.nn.relu(x))  # (N, 4096)  §3.1
    x = tap("drop7", x * (0.5 if masks is None else masks["drop7"]))  # (N, 4096)  §4.2
    return tap("fc8", dense(x, p["fc8"]))  # (N, 1000)  §3.5


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
        "drop6": jax.random.bernoulli(keys[0], 0.5, (batch, 4096)),
        "drop7": jax.random.bernoulli(keys[1], 0.5, (batch, 4096)),
    }


def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of logits (N, 1000) for labels (N), averaged over the batch."""
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
            "weight": 0.01 * jax.random.normal(keys[0], (11, 11, 3, 96)),
            "bias": jnp.zeros(96),
        },
        "conv2": {
            "weight": 0.01 * jax.random.normal(keys[1], (5, 5, 48, 256)),
            "bias": jnp.ones(256),
        },
        "conv3": {
            "weight": 0.01 * jax.random.normal(keys[2], (3, 3, 256, 384)),
            "bias": jnp.zeros(384),
        },
        "conv4": {
            "weight": 0.01 * jax.random.normal(keys[3], (3, 3, 192, 384)),
            "bias": jnp.ones(384),
        },
        "conv5": {
            "weight": 0.01 * jax.random.normal(keys[4], (3, 3, 192, 256)),
            "bias": jnp.ones(256),
        },
        "fc6": {
            "weight": 0.01 * jax.random.normal(keys[5], (4096, 9216)),
            "bias": jnp.ones(4096),
        },
        "fc7": {
            "weight": 0.01 * jax.random.normal(keys[6], (4096, 4096)),
            "bias": jnp.ones(4096),
        },
        "fc8": {
            "weight": 0.01 * jax.random.normal(keys[7], (1000, 4096)),
            "bias": jnp.zeros(1000),
        },
    }


def save(parameters: Parameters) -> dict[str, jax.Array]:
    """What `load` read, by canonical names and in canonical layouts; velocities and gradients can be saved too."""
    return {
        f"{layer}.{name}": jnp.transpose(value, (3, 2, 0, 1)) if value.ndim == 4 else value
        for layer, named in parameters.items()
        for name, value in named.items()
    }


def predict(parameters: Parameters, images: jax.Array) -> jax.Array:
    """Probabilities (N, 1000) of images (N, H, W, 3).

    Averaged over ten views of each: its corners and its centre, then their mirror images.
    """
    rows, columns = images.shape[1] - 227, images.shape[2] - 227
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = jnp.stack([images[:, top : top + 227, left : left + 227] for top, left in corners])
    views = jnp.concatenate([crops, crops[..., ::-1, :]])  # (10, N, 227, 227, 3)
    scores = lax.map(lambda view: forward(parameters, view), views)  # (10, N, 1000)
    return jax.nn.softmax(scores).mean(axis=0)


def shift_colours(images: jax.Array, eigenvalues: jax.Array, eigenvectors: jax.Array, draws: jax.Array) -> jax.Array:
    """Images (N, H, W, 3) with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation 0.1.
    """
    shifts = (draws * eigenvalues) @ eigenvectors.T  # (N, 3)
    return images + shifts[:, None, None]
