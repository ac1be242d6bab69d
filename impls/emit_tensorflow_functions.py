"""The functions that TensorFlow sources define for operators which take more than one call."""

#: By name; a source has those that it uses.
FUNCTIONS: dict[str, str] = {
    "conv": '''\
def conv(
    x: tf.Tensor,
    p: dict[str, tf.Variable],
    stride: tuple[int, int] = (1, 1),
    pads: Pads = ((0, 0), (0, 0)),
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; how many groups follows from the kernel's shape."""
    y = tf.nn.conv2d(x, p["weight"], stride, [(0, 0), *pads, (0, 0)])
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y

''',
    "grouped_conv": '''\
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

''',
    "dense": '''\
def dense(x: tf.Tensor, p: dict[str, tf.Variable]) -> tf.Tensor:
    """W·x + b as (W·xᵀ)ᵀ with W in its stored layout (out, in), which is quickest for few rows of x."""
    y = tf.transpose(tf.linalg.matmul(p["weight"], x, transpose_b=True))
    return y + p["bias"] if "bias" in p else y

''',
    "local_response_norm": '''\
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

''',
    "padded": '''\
def padded(x: tf.Tensor, pads: Pads, value: float = 0.0) -> tf.Tensor:
    """Add rows and columns of `value` around every image."""
    return tf.pad(x, ((0, 0), *pads, (0, 0)), constant_values=value)

''',
    "batch_norm": '''\
def batch_norm(x: tf.Tensor, p: dict[str, tf.Variable], epsilon: float) -> tf.Tensor:
    """Normalise every channel with its stored mean and variance."""
    return tf.nn.batch_normalization(x, p["mean"], p["variance"], p["shift"], p["scale"], epsilon)

''',
}

#: Those of the fast lowering that are others where gradients flow through them: TensorFlow hands the gradients of a
#: convolution to oneDNN only if its padding has a name, and XLA makes one pass of normalisation's gradient too.
DIFFERENTIATED: dict[str, str] = {
    "conv": '''\
def conv(
    x: tf.Tensor, p: dict[str, tf.Variable], stride: tuple[int, int] = (1, 1), padding: str = "VALID"
) -> tf.Tensor:
    """Cross-correlation, and the bias where there is one; its gradients are oneDNN's, as the padding has a name."""
    y = tf.nn.conv2d(x, p["weight"], stride, padding)
    return tf.nn.bias_add(y, p["bias"]) if "bias" in p else y

''',
    "grouped_conv": '''\
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

''',
    "local_response_norm": '''\
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

''',
}
