"""TensorFlow 2.21 on a CPU with AVX-512: a convolution of one channel with one column of output is wrong.

With ONEDNN_MAX_CPU_ISA=AVX2, or one image, or a stride of (1, 1), it is right. Ends with exit code 1 where it is wrong.
"""

import numpy as np
import tensorflow as tf

random = np.random.default_rng(0)
x = random.standard_normal((2, 3, 3, 1), np.float32)
kernel = random.standard_normal((2, 2, 1, 1), np.float32)

actual = tf.nn.conv2d(x, kernel, strides=(1, 2), padding="VALID").numpy()

windows = np.lib.stride_tricks.sliding_window_view(x[..., 0], (2, 2), (1, 2))[:, :, ::2].astype(np.float64)
expected = (windows * kernel[..., 0, 0]).sum(axis=(3, 4))[..., None]
if not np.abs(actual - expected).max() <= 1e-5:
    raise SystemExit(f"TensorFlow {tf.__version__}: expected {expected.ravel()}, found {actual.ravel()}")
