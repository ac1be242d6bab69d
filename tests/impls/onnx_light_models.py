"""A light model of the onnx package with drawn weights: `python tests/impls/onnx_light_models.py MODEL OUTPUT`.

The package ships these models with all weights equal, to be small: activations grow to 10¹¹ or are
constant then, and prove nothing. Every constant keeps its name and shape, and nodes that made one are left out.
"""

import sys
from math import prod

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

RANDOM = np.random.default_rng(11)


def drawn(op: str, index: int, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """What an operator's input `index` should be, so that activations keep their scale."""
    match op, index:
        case ("Conv" | "Gemm", 1):
            value = RANDOM.standard_normal(shape) * np.sqrt(2.0 / prod(shape[1:]))
        case ("Conv" | "Gemm", 2):
            value = RANDOM.uniform(0.25, 1.0, shape)
        case ("BatchNormalization", 1):
            value = RANDOM.uniform(0.75, 1.25, shape)
        case ("BatchNormalization", 4):
            value = RANDOM.uniform(0.5, 1.5, shape)
        case ("BatchNormalization", 2 | 3):
            value = RANDOM.normal(0.0, 0.5, shape)
        case _:
            raise AssertionError(f"{op}: a constant as input {index}")
    return np.asarray(value, np.float32)


def main(model_path: str, output: str) -> None:
    """Write the model with other weights."""
    model = onnx.load(model_path)
    graph = model.graph
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    shapes = {node.output[0]: tuple(map(int, stored[node.input[0]])) for node in graph.node if _fills(node)}
    shapes |= {name: value.shape for name, value in stored.items() if value.dtype == np.float32}
    roles = {value: (node.op_type, index) for node in graph.node for index, value in enumerate(node.input)}
    for node in graph.node:
        if node.op_type == "Reshape" and node.input[0] in shapes:  # a weight that is reshaped is its reader's
            roles[node.input[0]] = roles[node.output[0]]
    kept = [node for node in graph.node if not _fills(node)]
    others = [tensor for tensor in graph.initializer if tensor.name not in shapes]
    read = {name: shape for name, shape in shapes.items() if name in roles}
    tensors = [numpy_helper.from_array(drawn(*roles[name], shape), name) for name, shape in read.items()]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend([*others, *tensors])
    onnx.save(model, output)


def _fills(node: onnx.NodeProto) -> bool:
    return str(node.op_type) == "ConstantOfShape"


if __name__ == "__main__":
    main(*sys.argv[1:])
