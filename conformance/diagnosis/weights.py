"""Tensors of an operator as they are often loaded wrongly: transposed, flipped, regrouped, of another layer, or not."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from conformance.oracle import Tensors
from conformance.windows import Array
from spec.operators import BatchNorm, Conv, Dense
from spec.shapes import Layer

Change = Callable[[Array], Array]


def other_tensors(
    layer: Layer, own: Tensors, every: Tensors, flattened: tuple[int, ...] | None
) -> Iterator[tuple[str, dict[str, Array]]]:
    """The operator's tensors with one of them changed, and that change in words: `weight: flipped`.

    `every` are the tensors of the whole network; `flattened` is the image whose features a dense layer reads.
    """
    shapes = layer.tensor_shapes
    changes = _changes(layer, flattened)
    for name in shapes:
        short = name.rpartition(".")[2]
        for change, made in changes.get(short, {}).items():
            value = made(own[name])
            if value.shape == shapes[name]:
                yield f"{short}: {change}", {**own, name: value}
        for other, value in every.items():
            if other != name and value.shape == shapes[name] and other.rpartition(".")[2] == short:
                yield f"{short}: that of {other.rpartition('.')[0]}", {**own, name: value}
    for change, made in changes.get("", {}).items():
        changed = {name: made(own[name]) for name in shapes}
        if all(changed[name].shape == shape for name, shape in shapes.items()):
            yield f"tensors: {change}", {**own, **changed}
    if isinstance(layer.operator, BatchNorm):
        yield from _exchanged(layer, own)


def _changes(layer: Layer, flattened: tuple[int, ...] | None) -> dict[str, dict[str, Change]]:
    """By short name what may become of one tensor; by the empty name what of all."""
    common: dict[str, Change] = {
        "missing": np.zeros_like,
        "negated": np.negative,
        "in reverse order": lambda v: v[::-1],
        "moved on by one": lambda v: np.roll(v, 1, 0),
        "moved back by one": lambda v: np.roll(v, -1, 0),
    }
    match layer.operator:
        case Conv() as operator:
            groups = operator.groups
            exchanged: dict[str, Change] = {}
            regrouped: dict[str, Change] = {}
            if groups > 1:
                exchanged["groups exchanged"] = lambda v: np.roll(v, len(v) // groups, 0)
                regrouped["regrouped"] = lambda v: _regrouped(v, groups)
            return {
                "weight": KERNELS | exchanged | regrouped | {"output channels in reverse order": lambda v: v[::-1]},
                "bias": common | {"doubled": lambda v: v * 2} | exchanged,
                "": exchanged | {"output channels in reverse order": lambda v: v[::-1]},
            }
        case Dense():
            flat: dict[str, Change] = {} if flattened is None else _orders(flattened)
            return {
                "weight": MATRICES | flat,
                "bias": common | {"doubled": lambda v: v * 2},
                "": {"outputs in reverse order": lambda v: v[::-1]},
            }
        case _:
            return {name.rpartition(".")[2]: _statistic(name, common) for name in layer.tensor_shapes}


def _statistic(name: str, common: Mapping[str, Change]) -> dict[str, Change]:
    """What may become of a tensor of a batch norm; without it, it does nothing."""
    neutral = 1.0 if name.endswith((".variance", ".scale")) else 0.0
    others: dict[str, Change] = {"missing": lambda values: np.full_like(values, neutral)}
    if name.endswith(".variance"):
        others |= {"its root": np.sqrt, "its square": np.square, "its inverse": lambda values: 1.0 / values}
    return {**common, **others}


def _regrouped(kernel: Array, groups: int) -> Array:
    """Output channels dealt to the groups in turn."""
    return np.ascontiguousarray(kernel.reshape(groups, -1, *kernel.shape[1:]).swapaxes(0, 1)).reshape(kernel.shape)


def _orders(image: tuple[int, ...]) -> dict[str, Change]:
    """A dense weight's columns, for features that were flattened in another order."""

    def last(weight: Array) -> Array:
        return weight.reshape(-1, *image).transpose(0, 2, 3, 1).reshape(weight.shape)

    def first(weight: Array) -> Array:
        channels, height, width = image
        return weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2).reshape(weight.shape)

    return {"columns in the order height, width, channels": last, "columns read as height, width, channels": first}


def _exchanged(layer: Layer, own: Tensors) -> Iterator[tuple[str, dict[str, Array]]]:
    """Two statistics of a batch norm in each other's place."""
    names = list(layer.tensor_shapes)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            words = f"{first.rpartition('.')[2]}: exchanged with {second.rpartition('.')[2]}"
            yield words, {**own, first: own[second], second: own[first]}


#: Of a kernel (O, I/groups, height, width).
KERNELS: dict[str, Change] = {
    "flipped": lambda v: v[:, :, ::-1, ::-1],
    "rows and columns exchanged": lambda v: v.transpose(0, 1, 3, 2),
    "rows in reverse order": lambda v: v[:, :, ::-1],
    "columns in reverse order": lambda v: v[:, :, :, ::-1],
    "input channels in reverse order": lambda v: v[:, ::-1],
    "input and output exchanged": lambda v: v.swapaxes(0, 1),
    "read as (H, W, I, O)": lambda v: v.reshape(*v.shape[2:], v.shape[1], v.shape[0]).transpose(3, 2, 0, 1),
    "read as (O, H, W, I)": lambda v: v.reshape(v.shape[0], *v.shape[2:], v.shape[1]).transpose(0, 3, 1, 2),
    "written as (O, H, W, I)": lambda v: v.transpose(0, 2, 3, 1).reshape(v.shape),
    "missing": np.zeros_like,
    "negated": np.negative,
}

#: Of a matrix (out, in).
MATRICES: dict[str, Change] = {
    "transposed": lambda v: v.T,
    "read as (in, out)": lambda v: v.reshape(v.shape[::-1]).T,
    "written as (in, out)": lambda v: v.T.reshape(v.shape),
    "flipped": lambda v: v[::-1, ::-1],
    "rows in reverse order": lambda v: v[::-1],
    "columns in reverse order": lambda v: v[:, ::-1],
    "missing": np.zeros_like,
    "negated": np.negative,
}
