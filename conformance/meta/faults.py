"""The catalogue of planted faults: what each changes, and where it must be caught. Those of training: training_faults.

A fault is planted on alexnet_narrow, in one of four ways: the emitter reads a network with a wrong value; the generated
source has a wrong line; the weights are loaded wrongly; or the runner itself is wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from conformance.oracle import Array
from conformance.results import Check
from impls.frameworks import FRAMEWORKS
from spec.network import Network

NETWORK = "alexnet_narrow"
TRAIN: tuple[str, ...] = ("torch", "jax", "tensorflow")
"""The frameworks that train."""

Tensors = dict[str, Array]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong."""

    id: str
    what: str
    tap: str
    """Where it must be caught first."""
    network: Callable[[Network], Network] | None = None
    """What the emitter reads instead."""
    tensors: Callable[[Tensors], Tensors] | None = None
    """What is loaded instead."""
    lines: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Text of the generated source, a framework, and what stands there instead."""
    runner: bool = False
    """Whether the NumPy runner plants it itself (wrong_runner.py, numpy_training.py)."""
    check: Check | None = None
    """The check of the training lane that must catch it; none: the forward lane must."""
    step: int | None = None
    """The training step in which it must show first; none: whichever."""

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Where it is planted."""
        if self.runner:
            return ("numpy",)
        if self.lines:
            return tuple(self.lines)
        return FRAMEWORKS if self.check is None else TRAIN


def _operator(name: str, **changes: object) -> Callable[[Network], Network]:
    return lambda network: network.with_operator(name, **changes)


def _tensor(name: str, change: Callable[[Array], Array]) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: np.ascontiguousarray(change(tensors[name]))}


def _pool_before_norm(network: Network) -> Network:
    swapped = {"norm1": ("pool1",), "pool1": ("relu1",), "conv2": ("norm1",)}
    graph = [
        operator.model_copy(update={"inputs": swapped.get(operator.name, operator.inputs)})
        for operator in network.graph
    ]
    place = {operator.name: index for index, operator in enumerate(graph)}
    graph[place["norm1"]], graph[place["pool1"]] = graph[place["pool1"]], graph[place["norm1"]]
    return network.with_graph(graph)


def _tf32(values: Array) -> Array:
    """Float32 with its last 13 bits rounded away."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


#: Rounds x to TF32 by arithmetic alone: with c = 8193·x, c − (c − x) keeps 11 significant bits.
_ROUNDED = "x * 8193.0 - (x * 8193.0 - x)"

FAULTS: tuple[Fault, ...] = (
    Fault(
        "lrn_alpha_mean_for_sum",
        "α multiplies the mean of the squares instead of their sum",
        "norm1",
        network=_operator("norm1", alpha_convention="mean"),
    ),
    Fault("lrn_k", "k = 1 instead of 2", "norm2", network=_operator("norm2", k=1.0)),
    Fault("lrn_n", "the window is 3 channels wide instead of 5", "norm1", network=_operator("norm1", n=3)),
    Fault("lrn_beta", "β = 0.5 instead of 0.75", "norm1", network=_operator("norm1", beta=0.5)),
    Fault("lrn_omitted", "no normalisation at all", "norm2", network=_operator("norm2", alpha=1e-30, k=1.0)),
    Fault(
        "lrn_within_towers",
        "the window stops at the border between the towers",
        "norm1",
        network=_operator("norm1", scope="per_group", groups=2),
    ),
    Fault(
        "lrn_window_shifted",
        "the window reaches one channel less down and one more up",
        "norm1",
        lines={"jax": (("(n // 2, n // 2)", "(n // 2 - 1, n // 2 + 1)"),)},
    ),
    Fault("pool_before_norm", "layer 1 pools before it normalises", "norm1", network=_pool_before_norm),
    Fault(
        "pad_shifted",
        "one row of padding at the bottom that belongs at the top",
        "conv2",
        network=_operator("conv2", pads=(1, 2, 3, 2)),
    ),
    Fault(
        "pool_kernel", "pooling windows of 2 that do not overlap", "pool2", network=_operator("pool2", kernel=(2, 2))
    ),
    Fault("ceil_for_floor", "pool1 rounds up", "pool1", network=_operator("pool1", rounding="ceil")),
    Fault(
        "dropout_inverted",
        "evaluation does not scale by the keep probability",
        "drop6",
        network=_operator("drop6", convention="inverted"),
    ),
    Fault(
        "group_swap",
        "the kernels of the two towers are exchanged",
        "conv4",
        tensors=_tensor("conv4.weight", lambda kernel: np.roll(kernel, len(kernel) // 2, axis=0)),
    ),
    Fault(
        "kernel_flip",
        "convolution instead of cross-correlation",
        "conv3",
        tensors=_tensor("conv3.weight", lambda kernel: kernel[:, :, ::-1, ::-1]),
    ),
    Fault(
        "kernel_transposed",
        "rows and columns of the kernel are exchanged",
        "conv2",
        tensors=_tensor("conv2.weight", lambda kernel: kernel.transpose(0, 1, 3, 2)),
    ),
    Fault("missing_bias", "conv2 has no bias", "conv2", tensors=_tensor("conv2.bias", np.zeros_like)),
    Fault(
        "flatten_channels_last",
        "features are flattened height first, channel last",
        "flatten",
        lines={
            "torch": (("torch.flatten(x, 1)", "torch.flatten(x.permute(0, 2, 3, 1), 1)"),),
            "jax": (("x.reshape(len(x), -1)", "x.transpose(0, 2, 3, 1).reshape(len(x), -1)"),),
            "tensorflow": (("tf.transpose(x, (0, 3, 1, 2))", "x"),),
            "onnx": (('"Flatten", x, axis=1', '"Flatten", node("hwc", "Transpose", x, perm=[0, 2, 3, 1]), axis=1'),),
        },
    ),
    Fault(
        "relu_leaky",
        "negative values are scaled by 0.01 instead of dropped",
        "relu3",
        lines={
            "torch": (('"relu3", F.relu(x)', '"relu3", F.leaky_relu(x, 0.01)'),),
            "jax": (('"relu3", jax.nn.relu(x)', '"relu3", jax.nn.leaky_relu(x, 0.01)'),),
            "tensorflow": (('"relu3", tf.nn.relu(x)', '"relu3", tf.nn.leaky_relu(x, 0.01)'),),
            "onnx": (('node("relu3", "Relu", x)', 'node("relu3", "LeakyRelu", x, alpha=0.01)'),),
        },
    ),
    Fault(
        "tf32_in_one_layer",
        "inputs and kernels of conv4 are rounded to TF32",
        "conv4",
        tensors=_tensor("conv4.weight", _tf32),
        lines={
            "torch": (("self.conv4(x)", f"self.conv4({_ROUNDED})"),),
            "jax": (('conv(x, p["conv4"]', 'conv(lax.reduce_precision(x, 8, 10), p["conv4"]'),),
            "tensorflow": (("conv(x, self.conv4", f"conv({_ROUNDED}, self.conv4"),),
            "onnx": (
                ("constants = {", 'constants = {"split": np.array(8193.0, np.float32),'),
                (
                    'node("conv4", "Conv", x',
                    'node("conv4", "Conv", node("high", "Sub", node("c", "Mul", x, "split"), node("d", "Sub", "c", x))',
                ),
            ),
        },
    ),
    Fault("echo", "the runner returns what it was fed", "conv1", runner=True),
    Fault("stale_tensor", "one layer keeps its weights when others are loaded", "conv3", runner=True),
    Fault("batch_reversed", "the images of a batch come out in the other order", "conv1", runner=True),
    Fault("one_element", "one element of a tap is off by 1 in 10,000", "conv5", runner=True),
    Fault("constant_output", "a tap is one number throughout", "fc7", runner=True),
    Fault("missing_tap", "a tap is not in the trace", "norm2", runner=True),
    Fault("float16_sums", "sums of one dense layer are kept in float16", "fc6", runner=True),
)
