"""A narrow AlexNet for quick tests, in TensorFlow, fast lowering.

Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

LAYOUT = "NHWC"

Masks = Mapping[str, tf.Tensor]  # of each dropout, by its name: the elements that training keeps
Tap = Callable[[str, tf.Tensor], tf.Tensor]


def no_tap(_name: str, value: tf.Tensor) -> tf.Tensor:
    """Leave every value as it is."""
    return value


def variables(
    tensors: Mapping[str, np.ndarray], layer: str, axes: tuple[int, ...] | None = None
) -> dict[str, tf.Variable]:
    """The tensors of one layer; the weight's axes are permuted from canonical layout."""
    own = {name.partition(".")[2]: value for name, value in tensors.items() if name.partition(".")[0] == layer}
    if axes is not None:
        own["weight"] = np.transpose(own["weight"], axes)
    return {name: tf.Variable(value, name=f"{layer}.{name}") for name, value in own.items()}


def conv(
    x: tf.Tensor, p: dict[str, tf.Variable], stride: tuple[int, int] = (1, 1), padding: str = "VALID"
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; its gradients are oneDNN's, as the padding has a name."""
    y = tf.nn.conv2d(x, p["weight"], stride, padding)
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


def grouped_conv(
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    groups: int,
    stride: tuple[int, int] = (1, 1),
    padding: str = "VALID",
) -> tf.Tensor:
    """Cross-correlation of each group by itself: on a CPU TensorFlow has no gradient of a grouped one."""
    towers = zip(tf.split(x, groups, axis=-1), tf.split(p["weight"], groups, axis=-1), strict=True)
    y = tf.concat([tf.nn.conv2d(tower, kernel, stride, padding) for tower, kernel in towers], axis=-1)
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


def dense(x: tf.Tensor, p: dict[str, tf.Variable]) -> tf.Tensor:
    """W·x + b as (W·xᵀ)ᵀ with W in its stored layout (out, in), which is quickest for few rows of x."""
    y = tf.transpose(tf.linalg.matmul(p["weight"], x, transpose_b=True))
    return y + p["bias"] if "bias" in p else y


def window_sum(x: tf.Tensor, n: int) -> tf.Tensor:
    """Sums over n neighbouring channels."""
    channels = x.shape[-1]
    wide = tf.pad(x, ((0, 0), (0, 0), (0, 0), (n // 2, n // 2)))
    return tf.add_n([wide[..., shift : shift + channels] for shift in range(n)])


def inverse_power(x: tf.Tensor, beta: float) -> tf.Tensor:
    """x^-beta; two roots are quicker at the paper's 3/4."""
    if beta == 0.75:
        root = tf.math.rsqrt(x)
        return root * tf.math.sqrt(root)
    return x**-beta


@tf.function(jit_compile=True)
def normalised(x: tf.Tensor, n: int, k: float, alpha: float, beta: float) -> tf.Tensor:
    """x_j · d_j^-beta with d = k + alpha · Σ x² over n neighbouring channels."""
    return x * inverse_power(k + alpha * window_sum(x * x, n), beta)


@tf.function(jit_compile=True)
def normalised_gradient(x: tf.Tensor, g: tf.Tensor, n: int, k: float, alpha: float, beta: float) -> tf.Tensor:
    """g_j · d_j^-beta - 2 · alpha · beta · x_j · Σ g_i · x_i · d_i^(-beta - 1) over the same channels."""
    denominator = k + alpha * window_sum(x * x, n)
    scale = inverse_power(denominator, beta)
    return g * scale - 2 * alpha * beta * x * window_sum(g * x * scale / denominator, n)


def local_response_norm(x: tf.Tensor, n: int, k: float, alpha: float, beta: float) -> tf.Tensor:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; XLA makes one pass of it each way."""

    @tf.custom_gradient
    def differentiable(x: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return normalised(x, n, k, alpha, beta), lambda g: normalised_gradient(x, g, n, k, alpha, beta)

    return differentiable(x)


class AlexNetNarrow(tf.Module):
    """(N, 135, 99, 3) → (N, 10)."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__(name="alexnet_narrow")
        # (11, 11, 3, 8)  the paper's layers, fewer channels
        self.conv1 = variables(tensors, "conv1", axes=(2, 3, 1, 0))
        self.conv2 = variables(tensors, "conv2", axes=(2, 3, 1, 0))  # (5, 5, 4, 20)  the paper's layers, fewer channels
        # (3, 3, 20, 24)  the paper's layers, fewer channels
        self.conv3 = variables(tensors, "conv3", axes=(2, 3, 1, 0))
        # (3, 3, 12, 28)  the paper's layers, fewer channels
        self.conv4 = variables(tensors, "conv4", axes=(2, 3, 1, 0))
        # (3, 3, 14, 12)  the paper's layers, fewer channels
        self.conv5 = variables(tensors, "conv5", axes=(2, 3, 1, 0))
        self.fc6 = variables(tensors, "fc6")  # (40, 72)  the paper's layers, fewer channels
        self.fc7 = variables(tensors, "fc7")  # (36, 40)  the paper's layers, fewer channels
        self.fc8 = variables(tensors, "fc8")  # (10, 36)  the paper's layers, fewer channels

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward(x)

    def forward(self, x: tf.Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> tf.Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        `masks` are those of a training step; without them the network is evaluated.
        """
        x = tap("conv1", conv(x, self.conv1, stride=(4, 4)))  # (N, 32, 23, 8)  the paper's layers, fewer channels
        x = tap("relu1", tf.nn.relu(x))  # (N, 32, 23, 8)  the paper's layers, fewer channels
        # (N, 32, 23, 8)  the paper's layers, fewer channels
        x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool1", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 15, 11, 8)  the paper's layers, fewer channels
        # (N, 15, 11, 20)  the paper's layers, fewer channels
        x = tap("conv2", grouped_conv(x, self.conv2, 2, padding="SAME"))
        x = tap("relu2", tf.nn.relu(x))  # (N, 15, 11, 20)  the paper's layers, fewer channels
        # (N, 15, 11, 20)  the paper's layers, fewer channels
        x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool2", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 7, 5, 20)  the paper's layers, fewer channels
        x = tap("conv3", conv(x, self.conv3, padding="SAME"))  # (N, 7, 5, 24)  the paper's layers, fewer channels
        x = tap("relu3", tf.nn.relu(x))  # (N, 7, 5, 24)  the paper's layers, fewer channels
        # (N, 7, 5, 28)  the paper's layers, fewer channels
        x = tap("conv4", grouped_conv(x, self.conv4, 2, padding="SAME"))
        x = tap("relu4", tf.nn.relu(x))  # (N, 7, 5, 28)  the paper's layers, fewer channels
        # (N, 7, 5, 12)  the paper's layers, fewer channels
        x = tap("conv5", grouped_conv(x, self.conv5, 2, padding="SAME"))
        x = tap("relu5", tf.nn.relu(x))  # (N, 7, 5, 12)  the paper's layers, fewer channels
        x = tap("pool5", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 3, 2, 12)  the paper's layers, fewer channels
        # (N, 72)  the paper's layers, fewer channels
        x = tap("flatten", tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 72)))
        x = tap("fc6", dense(x, self.fc6))  # (N, 40)  the paper's layers, fewer channels
        x = tap("relu6", tf.nn.relu(x))  # (N, 40)  the paper's layers, fewer channels
        # (N, 40)  the paper's layers, fewer channels
        x = tap("drop6", x * 0.5 if masks is None else tf.where(masks["drop6"], x, 0.0))
        x = tap("fc7", dense(x, self.fc7))  # (N, 36)  the paper's layers, fewer channels
        x = tap("relu7", tf.nn.relu(x))  # (N, 36)  the paper's layers, fewer channels
        # (N, 36)  the paper's layers, fewer channels
        x = tap("drop7", x * 0.5 if masks is None else tf.where(masks["drop7"], x, 0.0))
        return tap("fc8", dense(x, self.fc8))  # (N, 10)  the paper's layers, fewer channels


def load(tensors: Mapping[str, np.ndarray]) -> AlexNetNarrow:
    """A model that holds `tensors` (canonical names and layouts)."""
    return AlexNetNarrow(tensors)


def draw_masks(generator: tf.random.Generator, batch: int) -> dict[str, tf.Tensor]:
    """Masks for one batch, at random."""
    return {
        "drop6": generator.uniform((batch, 40)) < 0.5,
        "drop7": generator.uniform((batch, 36)) < 0.5,
    }


def initialise(generator: tf.random.Generator) -> AlexNetNarrow:
    """A model to train from the start; `generator` draws what is random."""
    return load(
        {
            "conv1.weight": generator.normal((8, 3, 11, 11), mean=0.0, stddev=0.01).numpy(),
            "conv1.bias": np.full(8, 0.0, np.float32),
            "conv2.weight": generator.normal((20, 4, 5, 5), mean=0.0, stddev=0.01).numpy(),
            "conv2.bias": np.full(20, 1.0, np.float32),
            "conv3.weight": generator.normal((24, 20, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv3.bias": np.full(24, 0.0, np.float32),
            "conv4.weight": generator.normal((28, 12, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv4.bias": np.full(28, 1.0, np.float32),
            "conv5.weight": generator.normal((12, 14, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv5.bias": np.full(12, 1.0, np.float32),
            "fc6.weight": generator.normal((40, 72), mean=0.0, stddev=0.01).numpy(),
            "fc6.bias": np.full(40, 1.0, np.float32),
            "fc7.weight": generator.normal((36, 40), mean=0.0, stddev=0.01).numpy(),
            "fc7.bias": np.full(36, 1.0, np.float32),
            "fc8.weight": generator.normal((10, 36), mean=0.0, stddev=0.01).numpy(),
            "fc8.bias": np.full(10, 0.0, np.float32),
        }
    )


def loss(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of logits (N, 10) for labels (N), averaged over the batch."""
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
    return tf.reduce_mean(each)


def parameters(model: AlexNetNarrow) -> dict[str, tf.Variable]:
    """What training changes, by canonical name."""
    return {variable.name.removesuffix(":0"): variable for variable in model.trainable_variables}


def gradients(
    model: AlexNetNarrow, x: tf.Tensor, labels: tf.Tensor, masks: Masks
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The loss of a batch, and its gradient in every parameter; weight decay is not in it."""
    with tf.GradientTape() as tape:
        value = loss(model.forward(x, masks=masks), labels)
    return value, tape.gradient(value, parameters(model))


def start(model: AlexNetNarrow, velocities: Mapping[str, np.ndarray] | None = None) -> dict[str, tf.Variable]:
    """The velocity of each parameter: as given, by canonical names and layouts, or nothing moves yet."""
    if velocities is not None:
        return parameters(load(velocities))
    return {name: tf.Variable(tf.zeros_like(w)) for name, w in parameters(model).items()}


@tf.function(jit_compile=True)
def update(
    model: AlexNetNarrow, velocities: Mapping[str, tf.Variable], slopes: Mapping[str, tf.Tensor], rates: tf.Tensor
) -> None:
    """Move every velocity and parameter, in place; `rates` (2) are those of weights and of biases."""
    for name, w in parameters(model).items():
        v, g = velocities[name], slopes[name]
        rate = rates[1] if name.endswith(".bias") else rates[0]
        decay = 0.0005 if name.endswith(".weight") else 0.0
        v.assign(0.9 * v - decay * rate * w - rate * g)
        w.assign_add(v)


def train_step(
    model: AlexNetNarrow,
    velocities: Mapping[str, tf.Variable],
    x: tf.Tensor,
    labels: tf.Tensor,
    rates: tf.Tensor,
    masks: Masks,
) -> tf.Tensor:
    """One step on a batch, in place; the loss before it. `rates` (2) are those of weights and of biases."""
    value, slopes = gradients(model, x, labels, masks)
    update(model, velocities, slopes, rates)
    return value


def canonical(values: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Parameters, gradients or velocities in canonical layout: kernels (O, I/groups, H, W), dense weights (out, in)."""
    axes = {4: (3, 2, 0, 1), 2: (0, 1), 1: (0,)}  # by rank
    return {name: value.numpy().transpose(axes[len(value.shape)]) for name, value in values.items()}


def save(model: AlexNetNarrow) -> dict[str, np.ndarray]:
    """All tensors by canonical names and layouts: the reverse of `load`."""
    return canonical({variable.name.removesuffix(":0"): variable for variable in model.variables})


def predict(model: AlexNetNarrow, images: tf.Tensor) -> tf.Tensor:
    """Probabilities (N, 10) of images (N, H, W, 3).

    Averaged over ten views of each image: four corners and the centre, then their mirror images.
    """
    rows, columns = images.shape[1] - 135, images.shape[2] - 99
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = tf.stack([images[:, top : top + 135, left : left + 99] for top, left in corners])
    views = tf.concat([crops, crops[..., ::-1, :]], axis=0)  # (10, N, 135, 99, 3)
    scores = tf.map_fn(model.forward, views)  # (10, N, 10)
    return tf.reduce_mean(tf.nn.softmax(scores), axis=0)


def shift_colours(images: tf.Tensor, eigenvalues: tf.Tensor, eigenvectors: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, 3) with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation 0.1.
    """
    shifts = tf.linalg.matmul(draws * eigenvalues, eigenvectors, transpose_b=True)  # (N, 3)
    return images + shifts[:, tf.newaxis, tf.newaxis]
