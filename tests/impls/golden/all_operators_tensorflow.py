"""Every operator once, with odd pads, groups, branches and both ways of rounding, in TensorFlow.

Images are (N, H, W, C). Tensors are given in canonical layout, kernels (O, I/groups, H, W) and dense weights (out, in),
and stored as TensorFlow reads them: (H, W, I/groups, O) and (in, out). Features are flattened channel first.

DO NOT EDIT. Generated from the spec of all_operators, sha256 5bfc5b4fae0890e2.
Generate it again with: python -m impls.generate all_operators
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
    return {
        name: tf.Variable(value, name=f"{layer}.{name}", trainable=name not in ("mean", "variance"))
        for name, value in own.items()
    }


def conv(
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; how many groups follows from the kernel's shape."""
    y = tf.nn.conv2d(x, p["weight"], stride, [(0, 0), *pads, (0, 0)])
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y


def padded(x: tf.Tensor, pads: Pads, value: float = 0.0) -> tf.Tensor:
    """Add rows and columns of `value` around every image."""
    return tf.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)


def batch_norm(x: tf.Tensor, p: dict[str, tf.Variable], epsilon: float) -> tf.Tensor:
    """Normalise every channel with its stored mean and variance."""
    return tf.nn.batch_normalization(x, p["mean"], p["variance"], p["shift"], p["scale"], epsilon)


class AllOperators(tf.Module):
    """(N, 17, 13, 6) → (N, 11)."""

    def __init__(self, tensors: Mapping[str, np.ndarray]) -> None:
        super().__init__(name="all_operators")
        self.conv1 = variables(tensors, "conv1", axes=(2, 3, 1, 0))  # (3, 5, 3, 8)
        self.bn1 = variables(tensors, "bn1")  # (8,)
        self.conv2 = variables(tensors, "conv2", axes=(2, 3, 1, 0))  # (3, 3, 8, 8)
        self.fc = variables(tensors, "fc", axes=(1, 0))  # (72, 11)

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return self.forward(x)

    def forward(self, x: tf.Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> tf.Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        `masks` are those of a training step; without them the network is evaluated.
        """
        conv1 = tap("conv1", conv(x, self.conv1, stride=(2, 1), pads=((1, 0), (2, 1))))  # (N, 8, 12, 8)
        bn1 = tap("bn1", batch_norm(conv1, self.bn1, epsilon=1e-05))  # (N, 8, 12, 8)
        tanh1 = tap("tanh1", tf.math.tanh(bn1))  # (N, 8, 12, 8)
        conv2 = tap("conv2", conv(bn1, self.conv2, pads=((1, 1), (1, 1))))  # (N, 8, 12, 8)
        sum1 = tap("sum1", tanh1 + conv2 + bn1)  # (N, 8, 12, 8)
        relu1 = tap("relu1", tf.nn.relu(sum1))  # (N, 8, 12, 8)
        towers = tf.split(relu1, 2, axis=-1)
        towers = [tf.nn.local_response_normalization(t, depth_radius=2, bias=1.0, alpha=0.02, beta=0.5) for t in towers]
        norm1 = tap("norm1", tf.concat(towers, axis=-1))  # (N, 8, 12, 8)
        # (N, 4, 6, 8)
        pool_a = tap("pool_a", tf.nn.max_pool2d(padded(norm1, ((0, 2), (1, 0)), -np.inf), 3, 2, "VALID"))
        counted = tf.nn.avg_pool2d(padded(tf.ones((1, 9, 12, 1)), ((0, 0), (0, 1))), 3, 2, "VALID")
        # (N, 4, 6, 8)
        pool_b = tap("pool_b", tf.nn.avg_pool2d(padded(norm1, ((1, 0), (0, 1))), 3, 2, "VALID") / counted)
        counted = tf.nn.avg_pool2d(padded(tf.ones((1, 8, 12, 1)), ((1, 0), (0, 1))), 3, 2, "VALID")
        # (N, 4, 6, 8)
        pool_c = tap("pool_c", tf.nn.avg_pool2d(padded(norm1, ((1, 0), (0, 1))), 3, 2, "VALID") / counted)
        join = tap("join", tf.concat([pool_a, pool_b, pool_c], axis=-1))  # (N, 4, 6, 24)
        counted = tf.nn.avg_pool2d(padded(tf.ones((1, 6, 8, 1)), ((0, 1), (0, 1))), 3, 2, "VALID")
        # (N, 3, 4, 24)
        pool_d = tap("pool_d", tf.nn.avg_pool2d(padded(join, ((1, 2), (1, 2))), 3, 2, "VALID") / counted)
        counted = tf.nn.avg_pool2d(padded(tf.ones((1, 3, 4, 1)), ((1, 1), (1, 1))), 3, 2, "VALID")
        # (N, 2, 2, 24)
        pool_e = tap("pool_e", tf.nn.avg_pool2d(padded(pool_d, ((1, 1), (1, 1))), 3, 2, "VALID") / counted)
        # (N, 2, 2, 24)
        pool_f = tap("pool_f", tf.nn.max_pool2d(padded(pool_d, ((0, 1), (0, 0)), -np.inf), 2, 2, "VALID"))
        sum2 = tap("sum2", pool_e + pool_f)  # (N, 2, 2, 24)
        pool_g = tap("pool_g", tf.nn.avg_pool2d(sum2, (2, 1), 1, "VALID"))  # (N, 1, 2, 24)
        flat = tap("flat", tf.reshape(tf.transpose(pool_g, (0, 3, 1, 2)), (-1, 48)))  # (N, 48)
        gap = tap("gap", tf.reduce_mean(join, axis=(1, 2), keepdims=True))  # (N, 1, 1, 24)
        flat2 = tap("flat2", tf.reshape(tf.transpose(gap, (0, 3, 1, 2)), (-1, 24)))  # (N, 24)
        both = tap("both", tf.concat([flat, flat2], axis=-1))  # (N, 72)
        fc = tap("fc", tf.linalg.matmul(both, self.fc["weight"]))  # (N, 11)
        drop_a = tap("drop_a", fc * 0.7 if masks is None else tf.where(masks["drop_a"], fc, 0.0))  # (N, 11)
        drop_b = tap("drop_b", drop_a if masks is None else tf.where(masks["drop_b"], drop_a / 0.7, 0.0))  # (N, 11)
        return tap("prob", tf.nn.softmax(drop_b))  # (N, 11)


def load(tensors: Mapping[str, np.ndarray]) -> AllOperators:
    """A model that holds `tensors` (canonical names and layouts)."""
    return AllOperators(tensors)


def draw_masks(generator: tf.random.Generator, batch: int) -> dict[str, tf.Tensor]:
    """Masks for one batch, at random."""
    return {
        "drop_a": generator.uniform((batch, 11)) < 0.7,
        "drop_b": generator.uniform((batch, 11)) < 0.7,
    }
