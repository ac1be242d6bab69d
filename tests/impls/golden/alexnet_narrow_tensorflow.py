"""A narrow AlexNet for quick tests, in TensorFlow.

Images are (N, H, W, C). Tensors are given in canonical layout, kernels (O, I/groups, H, W) and dense weights (out, in),
and stored as TensorFlow reads them: (H, W, I/groups, O) and (in, out). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
"""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

LAYOUT = "NHWC"

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
    return {name: tf.Variable(value, name=f"{layer}_{name}") for name, value in own.items()}


def conv(
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; how many groups follows from the kernel's shape."""
    y = tf.nn.conv2d(x, p["weight"], stride, [(0, 0), *pads, (0, 0)])
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


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
        self.fc6 = variables(tensors, "fc6", axes=(1, 0))  # (72, 40)  the paper's layers, fewer channels
        self.fc7 = variables(tensors, "fc7", axes=(1, 0))  # (40, 36)  the paper's layers, fewer channels
        self.fc8 = variables(tensors, "fc8", axes=(1, 0))  # (36, 10)  the paper's layers, fewer channels

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward(x)

    def forward(self, x: tf.Tensor, tap: Tap = no_tap) -> tf.Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next."""
        x = tap("conv1", conv(x, self.conv1, stride=(4, 4)))  # (N, 32, 23, 8)  the paper's layers, fewer channels
        x = tap("relu1", tf.nn.relu(x))  # (N, 32, 23, 8)  the paper's layers, fewer channels
        # (N, 32, 23, 8)  the paper's layers, fewer channels
        x = tap("norm1", tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool1", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 15, 11, 8)  the paper's layers, fewer channels
        # (N, 15, 11, 20)  the paper's layers, fewer channels
        x = tap("conv2", conv(x, self.conv2, pads=((2, 2), (2, 2))))
        x = tap("relu2", tf.nn.relu(x))  # (N, 15, 11, 20)  the paper's layers, fewer channels
        # (N, 15, 11, 20)  the paper's layers, fewer channels
        x = tap("norm2", tf.nn.local_response_normalization(x, depth_radius=2, bias=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool2", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 7, 5, 20)  the paper's layers, fewer channels
        # (N, 7, 5, 24)  the paper's layers, fewer channels
        x = tap("conv3", conv(x, self.conv3, pads=((1, 1), (1, 1))))
        x = tap("relu3", tf.nn.relu(x))  # (N, 7, 5, 24)  the paper's layers, fewer channels
        # (N, 7, 5, 28)  the paper's layers, fewer channels
        x = tap("conv4", conv(x, self.conv4, pads=((1, 1), (1, 1))))
        x = tap("relu4", tf.nn.relu(x))  # (N, 7, 5, 28)  the paper's layers, fewer channels
        # (N, 7, 5, 12)  the paper's layers, fewer channels
        x = tap("conv5", conv(x, self.conv5, pads=((1, 1), (1, 1))))
        x = tap("relu5", tf.nn.relu(x))  # (N, 7, 5, 12)  the paper's layers, fewer channels
        x = tap("pool5", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 3, 2, 12)  the paper's layers, fewer channels
        # (N, 72)  the paper's layers, fewer channels
        x = tap("flatten", tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 72)))
        # (N, 40)  the paper's layers, fewer channels
        x = tap("fc6", tf.linalg.matmul(x, self.fc6["weight"]) + self.fc6["bias"])
        x = tap("relu6", tf.nn.relu(x))  # (N, 40)  the paper's layers, fewer channels
        x = tap("drop6", x * 0.5)  # (N, 40)  the paper's layers, fewer channels
        # (N, 36)  the paper's layers, fewer channels
        x = tap("fc7", tf.linalg.matmul(x, self.fc7["weight"]) + self.fc7["bias"])
        x = tap("relu7", tf.nn.relu(x))  # (N, 36)  the paper's layers, fewer channels
        x = tap("drop7", x * 0.5)  # (N, 36)  the paper's layers, fewer channels
        # (N, 10)  the paper's layers, fewer channels
        return tap("fc8", tf.linalg.matmul(x, self.fc8["weight"]) + self.fc8["bias"])


def load(tensors: Mapping[str, np.ndarray]) -> AlexNetNarrow:
    """A model that holds `tensors` (canonical names and layouts)."""
    return AlexNetNarrow(tensors)
