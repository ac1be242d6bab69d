"""Planted faults: every field of every operator at a wrong value, and every operator of a wrong kind."""

from collections.abc import Callable

from conformance.oracle import Array
from conformance.power.fault import OPERATORS, Fault, both, operator, tensor, without
from spec.network import Network
from spec.operators import AvgPool, MaxPool


def _pool_before_norm(network: Network) -> Network:
    swapped = {"norm1": ("pool1",), "pool1": ("relu1",), "conv2": ("norm1",)}
    graph = [
        operator.model_copy(update={"inputs": swapped.get(operator.name, operator.inputs)})
        for operator in network.graph
    ]
    place = {operator.name: index for index, operator in enumerate(graph)}
    graph[place["norm1"]], graph[place["pool1"]] = graph[place["pool1"]], graph[place["norm1"]]
    return network.with_graph(graph)


def _other_pool(name: str) -> Callable[[Network], Network]:
    """A network in which a pool takes the mean instead of the maximum, or the maximum instead of the mean."""

    def changed(network: Network) -> Network:
        graph = list(network.graph)
        for index, pool in enumerate(graph):
            if pool.name != name or not isinstance(pool, MaxPool | AvgPool):
                continue
            kept = pool.model_dump(exclude={"op", "padding_counted"})
            graph[index] = (
                AvgPool.model_validate(kept | {"op": "avg_pool", "padding_counted": True})
                if isinstance(pool, MaxPool)
                else MaxPool.model_validate(kept | {"op": "max_pool"})
            )
        return network.with_graph(graph)

    return changed


def _last_is_a_copy(values: Array) -> Array:
    changed: Array = values.copy()
    changed[-1] = changed[-2]
    return changed


def _last_column_zero(weight: Array) -> Array:
    changed: Array = weight.copy()
    changed[:, -1] = 0.0
    return changed


CONV: tuple[Fault, ...] = (
    Fault(
        "conv_out_channels",
        "conv",
        "out_channels",
        "one output channel too few: the last one repeats its neighbour",
        "conv5",
        tensors=both(tensor("conv5.weight", _last_is_a_copy), tensor("conv5.bias", _last_is_a_copy)),
        explained_by="out_channels: 11",
    ),
    Fault(
        "conv_kernel",
        "conv",
        "kernel",
        "a 3×3 kernel, the middle of the right 5×5 one",
        "conv2",
        network=operator("conv2", kernel=(3, 3), pads=(1, 1, 1, 1)),
        tensors=tensor("conv2.weight", lambda kernel: kernel[:, :, 1:-1, 1:-1]),
        explained_by="kernel: [3, 3]",
    ),
    Fault(
        "conv_stride",
        "conv",
        "stride",
        "steps of 2 instead of 1",
        "conv3",
        OPERATORS,
        network=operator("conv3", stride=(2, 2)),
        explained_by="stride: [2, 2]",
    ),
    Fault(
        "conv_stride_across",
        "conv",
        "stride",
        "steps of 2 across instead of 1",
        "conv3",
        OPERATORS,
        network=operator("conv3", stride=(1, 2)),
        explained_by="stride: [1, 2]",
    ),
    Fault(
        "pad_shifted",
        "conv",
        "pads",
        "one row of padding at the bottom that belongs at the top",
        "conv2",
        network=operator("conv2", pads=(1, 2, 3, 2)),
        explained_by="pads: [1, 2, 3, 2]",
    ),
    Fault(
        "conv_pads_missing",
        "conv",
        "pads",
        "padding that is not stated",
        "conv3",
        OPERATORS,
        network=operator("conv3", pads=(1, 1, 1, 1)),
        explained_by="pads: [1, 1, 1, 1]",
    ),
    Fault(
        "conv_groups",
        "conv",
        "groups",
        "two groups instead of one: half of each kernel is never used",
        "conv3",
        network=operator("conv3", groups=2),
        tensors=tensor("conv3.weight", lambda kernel: kernel[:, : kernel.shape[1] // 2]),
        explained_by="groups: 2",
    ),
    Fault(
        "missing_bias",
        "conv",
        "bias",
        "conv2 has no bias",
        "conv2",
        network=operator("conv2", bias=False),
        tensors=without("conv2.bias"),
        explained_by="bias: false",
    ),
    Fault(
        "kernel_flip",
        "conv",
        "op",
        "convolution instead of cross-correlation",
        "conv3",
        tensors=tensor("conv3.weight", lambda kernel: kernel[:, :, ::-1, ::-1]),
        explained_by="weight: flipped",
    ),
)

LRN: tuple[Fault, ...] = (
    Fault(
        "lrn_alpha_mean_for_sum",
        "lrn",
        "alpha_convention",
        "α multiplies the mean of the squares instead of their sum",
        "norm1",
        network=operator("norm1", alpha_convention="mean"),
        explained_by="alpha_convention: mean",
    ),
    Fault(
        "lrn_defaults",
        "lrn",
        "alpha_convention",
        "LocalResponseNorm(5), whose α is of the mean and whose k is 1",
        "norm1",
        network=operator("norm1", alpha_convention="mean", k=1.0),
        explained_by="alpha_convention: mean and k: 1",
    ),
    Fault(
        "lrn_alpha_sum_for_mean",
        "lrn",
        "alpha_convention",
        "α multiplies the sum of the squares instead of their mean",
        "norm1",
        OPERATORS,
        network=operator("norm1", alpha_convention="sum"),
        explained_by="alpha_convention: sum",
    ),
    Fault(
        "lrn_k",
        "lrn",
        "k",
        "k = 1 instead of 2",
        "norm2",
        network=operator("norm2", k=1.0),
        explained_by="k: 1",
    ),
    Fault(
        "lrn_n",
        "lrn",
        "n",
        "the window is 3 channels wide instead of 5",
        "norm1",
        network=operator("norm1", n=3),
        explained_by="n: 3",
    ),
    Fault(
        "lrn_alpha",
        "lrn",
        "alpha",
        "α = 0.0002 instead of 0.0001",
        "norm1",
        network=operator("norm1", alpha=2e-4),
        explained_by="alpha: 0.0002",
    ),
    Fault(
        "lrn_beta",
        "lrn",
        "beta",
        "β = 0.5 instead of 0.75",
        "norm1",
        network=operator("norm1", beta=0.5),
        explained_by="beta: 0.5",
    ),
    Fault(
        "lrn_within_towers",
        "lrn",
        "scope",
        "the window stops at the border between the towers",
        "norm1",
        network=operator("norm1", scope="per_group", groups=2),
        explained_by="scope: per_group",
    ),
    Fault(
        "lrn_across_towers",
        "lrn",
        "scope",
        "the window crosses the border between the towers",
        "norm1",
        OPERATORS,
        network=operator("norm1", scope="whole", groups=None),
        explained_by="scope: whole",
    ),
    Fault(
        "lrn_groups",
        "lrn",
        "groups",
        "four towers instead of two",
        "norm1",
        OPERATORS,
        network=operator("norm1", groups=4),
        explained_by="groups: 4",
    ),
    Fault(
        "lrn_omitted",
        "lrn",
        "op",
        "no normalisation at all",
        "norm2",
        instead={"torch": "{x}", "jax": "{x}", "tensorflow": "{x}", "onnx": 'node("norm2", "Identity", {x})'},
        explained_by="operator: absent",
    ),
    Fault(
        "lrn_window_shifted",
        "lrn",
        "n",
        "the window reaches one channel less down and one more up",
        "norm1",
        lines={"jax": (("(n // 2, n // 2)", "(n // 2 - 1, n // 2 + 1)"),)},
        instead={
            "torch": "{x} / (2.0 + 1e-4 * F.avg_pool3d("
            "F.pad({x} ** 2, (0, 0, 0, 0, 1, 3))[:, None], (5, 1, 1), 1)[:, 0] * 5.0) ** 0.75",
            "tensorflow": "{x} / (2.0 + 1e-4 * tf.nn.avg_pool3d("
            "tf.pad({x} ** 2, ((0, 0), (0, 0), (0, 0), (1, 3)))[..., tf.newaxis], (1, 1, 5), 1, 'VALID')[..., 0] * 5)"
            " ** 0.75",
        },
        explained_by="window: one channel up",
    ),
)

POOLS: tuple[Fault, ...] = (
    Fault(
        "pool_kernel",
        "max_pool",
        "kernel",
        "pooling windows of 2 that do not overlap",
        "pool2",
        network=operator("pool2", kernel=(2, 2)),
        explained_by="kernel: [2, 2]",
    ),
    Fault(
        "max_pool_stride",
        "max_pool",
        "stride",
        "steps of 2 instead of 1",
        "pool_e",
        OPERATORS,
        network=operator("pool_e", stride=(2, 2)),
        explained_by="stride: [2, 2]",
    ),
    Fault(
        "max_pool_pads",
        "max_pool",
        "pads",
        "a column of padding on the right that belongs on the left",
        "pool_a",
        OPERATORS,
        network=operator("pool_a", pads=(0, 0, 2, 1)),
        explained_by="pads: [0, 0, 2, 1]",
    ),
    Fault(
        "ceil_for_floor",
        "max_pool",
        "rounding",
        "pool1 rounds up",
        "pool1",
        network=operator("pool1", rounding="ceil"),
        explained_by="rounding: ceil",
    ),
    Fault(
        "max_pool_average",
        "max_pool",
        "op",
        "the mean instead of the maximum",
        "pool5",
        network=_other_pool("pool5"),
        explained_by="operator: mean",
    ),
    Fault(
        "avg_pool_kernel",
        "avg_pool",
        "kernel",
        "windows of 2 instead of 3",
        "pool_d",
        OPERATORS,
        network=operator("pool_d", kernel=(2, 2)),
        explained_by="kernel: [2, 2]",
    ),
    Fault(
        "avg_pool_stride",
        "avg_pool",
        "stride",
        "steps of 2 instead of 1",
        "pool_d",
        OPERATORS,
        network=operator("pool_d", stride=(2, 2)),
        explained_by="stride: [2, 2]",
    ),
    Fault(
        "avg_pool_window_shifted",
        "avg_pool",
        "pads",
        "windows begin one row and one column too early",
        "pool_d",
        OPERATORS,
        network=operator("pool_d", pads=(2, 2, 0, 0)),
        explained_by="pads: [2, 2, 0, 0]",
    ),
    Fault(
        "avg_pool_rounding",
        "avg_pool",
        "rounding",
        "rounds down, and drops a last window",
        "pool_f",
        OPERATORS,
        network=operator("pool_f", rounding="floor"),
        explained_by="rounding: floor",
    ),
    Fault(
        "avg_pool_padding_not_counted",
        "avg_pool",
        "padding_counted",
        "padded zeros do not count in the divisor",
        "pool_b",
        OPERATORS,
        network=operator("pool_b", padding_counted=False),
        explained_by="padding_counted: false",
    ),
    Fault(
        "avg_pool_padding_counted",
        "avg_pool",
        "padding_counted",
        "padded zeros count in the divisor",
        "pool_c",
        OPERATORS,
        network=operator("pool_c", padding_counted=True),
        explained_by="padding_counted: true",
    ),
    Fault(
        "avg_pool_maximum",
        "avg_pool",
        "op",
        "the maximum instead of the mean",
        "pool_d",
        OPERATORS,
        network=_other_pool("pool_d"),
        explained_by="operator: maximum",
    ),
    Fault(
        "global_avg_pool_maximum",
        "global_avg_pool",
        "op",
        "the maximum instead of the mean",
        "gap",
        OPERATORS,
        instead={
            "torch": "F.adaptive_max_pool2d({x}, 1)",
            "jax": "{x}.max(axis=(2, 3), keepdims=True)",
            "tensorflow": "tf.reduce_max({x}, axis=(1, 2), keepdims=True)",
            "onnx": 'node("gap", "GlobalMaxPool", {x})',
        },
        explained_by="operator: maximum",
    ),
)

DENSE: tuple[Fault, ...] = (
    Fault(
        "flatten_channels_last",
        "flatten",
        "op",
        "features are flattened height first, channel last",
        "flatten",
        instead={
            "torch": "torch.flatten(x.permute(0, 2, 3, 1), 1)",
            "jax": "x.transpose(0, 2, 3, 1).reshape(len(x), -1)",
            "tensorflow": "tf.reshape(x, (-1, 72))",
            "onnx": 'node("flatten", "Flatten", node("hwc", "Transpose", x, perm=[0, 2, 3, 1]), axis=1)',
        },
        explained_by="order: height, width, channels",
    ),
    Fault(
        "dense_in_features",
        "dense",
        "in_features",
        "one feature too few: the last is not read",
        "fc7",
        tensors=tensor("fc7.weight", _last_column_zero),
        explained_by="in_features: 39",
    ),
    Fault(
        "dense_out_features",
        "dense",
        "out_features",
        "one class too few",
        "fc8",
        network=operator("fc8", out_features=9),
        tensors=both(tensor("fc8.weight", lambda weight: weight[:9]), tensor("fc8.bias", lambda bias: bias[:9])),
        explained_by="out_features: 9",
    ),
    Fault(
        "dense_bias",
        "dense",
        "bias",
        "fc6 has no bias",
        "fc6",
        network=operator("fc6", bias=False),
        tensors=without("fc6.bias"),
        explained_by="bias: false",
    ),
    Fault(
        "dense_transposed",
        "dense",
        "op",
        "x·W instead of W·x",
        "fc1",
        OPERATORS,
        tensors=tensor("fc1.weight", lambda weight: weight.T),
        explained_by="weight: transposed",
    ),
)

OTHERS: tuple[Fault, ...] = (
    Fault(
        "relu_leaky",
        "relu",
        "op",
        "negative values are scaled by 0.01 instead of dropped",
        "relu3",
        instead={
            "torch": "F.leaky_relu({x}, 0.01)",
            "jax": "jax.nn.leaky_relu({x}, 0.01)",
            "tensorflow": "tf.nn.leaky_relu({x}, 0.01)",
            "onnx": 'node("relu3", "LeakyRelu", {x}, alpha=0.01)',
        },
        explained_by="operator: leaky, slope 0.01",
    ),
    Fault(
        "relu_6",
        "relu",
        "op",
        "values above 6 are cut off",
        "relu1",
        instead={
            "torch": "F.relu6({x})",
            "jax": "jax.nn.relu6({x})",
            "tensorflow": "tf.nn.relu6({x})",
            "onnx": 'node("relu1", "Min", {y}, node("six", "Constant", value_float=6.0))',
        },
        explained_by="operator: relu6",
    ),
    Fault(
        "relu_softened",
        "relu",
        "op",
        "x·sigmoid(50x), which is almost max(x, 0)",
        "relu2",
        instead={
            "torch": "{x} * torch.sigmoid(50.0 * {x})",
            "jax": "{x} * jax.nn.sigmoid(50.0 * {x})",
            "tensorflow": "{x} * tf.sigmoid(50.0 * {x})",
        },
    ),
    Fault(
        "tanh_cut",
        "tanh",
        "op",
        "cut off at −1 and 1 instead of bent",
        "tanh1",
        OPERATORS,
        instead={
            "torch": "F.hardtanh({x})",
            "jax": "{x}.clip(-1.0, 1.0)",
            "tensorflow": "tf.clip_by_value({x}, -1.0, 1.0)",
            "onnx": 'node("tanh1", "Max", node("low", "Min", {x}, node("one", "Constant", value_float=1.0)), '
            'node("minus", "Constant", value_float=-1.0))',
        },
        explained_by="operator: clipped to 1",
    ),
    Fault(
        "dropout_probability",
        "dropout",
        "drop_probability",
        "evaluation keeps 0.6 instead of 0.5",
        "drop6",
        network=operator("drop6", drop_probability=0.4),
        explained_by="drop_probability: 0.4",
    ),
    Fault(
        "dropout_inverted",
        "dropout",
        "convention",
        "evaluation does not scale by the keep probability",
        "drop6",
        network=operator("drop6", convention="inverted"),
        explained_by="convention: inverted",
    ),
    Fault(
        "dropout_scaled_twice",
        "dropout",
        "convention",
        "evaluation scales though training does",
        "drop1",
        OPERATORS,
        network=operator("drop1", convention="test_time"),
        explained_by="convention: test_time",
    ),
    Fault(
        "dropout_op",
        "dropout",
        "op",
        "evaluation divides by the keep probability",
        "drop7",
        instead={
            "torch": "{x} / 0.5",
            "jax": "{x} / 0.5",
            "tensorflow": "{x} / 0.5",
            "onnx": 'node("drop7", "Div", {x}, "drop7.scale")',
        },
        explained_by="scale: its inverse",
    ),
    Fault(
        "softmax_over_the_batch",
        "softmax",
        "op",
        "over the images instead of the classes",
        "prob",
        OPERATORS,
        instead={
            "torch": "F.softmax(self._logits(x, tap, masks), dim=0)",
            "jax": "jax.nn.softmax({x}, axis=0)",
            "tensorflow": "tf.nn.softmax({x}, axis=0)",
            "onnx": 'node("prob", "Softmax", {x}, axis=0)',
        },
        explained_by="axis: images",
    ),
    Fault(
        "softmax_of_log",
        "softmax",
        "op",
        "its logarithm instead",
        "prob",
        OPERATORS,
        instead={
            "torch": "F.log_softmax(self._logits(x, tap, masks), dim=1)",
            "jax": "jax.nn.log_softmax({x}, axis=1)",
            "tensorflow": "tf.nn.log_softmax({x})",
            "onnx": 'node("prob", "LogSoftmax", {x}, axis=1)',
        },
        explained_by="operator: logarithm of softmax",
    ),
    Fault(
        "add_mean",
        "add",
        "op",
        "the mean of the three tensors instead of their sum",
        "sum1",
        OPERATORS,
        instead={
            "torch": "{y} / 3.0",
            "jax": "{y} / 3.0",
            "tensorflow": "{y} / 3.0",
            "onnx": 'node("sum1", "Mean", tanh1, conv2, bn1)',
        },
        explained_by="operator: mean",
    ),
    Fault(
        "add_inputs",
        "add",
        "inputs",
        "the skip is taken after tanh instead of before",
        "sum1",
        OPERATORS,
        network=operator("sum1", inputs=("tanh1", "conv2", "tanh1")),
        explained_by="inputs: [tanh1, conv2, tanh1]",
    ),
    Fault(
        "concat_inputs",
        "concat",
        "inputs",
        "two branches are joined in the other order",
        "join",
        OPERATORS,
        network=operator("join", inputs=("pool_b", "pool_a", "pool_c")),
        explained_by="inputs: [pool_b, pool_a, pool_c]",
    ),
    Fault(
        "concat_interleaved",
        "concat",
        "op",
        "channels of the branches alternate",
        "join",
        OPERATORS,
        instead={
            "torch": "torch.stack([pool_a, pool_b, pool_c], dim=2).flatten(1, 2)",
            "jax": "jnp.stack([pool_a, pool_b, pool_c], axis=2).reshape(len(pool_a), 24, 10, 15)",
            "tensorflow": "tf.reshape(tf.stack([pool_a, pool_b, pool_c], axis=-1), (-1, 10, 15, 24))",
        },
        explained_by="order: channels in turn",
    ),
    Fault(
        "batch_norm_epsilon",
        "batch_norm",
        "epsilon",
        "ε = 1e-5 instead of 1e-3",
        "bn1",
        OPERATORS,
        network=operator("bn1", epsilon=1e-5),
        explained_by="epsilon: 1e-05",
    ),
    Fault(
        "batch_norm_omitted",
        "batch_norm",
        "op",
        "no normalisation at all",
        "bn1",
        OPERATORS,
        instead={
            "torch": "{x}",
            "jax": "{x}",
            "tensorflow": "{x}",
            "onnx": 'node("bn1", "Sub", {x}, node("nothing", "Sub", {y}, "bn1.right"))',
        },
        explained_by="operator: absent",
    ),
    Fault(
        "batch_norm_of_the_batch",
        "batch_norm",
        "op",
        "evaluation takes the batch's own mean and variance",
        "bn1",
        OPERATORS,
        instead={
            "torch": "F.batch_norm({x}, None, None, self.bn1.weight, self.bn1.bias, True, 0.0, 1e-3)",
            "jax": 'batch_norm({x}, {**p["bn1"], "mean": {x}.mean((0, 2, 3)), "variance": {x}.var((0, 2, 3))}, 1e-3)',
            "tensorflow": "tf.nn.batch_normalization({x}, *tf.nn.moments({x}, (0, 1, 2)), "
            'self.bn1["shift"], self.bn1["scale"], 1e-3)',
        },
        explained_by="statistics: of the batch",
    ),
    Fault(
        "pool_before_norm",
        "all",
        "inputs",
        "layer 1 pools before it normalises",
        "norm1",
        network=_pool_before_norm,
        explained_by="inputs: [pool1]",
    ),
    Fault("tap_renamed", "all", "name", "one tap is given under another's name", "relu2", runner=True),
)

OPERATOR_FAULTS = (*CONV, *LRN, *POOLS, *DENSE, *OTHERS)
