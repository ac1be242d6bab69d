"""AlexNet, the network of the paper, in TensorFlow.

Images are (N, H, W, C). Tensors are given in canonical layout, kernels (O, I/groups, H, W) and dense weights (out, in),
and stored as TensorFlow reads them: (H, W, I/groups, O) and (in, out). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

LAYOUT = "NHWC"

Masks = Mapping[str, tf.Tensor]  # of each dropout, by its name: the elements that training keeps
Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
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
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; how many groups follows from the kernel's shape."""
    y = tf.nn.conv2d(x, p["weight"], stride, [(0, 0), *pads, (0, 0)])
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


def grouped_conv(
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    groups: int,
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
) -> tf.Tensor:
    """Cross-correlation of each group by itself: on a CPU TensorFlow has no gradient of a grouped one."""
    towers = zip(tf.split(x, groups, axis=-1), tf.split(p["weight"], groups, axis=-1), strict=True)
    padding = [(0, 0), *pads, (0, 0)]
    y = tf.concat([tf.nn.conv2d(tower, kernel, stride, padding) for tower, kernel in towers], axis=-1)
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


class AlexNet(tf.Module):
    """(N, 227, 227, 3) → (N, 1000)."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__(name="alexnet")
        self.conv1 = variables(tensors, "conv1", axes=(2, 3, 1, 0))  # (11, 11, 3, 96)  §3.5
        self.conv2 = variables(tensors, "conv2", axes=(2, 3, 1, 0))  # (5, 5, 48, 256)  §3.5
        self.conv3 = variables(tensors, "conv3", axes=(2, 3, 1, 0))  # (3, 3, 256, 384)  §3.5
        self.conv4 = variables(tensors, "conv4", axes=(2, 3, 1, 0))  # (3, 3, 192, 384)  §3.5
        self.conv5 = variables(tensors, "conv5", axes=(2, 3, 1, 0))  # (3, 3, 192, 256)  §3.5
        self.fc6 = variables(tensors, "fc6", axes=(1, 0))  # (9216, 4096)  §3.5
        self.fc7 = variables(tensors, "fc7", axes=(1, 0))  # (4096, 4096)  §3.5
        self.fc8 = variables(tensors, "fc8", axes=(1, 0))  # (4096, 1000)  §3.5

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward(x)

    def forward(self, x: tf.Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> tf.Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        `masks` are those of a training step; without them the network is evaluated.
        """
        x = tap("conv1", conv(x, self.conv1, stride=(4, 4)))  # (N, 55, 55, 96)  §3.5
        x = tap("relu1", tf.nn.relu(x))  # (N, 55, 55, 96)  §3.1
        # (N, 55, 55, 96)  §3.3
        x = tap("norm1", tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool1", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 27, 27, 96)  §3.4
        x = tap("conv2", grouped_conv(x, self.conv2, 2, pads=((2, 2), (2, 2))))  # (N, 27, 27, 256)  §3.5
        x = tap("relu2", tf.nn.relu(x))  # (N, 27, 27, 256)  §3.1
        # (N, 27, 27, 256)  §3.3
        x = tap("norm2", tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool2", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 13, 13, 256)  §3.4
        x = tap("conv3", conv(x, self.conv3, pads=((1, 1), (1, 1))))  # (N, 13, 13, 384)  §3.5
        x = tap("relu3", tf.nn.relu(x))  # (N, 13, 13, 384)  §3.1
        x = tap("conv4", grouped_conv(x, self.conv4, 2, pads=((1, 1), (1, 1))))  # (N, 13, 13, 384)  §3.5
        x = tap("relu4", tf.nn.relu(x))  # (N, 13, 13, 384)  §3.1
        x = tap("conv5", grouped_conv(x, self.conv5, 2, pads=((1, 1), (1, 1))))  # (N, 13, 13, 256)  §3.5
        x = tap("relu5", tf.nn.relu(x))  # (N, 13, 13, 256)  §3.1
        x = tap("pool5", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 6, 6, 256)  §3.4
        x = tap("flatten", tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 9216)))  # (N, 9216)  §3.5
        x = tap("fc6", tf.linalg.matmul(x, self.fc6["weight"]) + self.fc6["bias"])  # (N, 4096)  §3.5
        x = tap("relu6", tf.nn.relu(x))  # (N, 4096)  §3.1
        x = tap("drop6", x * 0.5 if masks is None else tf.where(masks["drop6"], x, 0.0))  # (N, 4096)  §4.2
        x = tap("fc7", tf.linalg.matmul(x, self.fc7["weight"]) + self.fc7["bias"])  # (N, 4096)  §3.5
        x = tap("relu7", tf.nn.relu(x))  # (N, 4096)  §3.1
        x = tap("drop7", x * 0.5 if masks is None else tf.where(masks["drop7"], x, 0.0))  # (N, 4096)  §4.2
        return tap("fc8", tf.linalg.matmul(x, self.fc8["weight"]) + self.fc8["bias"])  # (N, 1000)  §3.5


def load(tensors: Mapping[str, np.ndarray]) -> AlexNet:
    """A model that holds `tensors` (canonical names and layouts)."""
    return AlexNet(tensors)


def draw_masks(generator: tf.random.Generator, batch: int) -> dict[str, tf.Tensor]:
    """Masks for one batch, at random."""
    return {
        "drop6": generator.uniform((batch, 4096)) < 0.5,
        "drop7": generator.uniform((batch, 4096)) < 0.5,
    }


def initialise(generator: tf.random.Generator) -> AlexNet:
    """A model to train from the start; `generator` draws what is random."""
    return load(
        {
            "conv1.weight": generator.normal((96, 3, 11, 11), mean=0.0, stddev=0.01).numpy(),
            "conv1.bias": np.full(96, 0.0, np.float32),
            "conv2.weight": generator.normal((256, 48, 5, 5), mean=0.0, stddev=0.01).numpy(),
            "conv2.bias": np.full(256, 1.0, np.float32),
            "conv3.weight": generator.normal((384, 256, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv3.bias": np.full(384, 0.0, np.float32),
            "conv4.weight": generator.normal((384, 192, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv4.bias": np.full(384, 1.0, np.float32),
            "conv5.weight": generator.normal((256, 192, 3, 3), mean=0.0, stddev=0.01).numpy(),
            "conv5.bias": np.full(256, 1.0, np.float32),
            "fc6.weight": generator.normal((4096, 9216), mean=0.0, stddev=0.01).numpy(),
            "fc6.bias": np.full(4096, 1.0, np.float32),
            "fc7.weight": generator.normal((4096, 4096), mean=0.0, stddev=0.01).numpy(),
            "fc7.bias": np.full(4096, 1.0, np.float32),
            "fc8.weight": generator.normal((1000, 4096), mean=0.0, stddev=0.01).numpy(),
            "fc8.bias": np.full(1000, 0.0, np.float32),
        }
    )


def loss(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of logits (N, 1000) for labels (N), averaged over the batch."""
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
    return tf.reduce_mean(each)


def parameters(model: AlexNet) -> dict[str, tf.Variable]:
    """What training changes, by canonical name."""
    return {variable.name.removesuffix(":0"): variable for variable in model.trainable_variables}


def gradients(model: AlexNet, x: tf.Tensor, labels: tf.Tensor, masks: Masks) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """The loss of a batch, and its gradient in every parameter; weight decay is not in it."""
    with tf.GradientTape() as tape:
        value = loss(model.forward(x, masks=masks), labels)
    return value, tape.gradient(value, parameters(model))


def start(model: AlexNet, velocities: Mapping[str, np.ndarray] | None = None) -> dict[str, tf.Variable]:
    """The velocity of each parameter: as given, by canonical names and layouts, or nothing moves yet."""
    if velocities is not None:
        return parameters(load(velocities))
    return {name: tf.Variable(tf.zeros_like(w)) for name, w in parameters(model).items()}


def update(
    model: AlexNet, velocities: Mapping[str, tf.Variable], slopes: Mapping[str, tf.Tensor], rates: tf.Tensor
) -> None:
    """Move every velocity and parameter, in place; `rates` (2) are those of weights and of biases."""
    for name, w in parameters(model).items():
        v, g = velocities[name], slopes[name]
        rate = rates[1] if name.endswith(".bias") else rates[0]
        decay = 0.0005 if name.endswith(".weight") else 0.0
        v.assign(0.9 * v - decay * rate * w - rate * g)
        w.assign_add(v)


def train_step(
    model: AlexNet,
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
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}  # by rank
    return {name: value.numpy().transpose(axes[len(value.shape)]) for name, value in values.items()}


def save(model: AlexNet) -> dict[str, np.ndarray]:
    """All tensors by canonical names and layouts: the reverse of `load`."""
    return canonical({variable.name.removesuffix(":0"): variable for variable in model.variables})


def predict(model: AlexNet, images: tf.Tensor) -> tf.Tensor:
    """Probabilities (N, 1000) of images (N, H, W, 3).

    Averaged over ten views of each image: four corners and the centre, then their mirror images.
    """
    rows, columns = images.shape[1] - 227, images.shape[2] - 227
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = tf.stack([images[:, top : top + 227, left : left + 227] for top, left in corners])
    views = tf.concat([crops, crops[..., ::-1, :]], axis=0)  # (10, N, 227, 227, 3)
    scores = tf.map_fn(model.forward, views)  # (10, N, 1000)
    return tf.reduce_mean(tf.nn.softmax(scores), axis=0)


def shift_colours(images: tf.Tensor, eigenvalues: tf.Tensor, eigenvectors: tf.Tensor, draws: tf.Tensor) -> tf.Tensor:
    """Images (N, H, W, 3) with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation 0.1.
    """
    shifts = tf.linalg.matmul(draws * eigenvalues, eigenvectors, transpose_b=True)  # (N, 3)
    return images + shifts[:, tf.newaxis, tf.newaxis]
