"""What each ONNX operator is in a spec."""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from impls.onnx_import.mapping import Array, Fields, Imported, Importer, Node, Rule, UnsupportedError

#: What makes a batch norm of variance 1 a plain scale and shift: 1 + this is 1 in any precision.
NO_EPSILON = 1e-30


def imported(graph: Mapping[str, Any], tensors: Mapping[str, Array]) -> Imported:
    """The spec's operators for a graph as read_onnx.py wrote it; what cannot be said is in `unsupported`."""
    return Importer(graph, tensors).run(RULES)


def _stated(node: Node, **known: Any) -> None:
    """Raise UnsupportedError where an attribute is not what a spec takes for granted."""
    for name, wanted in known.items():
        found = node.attributes.get(name, wanted)
        if found != wanted:
            raise UnsupportedError(f"expected {name}={wanted}, found {found!s:.80}")


def _conv(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    weight = self.parameter(node, 1, "a kernel")
    if weight.ndim != 4:
        raise UnsupportedError(f"expected a kernel of two dimensions, found {weight.ndim - 2}")
    kernel = tuple(node.attributes.get("kernel_shape", weight.shape[2:]))
    _stated(node, dilations=[1, 1])
    stride = tuple(node.attributes.get("strides", (1, 1)))
    fields = {
        "op": "conv",
        "out_channels": weight.shape[0],
        "kernel": kernel,
        "stride": stride,
        "pads": _pads(self, node, read, kernel, stride),
        "groups": node.attributes.get("group", 1),
        "bias": len(node.inputs) > 2 and bool(node.inputs[2]),
    }
    bias = {"bias": self.parameter(node, 2, "a bias")} if fields["bias"] else {}
    self.add(node, fields, (read,), {"weight": weight} | bias)


def _pads(self: Importer, node: Node, read: str, kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """Top, left, bottom, right; computed where `auto_pad` leaves them to the reader."""
    match node.attributes.get("auto_pad", "NOTSET"):
        case "NOTSET":
            return list(node.attributes.get("pads", [0, 0, 0, 0]))
        case "VALID":
            return [0, 0, 0, 0]
        case "SAME_UPPER" | "SAME_LOWER" as place:
            sums = [
                max(0, (-(-size // step) - 1) * step + window - size)
                for size, window, step in zip(self.shape(read)[1:], kernel, stride, strict=True)
            ]
            small, large = [total // 2 for total in sums], [total - total // 2 for total in sums]
            return [*small, *large] if place == "SAME_UPPER" else [*large, *small]
        case other:
            raise UnsupportedError(f"expected a known auto_pad, found {other!s:.80}")


def _gemm(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    _stated(node, transA=0)
    alpha, beta = (np.float32(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    weight = self.parameter(node, 1, "weights")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    bias = self.parameter(node, 2, "a bias") if len(node.inputs) > 2 and node.inputs[2] else None
    _dense(self, node, read, weight if alpha == 1 else alpha * weight, bias if bias is None else beta * bias)


def _matmul(self: Importer, node: Node) -> None:
    weight = self.parameter(node, 1, "weights")
    if weight.ndim != 2:
        raise UnsupportedError(f"expected weights (in, out), found {list(weight.shape)}")
    _dense(self, node, self.value(node, 0), weight.T, None)


def _dense(self: Importer, node: Node, read: str, weight_oi: Array, bias: Array | None) -> None:
    fields = {
        "op": "dense",
        "in_features": weight_oi.shape[1],
        "out_features": weight_oi.shape[0],
        "bias": bias is not None,
    }
    tensors = {"weight": np.ascontiguousarray(weight_oi)}
    if bias is not None:
        tensors["bias"] = np.broadcast_to(bias.reshape(-1), (weight_oi.shape[0],))
    self.add(node, fields, (read,), tensors)


def _batch_norm(self: Importer, node: Node) -> None:
    _stated(node, spatial=1, training_mode=0)
    tensors = {
        name: self.parameter(node, index, f"a {name}")
        for index, name in enumerate(("scale", "shift", "mean", "variance"), start=1)
    }
    epsilon = _shortest(node.attributes.get("epsilon", 1e-5))
    self.add(node, {"op": "batch_norm", "epsilon": epsilon}, (self.value(node, 0),), tensors)


def _lrn(self: Importer, node: Node) -> None:
    attributes = node.attributes
    fields = {
        "op": "lrn",
        "n": attributes["size"],
        "k": _shortest(attributes.get("bias", 1.0)),
        "alpha": _shortest(attributes.get("alpha", 1e-4)),
        "alpha_convention": "mean",
        "beta": _shortest(attributes.get("beta", 0.75)),
        "scope": "whole",
    }
    self.add(node, fields, (self.value(node, 0),))


def _max_pool(self: Importer, node: Node) -> None:
    if len(list(filter(None, node.outputs))) > 1:
        raise UnsupportedError("expected maxima alone, found their indices too")
    _stated(node, dilations=[1, 1])
    self.add(node, {"op": "max_pool", **_window(self, node)}, (self.value(node, 0),))


def _avg_pool(self: Importer, node: Node) -> None:
    _stated(node, dilations=[1, 1])
    counted = bool(node.attributes.get("count_include_pad", 0))
    self.add(node, {"op": "avg_pool", **_window(self, node), "padding_counted": counted}, (self.value(node, 0),))


def _window(self: Importer, node: Node) -> Fields:
    kernel = tuple(node.attributes["kernel_shape"])
    stride = tuple(node.attributes.get("strides", (1, 1)))
    return {
        "kernel": kernel,
        "stride": stride,
        "pads": _pads(self, node, self.value(node, 0), kernel, stride),
        "rounding": "ceil" if node.attributes.get("ceil_mode", 0) else "floor",
    }


def _global_avg_pool(self: Importer, node: Node) -> None:
    self.add(node, {"op": "global_avg_pool"}, (self.value(node, 0),))


def _reduce_mean(self: Importer, node: Node) -> None:
    axes = node.attributes.get("axes") or self.constant(node, 1, "axes")
    found = sorted(int(axis) % 4 for axis in axes) if axes is not None else []
    if found != [2, 3] or len(self.shape(self.value(node, 0))) != 3:
        raise UnsupportedError(f"expected the mean over height and width, found axes {found}")
    name = self.add(node, {"op": "global_avg_pool"}, (self.value(node, 0),))
    if not node.attributes.get("keepdims", 1):
        self.alias(node, self.insert({"op": "flatten"}, name))


def _relu(self: Importer, node: Node) -> None:
    self.add(node, {"op": "relu"}, (self.value(node, 0),))


def _tanh(self: Importer, node: Node) -> None:
    self.add(node, {"op": "tanh"}, (self.value(node, 0),))


def _softmax(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    shape, axis = self.shape(read), node.attributes.get("axis", 1 if self.opset < 13 else -1)
    channels_only = len(shape) == 3 and shape[1:] == (1, 1)
    # Before opset 13 an axis stood for all from there on.
    if axis != 1 and not (axis == -1 and len(shape) == 1):
        raise UnsupportedError(f"expected a softmax over features, found axis {axis} of {list(shape)}")
    if len(shape) == 3 and (channels_only or self.opset < 13):
        read = self.insert({"op": "flatten"}, read)
    self.add(node, {"op": "softmax"}, (read,))


def _dropout(self: Importer, node: Node) -> None:
    _stated(node, is_test=node.attributes.get("is_test", 1) or 1)
    ratio = self.constant(node, 1, "a ratio")
    training = self.constant(node, 2, "a mode")
    if training is not None and training.any():
        raise UnsupportedError("expected a dropout that evaluates, found training_mode")
    probability = node.attributes.get("ratio", 0.5) if ratio is None else float(ratio.reshape(()))
    fields = {"op": "dropout", "drop_probability": _shortest(probability), "convention": "inverted"}
    self.add(node, fields, (self.value(node, 0),))


def _flatten(self: Importer, node: Node) -> None:
    _stated(node, axis=1)
    _flattened(self, node)


def _reshape(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    stated = node.attributes.get("shape")
    target = stated if stated is not None else self.constant(node, 1, "a shape")
    if target is None:
        raise UnsupportedError("expected a shape, found none")
    features, found = prod(self.shape(read)), [int(extent) for extent in target]
    if len(found) != 2 or found[0] not in (-1, 0, 1) or found[1] not in (-1, features):
        raise UnsupportedError(f"expected a reshape to one row an image, found {found} of {list(self.shape(read))}")
    _flattened(self, node)


def _squeeze(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    stated = node.attributes.get("axes")
    axes = stated if stated is not None else self.constant(node, 1, "axes")
    found = sorted(int(axis) % 4 for axis in axes) if axes is not None else [2, 3]
    if found != [2, 3] or self.shape(read)[1:] != (1, 1):
        raise UnsupportedError(f"expected height and width of 1 to be dropped, found axes {found}")
    _flattened(self, node)


def _flattened(self: Importer, node: Node) -> None:
    read = self.value(node, 0)
    if len(self.shape(read)) == 1:
        self.alias(node, read)
    else:
        self.add(node, {"op": "flatten"}, (read,))


def _identity(self: Importer, node: Node) -> None:
    self.alias(node, self.value(node, 0))


def _concat(self: Importer, node: Node) -> None:
    reads = tuple(self.value(node, index) for index in range(len(node.inputs)))
    axis = node.attributes.get("axis", 1)
    if axis not in (1, 1 - 4 if len(self.shape(reads[0])) == 3 else -1):
        raise UnsupportedError(f"expected channels to be joined, found axis {axis}")
    if len(reads) == 1:
        self.alias(node, reads[0])
    else:
        self.add(node, {"op": "concat"}, reads)


def _sum(self: Importer, node: Node) -> None:
    constants = [index for index, value in enumerate(node.inputs) if value in self.known]
    if constants:
        _affine(self, node, constants, is_factor=False)
        return
    reads = tuple(self.value(node, index) for index in range(len(node.inputs)))
    if len(reads) == 1:
        self.alias(node, reads[0])
    else:
        self.add(node, {"op": "add"}, reads)


def _mul(self: Importer, node: Node) -> None:
    constants = [index for index, value in enumerate(node.inputs) if value in self.known]
    if not constants:
        raise UnsupportedError("expected a factor that is stored in the file, found two activations")
    _affine(self, node, constants, is_factor=True)


def _affine(self: Importer, node: Node, constants: list[int], is_factor: bool) -> None:
    """A factor or a summand a channel: part of the layer before it where that has one, else a batch norm of its own.

    One factor below 1 for everything is what dropout leaves when it evaluates, in the convention of 2012.
    """
    if len(node.inputs) != 2 or len(constants) != 1:
        raise UnsupportedError("expected one activation and one constant")
    index = 1 - constants[0]
    read = self.value(node, index)
    shape = self.shape(read)
    given = self.parameter(node, constants[0], "a constant")
    if is_factor and given.size == 1 and 0 < given.flat[0] < 1:
        share = _shortest(1.0 - float(given.flat[0]))
        self.add(node, {"op": "dropout", "drop_probability": share, "convention": "test_time"}, (read,))
        return
    try:
        # ONNX before opset 7 aligned a constant with `axis`; afterwards shapes are aligned from the right.
        axis = node.attributes.get("axis")
        if axis is not None and given.ndim == 1:
            given = given.reshape([-1 if place == axis else 1 for place in range(1 + len(shape))])
        full = np.broadcast_to(given, (1, *shape))
        values = np.ascontiguousarray(full.reshape(shape[0], -1)[:, 0])
    except ValueError:
        raise UnsupportedError(f"expected a constant a channel, found shape {list(given.shape)}") from None
    if not (full == values.reshape(1, -1, *[1] * (len(shape) - 1))).all():
        raise UnsupportedError("expected one constant a channel, found one that differs within a channel")
    before = self.own(read, node.inputs[index])
    tensors = self.done.tensors
    match before:
        case {"op": "batch_norm"} if is_factor:
            tensors[f"{read}.scale"] = tensors[f"{read}.scale"] * values
            tensors[f"{read}.shift"] = tensors[f"{read}.shift"] * values
        case {"op": "batch_norm"}:
            tensors[f"{read}.shift"] = tensors[f"{read}.shift"] + values
        case {"op": "conv" | "dense", "bias": False} if not is_factor:
            assert before is not None
            before["bias"] = True
            tensors[f"{read}.bias"] = values
        case {"op": "conv" | "dense", "bias": True} if not is_factor:
            tensors[f"{read}.bias"] = tensors[f"{read}.bias"] + values
        case _ if len(shape) == 3:
            ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
            scale, shift = (values, zeros) if is_factor else (ones, values)
            own = {"scale": scale, "shift": shift, "mean": zeros, "variance": ones}
            self.add(node, {"op": "batch_norm", "epsilon": NO_EPSILON}, (read,), own)
            return
        case _:
            raise UnsupportedError("expected it behind a layer with weights, or on images")
    self.alias(node, read)


def _shortest(value: float) -> float:
    """The shortest decimal that gives the same float32, which is how ONNX stores attributes: 0.0001."""
    return float(str(np.float32(value)))


RULES: dict[str, Rule] = {
    "Add": _sum,
    "AveragePool": _avg_pool,
    "BatchNormalization": _batch_norm,
    "Concat": _concat,
    "Conv": _conv,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_avg_pool,
    "Identity": _identity,
    "LRN": _lrn,
    "MatMul": _matmul,
    "MaxPool": _max_pool,
    "Mul": _mul,
    "ReduceMean": _reduce_mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Softmax": _softmax,
    "Squeeze": _squeeze,
    "Sum": _sum,
    "Tanh": _tanh,
}
