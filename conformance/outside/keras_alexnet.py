"""AlexNet as a user of Keras 3 writes it, by hand and without Lockstep: the paper's network, channels last."""

from typing import Any

import keras
from keras import layers, ops


class LocalResponseNorm(layers.Layer):
    """x / (2 + 1e-4 · Σ x²)^0.75 over five neighbouring channels, clipped at the ends (§3.3)."""

    def call(self, x: Any) -> Any:
        squares = ops.pad(ops.square(x), [[0, 0], [0, 0], [0, 0], [2, 2]])
        sums = sum(squares[..., shift : shift + x.shape[-1]] for shift in range(5))
        return x / ops.power(2.0 + 1e-4 * sums, 0.75)


def alexnet() -> keras.Sequential:
    """(N, 227, 227, 3) → (N, 1000) logits, evaluating: dropout multiplies by 0.5, as in 2012 (§4.2)."""
    return keras.Sequential(
        [
            keras.Input((227, 227, 3)),
            layers.Conv2D(96, 11, strides=4, name="conv1"),
            layers.ReLU(name="relu1"),
            LocalResponseNorm(name="norm1"),
            layers.MaxPooling2D(3, 2, name="pool1"),
            layers.Conv2D(256, 5, padding="same", groups=2, name="conv2"),
            layers.ReLU(name="relu2"),
            LocalResponseNorm(name="norm2"),
            layers.MaxPooling2D(3, 2, name="pool2"),
            layers.Conv2D(384, 3, padding="same", name="conv3"),
            layers.ReLU(name="relu3"),
            layers.Conv2D(384, 3, padding="same", groups=2, name="conv4"),
            layers.ReLU(name="relu4"),
            layers.Conv2D(256, 3, padding="same", groups=2, name="conv5"),
            layers.ReLU(name="relu5"),
            layers.MaxPooling2D(3, 2, name="pool5"),
            layers.Permute((3, 1, 2), name="channels_first"),
            layers.Flatten(name="flatten"),
            layers.Dense(4096, name="fc6"),
            layers.ReLU(name="relu6"),
            layers.Rescaling(0.5, name="drop6"),
            layers.Dense(4096, name="fc7"),
            layers.ReLU(name="relu7"),
            layers.Rescaling(0.5, name="drop7"),
            layers.Dense(1000, name="fc8"),
        ]
    )
