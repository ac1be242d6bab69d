"""The functions that sources of JAX's fast lowering define for operators, with gradients of their own to train by."""


def functions(trains: bool) -> dict[str, str]:
    """Each function's text, by its name; where a source trains, with its gradient if JAX's own will not do."""
    if not trains:
        return FUNCTIONS
    found = FUNCTIONS | {"strided_conv": FUNCTIONS["strided_conv"].replace(*REMEMBERED)}
    for name, (of, rest, rules) in GRADIENTS.items():
        decorated = f"@partial(jax.custom_vjp, nondiff_argnums={rest})\ndef {of}("
        found[name] = f"{found[name].replace(f'def {of}(', decorated)}\n\n{rules}"
    return found


#: The functions that a source defines for operators which take more than one call, if it uses them.
FUNCTIONS: dict[str, str] = {
    "conv": '''\
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
''',
    "strided_conv": '''\
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

    y: jax.Array = lax.map(one, x)
    return y + p["bias"] if "bias" in p else y
''',
    "dense": '''\
def dense(x: jax.Array, p: dict[str, jax.Array]) -> jax.Array:
    """W·x + b with W in its stored layout (out, in), on the left: it is what XLA reads quickest."""
    y = (p["weight"] @ x.T).T
    return y + p["bias"] if "bias" in p else y
''',
    "local_response_norm": '''\
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


def local_response_norm(x: jax.Array, n: int, k: float, alpha: float, beta: float) -> jax.Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels; alpha multiplies the sum."""
    return x * inverse_power(k + alpha * neighbour_sums(x * x, n), beta)
''',
    "max_pool": '''\
def windows(x: jax.Array, axis: int, size: int, stride: int) -> list[jax.Array]:
    """The first elements of all windows along an axis, the second ones, and so on."""
    last = (x.shape[axis] - size) // stride * stride
    return [lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(size)]


def maxima(x: jax.Array, axis: int, size: int, stride: int) -> jax.Array:
    """Maximum over windows along one axis."""
    return reduce(jnp.maximum, windows(x, axis, size, stride))


def max_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Maximum over windows, first within each row, then over rows; padding never wins."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    return maxima(maxima(x, 2, kernel[1], stride[1]), 1, kernel[0], stride[0])
''',
    "sum_pool": '''\
def sum_pool(
    x: jax.Array, kernel: tuple[int, int], stride: tuple[int, int], pads: Pads = ((0, 0), (0, 0))
) -> jax.Array:
    """Sum over windows."""
    y: jax.Array = lax.reduce_window(x, 0.0, lax.add, (1, *kernel, 1), (1, *stride, 1), ((0, 0), *pads, (0, 0)))
    return y
''',
    "batch_norm": '''\
def batch_norm(x: jax.Array, p: dict[str, jax.Array], epsilon: float) -> jax.Array:
    """Normalise every channel with its stored mean and variance."""
    return (x - p["mean"]) * (p["scale"] * lax.rsqrt(p["variance"] + epsilon)) + p["shift"]
''',
}


#: Patches of all images at once are many times the images; made again on the way back, they stay in the cache.
REMEMBERED = ("lax.map(one, x)", "lax.map(jax.checkpoint(one), x)  # whose gradient makes the patches again")

#: By function: which of those that it consists of has a gradient of its own, which of that one's arguments are no
#: arrays, and the gradient. JAX would derive that of a kernel from all images at once, which takes twice as long at 64;
#: that of the normalisation from five slices, each with its roots; and that of a maximum would be shared by equal
#: elements.
GRADIENTS: dict[str, tuple[str, tuple[int, ...], str]] = {
    "conv": (
        "correlate",
        (2, 3),
        '''\
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
''',
    ),
    "local_response_norm": (
        "local_response_norm",
        (1, 2, 3, 4),
        '''\
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
''',
    ),
    "max_pool": (
        "maxima",
        (1, 2, 3),
        '''\
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
''',
    ),
}
