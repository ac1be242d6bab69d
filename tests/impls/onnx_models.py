"""ONNX models to import: `python tests/impls/onnx_models.py FOLDER`, in the environment of onnx."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

RANDOM = np.random.default_rng(7)
FLOAT = onnx.TensorProto.FLOAT


def tensor(name: str, *shape: int) -> onnx.TensorProto:
    """An initialiser of random numbers."""
    return numpy_helper.from_array(RANDOM.standard_normal(shape).astype(np.float32), name)


def numbers(name: str, *values: int) -> onnx.TensorProto:
    """An initialiser of whole numbers: a shape, axes."""
    return numpy_helper.from_array(np.array(values, np.int64), name)


def node(op: str, inputs: str, output: str, name: str = "", **attributes: Any) -> onnx.NodeProto:
    """A node that reads the values named in `inputs`, separated by blanks."""
    return helper.make_node(op, inputs.split(), [output], name=name, **attributes)


def save(
    folder: Path,
    name: str,
    opset: int,
    nodes: list[onnx.NodeProto],
    tensors: list[onnx.TensorProto],
    shape: tuple[int | str, ...] = (1, 3, 9, 7),
    more: tuple[str, ...] = (),
) -> None:
    """Write a model whose last node gives its output, behind those in `more`."""
    entries = helper.make_tensor_value_info("x", FLOAT, shape)
    outputs = [helper.make_tensor_value_info(value, FLOAT, None) for value in (*more, nodes[-1].output[0])]
    graph = helper.make_graph(nodes, name, [entries], outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    (folder / f"{name}.onnx").write_bytes(model.SerializeToString())


def main(folder: Path) -> None:
    """Write every model."""
    save(
        folder,
        "exported",  # a flatten as exporters wrote it, and a dense layer as a product and a sum
        13,
        [
            node(
                "Conv",
                "x conv.weight",
                "/conv/out",
                "/features/conv_a",
                kernel_shape=[3, 3],
                auto_pad="SAME_UPPER",
                strides=[2, 2],
            ),
            node("Add", "/conv/out shift", "/conv/biased"),
            node("Relu", "/conv/biased", "/relu/out"),
            node("Identity", "/relu/out", "same"),
            node("Shape", "same", "shape"),
            node("Gather", "shape zero", "batch", axis=0),
            node("Unsqueeze", "batch zeroth", "batch_row"),
            node("Concat", "batch_row rest", "target", axis=0),
            node("Reshape", "same target", "rows"),
            node("Dropout", "rows ratio", "kept"),
            node("MatMul", "kept head.weight", "product"),
            node("Add", "head.bias product", "sum"),
            node("Softmax", "sum", "y", axis=-1),
        ],
        [
            tensor("conv.weight", 4, 3, 3, 3),
            tensor("shift", 4, 1, 1),
            numpy_helper.from_array(np.array(0, np.int64), "zero"),
            numbers("zeroth", 0),
            numbers("rest", -1),
            numpy_helper.from_array(np.array(0.25, np.float32), "ratio"),
            tensor("head.weight", 4 * 5 * 4, 6),
            tensor("head.bias", 6),
        ],
        shape=("batch", 3, 9, 7),
    )
    save(
        folder,
        "scaled",  # a factor and a summand a channel behind a batch norm, one of their own, and one for everything
        9,
        [
            node("BatchNormalization", "x scale shift mean variance", "a", epsilon=1e-3),
            node("Mul", "a factor", "b"),
            node("Add", "b summand", "c"),
            node("Relu", "c", "d"),
            node("Mul", "factor d", "e"),
            node("AveragePool", "e", "f", kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
            node("GlobalAveragePool", "f", "g"),
            node("Squeeze", "g", "h", axes=[2, 3]),
            node("Mul", "h half", "i"),
            node("Gemm", "i head.weight head.bias", "y", alpha=2.0, transB=1),
        ],
        [
            *(tensor(name, 3) for name in ("scale", "shift", "mean")),
            numpy_helper.from_array(np.array([0.5, 1.0, 2.0], np.float32), "variance"),
            tensor("factor", 3, 1, 1),
            tensor("summand", 1, 3, 1, 1),
            numpy_helper.from_array(np.array(0.5, np.float32), "half"),
            tensor("head.weight", 4, 3),
            tensor("head.bias", 4),
        ],
    )
    save(
        folder,
        "old",  # attributes that later opsets moved to inputs
        3,
        [
            node("LRN", "x", "a", size=3, alpha=3e-4, beta=0.75, bias=2.0),
            node("MaxPool", "a", "b", kernel_shape=[2, 2], strides=[2, 2]),
            node("Dropout", "b", "c", ratio=0.25, is_test=1),
            node("Flatten", "c", "d"),
            node("Tanh", "d", "e"),
            node("Softmax", "e", "y"),
        ],
        [],
    )
    save(
        folder,
        "unsupported",
        13,
        [
            node("LeakyRelu", "x", "a", "leak", alpha=0.1),
            node("Transpose", "x", "b", "turn", perm=[0, 2, 3, 1]),
            node("Conv", "x kernel", "c", "wide", kernel_shape=[3, 3], dilations=[2, 2]),
            node("Sum", "a b c", "y"),
        ],
        [tensor("kernel", 3, 3, 3, 3)],
    )
    save(
        folder,
        "two_outputs",
        13,
        [node("Relu", "x", "a"), node("Mul", "a half", "b"), node("Tanh", "b", "y")],
        [numpy_helper.from_array(np.array(0.5, np.float32), "half")],
        more=("a",),
    )
    save(folder, "untouched", 13, [node("Identity", "x", "y")], [])
    save(folder, "open", 13, [node("Relu", "x", "y")], [], shape=("batch", 3, "height", "width"))
    save(folder, "wrong_size", 13, [node("Gemm", "x w", "y", transB=1)], [tensor("w", 4, 5)], shape=(1, 6))
    filled = [node("ConstantOfShape", "extents", "c"), node("Add", "x c", "y")]
    save(folder, "huge", 13, filled, [numbers("extents", 2**20, 2**20)])
    save(folder, "twice", 13, [node("Relu", "x", "w"), node("Add", "x w", "y")], [tensor("w", 1)])
    outside = onnx.TensorProto(name="w", dims=[3], data_type=FLOAT, data_location=onnx.TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="../secret.bin")
    save(folder, "outside", 13, [node("Mul", "x w", "y")], [outside])
    beside = onnx.TensorProto(name="w", dims=[1, 3, 1, 1], data_type=FLOAT, data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "beside.bin", "offset": "4", "length": "12"}.items():
        beside.external_data.add(key=key, value=value)
    (folder / "beside.bin").write_bytes(np.arange(4, dtype=np.float32).tobytes())
    save(folder, "beside", 13, [node("Mul", "x w", "y")], [beside])
    del beside.external_data[1:]
    beside.external_data.add(key="offset", value="8")
    save(folder, "beyond", 13, [node("Mul", "x w", "y")], [beside])
    short = onnx.TensorProto(name="w", dims=[1000, 1000], data_type=FLOAT, raw_data=b"1234")
    save(folder, "short", 13, [node("Mul", "x w", "y")], [short])
    save(folder, "ancient", 1, [node("Relu", "x", "y")], [])
    two = helper.make_graph(
        [node("Add", "x z", "y")],
        "two",
        [helper.make_tensor_value_info(name, FLOAT, (1, 3, 2, 2)) for name in "xz"],
        [helper.make_tensor_value_info("y", FLOAT, None)],
    )
    model = helper.make_model(two, opset_imports=[helper.make_opsetid("", 13)])
    (folder / "two_inputs.onnx").write_bytes(model.SerializeToString())
    (folder / "text.onnx").write_text("no model")
    whole = (folder / "exported.onnx").read_bytes()
    (folder / "truncated.onnx").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    with (folder / "giant.onnx").open("wb") as file:
        file.truncate(3 * 2**30)  # takes no room on disk


if __name__ == "__main__":
    main(Path(sys.argv[1]))
