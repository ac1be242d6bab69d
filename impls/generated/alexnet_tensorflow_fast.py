"""AlexNet, the network of the paper, in TensorFlow, fast lowering.

Images are (N, H, W, C). Tensors are given in canonical layout; kernels are stored as (H, W, I/groups, O), dense weights
as they are, (out, in). Features are flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
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


def dense(x: tf.Tensor, p: dict[str, tf.Variable]) -> tf.Tensor:
    """W·x + b as (W·xᵀ)ᵀ with W in its stored layout (out, in), which is quickest for few rows of x."""
    y = tf.transpose(tf.linalg.matmul(p["weight"], x, transpose_b=True))
    return y + p["bias"] if "bias" in p else y


@tf.function(jit_compile=True)
def local_response_norm(x: tf.Tensor, n: int, k: float, alpha: float, beta: float) -> tf.Tensor:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; XLA makes one pass of it."""
    channels = x.shape[-1]
    squares = tf.pad(x * x, ((0, 0), (0, 0), (0, 0), (n // 2, n // 2)))
    denominator = k + alpha * tf.add_n([squares[..., shift : shift + channels] for shift in range(n)])
    if beta == 0.75:
        root = tf.math.rsqrt(denominator)
        return x * (root * tf.math.sqrt(root))
    return x * denominator**-beta


class AlexNet(tf.Module):
    """(N, 227, 227, 3) → (N, 1000)."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__(name="alexnet")
        self.conv1 = variables(tensors, "conv1", axes=(2, 3, 1, 0))  # (11, 11, 3, 96)  §3.5
        self.conv2 = variables(tensors, "conv2", axes=(2, 3, 1, 0))  # (5, 5, 48, 256)  §3.5
        self.conv3 = variables(tensors, "conv3", axes=(2, 3, 1, 0))  # (3, 3, 256, 384)  §3.5
        self.conv4 = variables(tensors, "conv4", axes=(2, 3, 1, 0))  # (3, 3, 192, 384)  §3.5
        self.conv5 = variables(tensors, "conv5", axes=(2, 3, 1, 0))  # (3, 3, 192, 256)  §3.5
        self.fc6 = variables(tensors, "fc6")  # (4096, 9216)  §3.5
        self.fc7 = variables(tensors, "fc7")  # (4096, 4096)  §3.5
        self.fc8 = variables(tensors, "fc8")  # (1000, 4096)  §3.5

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward(x)

    def forward(self, x: tf.Tensor, tap: Tap = no_tap) -> tf.Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next."""
        x = tap("conv1", conv(x, self.conv1, stride=(4, 4)))  # (N, 55, 55, 96)  §3.5
        x = tap("relu1", tf.nn.relu(x))  # (N, 55, 55, 96)  §3.1
        x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 55, 55, 96)  §3.3
        x = tap("pool1", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 27, 27, 96)  §3.4
        x = tap("conv2", conv(x, self.conv2, pads=((2, 2), (2, 2))))  # (N, 27, 27, 256)  §3.5
        x = tap("relu2", tf.nn.relu(x))  # (N, 27, 27, 256)  §3.1
        x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 27, 27, 256)  §3.3
        x = tap("pool2", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 13, 13, 256)  §3.4
        x = tap("conv3", conv(x, self.conv3, pads=((1, 1), (1, 1))))  # (N, 13, 13, 384)  §3.5
        x = tap("relu3", tf.nn.relu(x))  # (N, 13, 13, 384)  §3.1
        x = tap("conv4", conv(x, self.conv4, pads=((1, 1), (1, 1))))  # (N, 13, 13, 384)  §3.5
        x = tap("relu4", tf.nn.relu(x))  # (N, 13, 13, 384)  §3.1
        x = tap("conv5", conv(x, self.conv5, pads=((1, 1), (1, 1))))  # (N, 13, 13, 256)  §3.5
        x = tap("relu5", tf.nn.relu(x))  # (N, 13, 13, 256)  §3.1
        x = tap("pool5", tf.nn.max_pool2d(x, 3, 2, "VALID"))  # (N, 6, 6, 256)  §3.4
        x = tap("flatten", tf.reshape(tf.transpose(x, (0, 3, 1, 2)), (-1, 9216)))  # (N, 9216)  §3.5
        x = tap("fc6", dense(x, self.fc6))  # (N, 4096)  §3.5
        x = tap("relu6", tf.nn.relu(x))  # (N, 4096)  §3.1
        x = tap("drop6", x * 0.5)  # (N, 4096)  §4.2
        x = tap("fc7", dense(x, self.fc7))  # (N, 4096)  §3.5
        x = tap("relu7", tf.nn.relu(x))  # (N, 4096)  §3.1
        x = tap("drop7", x * 0.5)  # (N, 4096)  §4.2
        return tap("fc8", dense(x, self.fc8))  # (N, 1000)  §3.5


def load(tensors: Mapping[str, np.ndarray]) -> AlexNet:
    """A model that holds `tensors` (canonical names and layouts)."""
    return AlexNet(tensors)
