"""How much each workload has to do: floating-point operations, and bytes that must be moved."""

from math import prod

from spec.network import FLOAT32_BYTES, Network
from spec.operators import Dropout, Flatten, Relu, Tanh
from spec.shapes import Layer

#: The work of each workload in forward passes. Going back, a layer of products does two for each one of going forward:
#: the gradient of what it reads, and that of its weights.
PASSES = {"forward": 1, "train_step": 3}


def flops(network: Network, workload: str, batch: int) -> int:
    """Floating-point operations of a workload: two a multiplication with addition."""
    return PASSES[workload] * 2 * network.macs * batch


def moved_bytes(network: Network, workload: str, batch: int, element_bytes: int = FLOAT32_BYTES) -> int:
    """Bytes that a workload must move: in each pass those of every layer."""
    return PASSES[workload] * sum(layer_bytes(layer, batch, element_bytes) for layer in network.layers)


def layer_bytes(layer: Layer, batch: int, element_bytes: int) -> int:
    """Bytes of a layer's inputs, outputs and parameters, each once.

    What works on one element at a time (ReLU, tanh, dropout) can be part of the layer before it, and flatten moves
    nothing: these cost nothing.
    """
    if isinstance(layer.operator, Relu | Tanh | Dropout | Flatten):
        return 0
    activations = sum(map(prod, layer.input_shapes)) + prod(layer.output_shape)
    return element_bytes * (batch * activations + sum(map(prod, layer.tensor_shapes.values())))
