"""Planted faults: tensors that are loaded wrongly."""

import numpy as np

from conformance.oracle import Array
from conformance.power.fault import OPERATORS, Fault, Tensors, both, tensor


def _misread(weight: Array) -> Array:
    """The numbers in the order of (in, out), read as (out, in)."""
    return weight.T.reshape(weight.shape)


def _one_sign(values: Array) -> Array:
    changed: Array = values.copy()
    changed.flat[changed.size // 2] *= -1.0
    return changed


def _another_draw(values: Array) -> Array:
    drawn: Array = np.random.default_rng(7).permuted(values)
    return drawn


def _shift_for_mean(tensors: Tensors) -> Tensors:
    """A batch norm whose shift and mean are exchanged."""
    return tensors | {"bn1.shift": tensors["bn1.mean"], "bn1.mean": tensors["bn1.shift"]}


TENSOR_FAULTS: tuple[Fault, ...] = (
    Fault(
        "group_swap",
        "conv",
        "weights",
        "the kernels of the two towers are exchanged",
        "conv4",
        tensors=tensor("conv4.weight", lambda kernel: np.roll(kernel, len(kernel) // 2, axis=0)),
        explained_by="weight: groups exchanged",
    ),
    Fault(
        "kernel_transposed",
        "conv",
        "weights",
        "rows and columns of the kernel are exchanged",
        "conv2",
        tensors=tensor("conv2.weight", lambda kernel: kernel.transpose(0, 1, 3, 2)),
        explained_by="weight: rows and columns exchanged",
    ),
    Fault(
        "kernel_mirrored",
        "conv",
        "weights",
        "the kernel is mirrored left to right",
        "conv4",
        tensors=tensor("conv4.weight", lambda kernel: kernel[:, :, :, ::-1]),
        explained_by="weight: columns in reverse order",
    ),
    Fault(
        "kernel_in_for_out",
        "conv",
        "weights",
        "input and output channels of the kernel are exchanged",
        "conv2",
        OPERATORS,
        tensors=tensor("conv2.weight", lambda kernel: kernel.transpose(1, 0, 2, 3)),
        explained_by="weight: input and output exchanged",
    ),
    Fault(
        "colours_reversed",
        "conv",
        "weights",
        "blue, green, red instead of red, green, blue",
        "conv1",
        tensors=tensor("conv1.weight", lambda kernel: kernel[:, ::-1]),
        explained_by="weight: input channels in reverse order",
    ),
    Fault(
        "bias_shifted",
        "conv",
        "weights",
        "each channel has the bias of its neighbour",
        "conv1",
        tensors=tensor("conv1.bias", lambda bias: np.roll(bias, 1)),
        explained_by="bias: moved on by one",
    ),
    Fault(
        "one_weight_negated",
        "conv",
        "weights",
        "one weight of a kernel has the other sign",
        "conv5",
        tensors=tensor("conv5.weight", _one_sign),
    ),
    Fault(
        "dense_misread",
        "dense",
        "weights",
        "numbers in the order (in, out) are read as (out, in)",
        "fc6",
        tensors=tensor("fc6.weight", _misread),
        explained_by="weight: written as (in, out)",
    ),
    Fault(
        "dense_rows_swapped",
        "dense",
        "weights",
        "two classes are exchanged",
        "fc8",
        tensors=both(
            tensor("fc8.weight", lambda weight: weight[[1, 0, *range(2, len(weight))]]),
            tensor("fc8.bias", lambda bias: bias[[1, 0, *range(2, len(bias))]]),
        ),
        explained_by="output: channels in another order",
    ),
    Fault(
        "batch_norm_shift_for_mean",
        "batch_norm",
        "weights",
        "shift and mean are exchanged",
        "bn1",
        OPERATORS,
        tensors=_shift_for_mean,
        explained_by="shift: exchanged with mean",
    ),
    Fault(
        "batch_norm_deviation_for_variance",
        "batch_norm",
        "weights",
        "the standard deviation is read as the variance",
        "bn1",
        OPERATORS,
        tensors=tensor("bn1.variance", np.sqrt),
        explained_by="variance: its root",
    ),
    Fault(
        "weights_of_another_seed",
        "dense",
        "weights",
        "one layer has weights of another draw",
        "fc7",
        tensors=tensor("fc7.weight", _another_draw),
    ),
)
