"""Dropout while training: which elements are kept, and what the kept ones are multiplied by."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from conformance.windows import Array
from spec.exits import InputError
from spec.network import Network
from spec.operators import Dropout
from spec.weights import generator

Mask = npt.NDArray[np.bool_]


def drawn_masks(network: Network, batch: int, seed: int, step: int) -> dict[str, Mask]:
    """Which elements each dropout keeps in training step `step`: (batch, *output shape), by the dropout's name."""
    masks = {}
    for layer in network.layers:
        if isinstance(layer.operator, Dropout):
            random = generator(seed, "dropout", layer.name, step)
            drawn = random.random((batch, *layer.output_shape), np.float32)
            masks[layer.name] = drawn >= layer.operator.drop_probability
    return masks


def check_masks(network: Network, masks: Mapping[str, Mask], batch: int) -> None:
    """Raise InputError unless `masks` has one mask of its shape for each dropout, and no other."""
    shapes = {
        layer.name: (batch, *layer.output_shape) for layer in network.layers if isinstance(layer.operator, Dropout)
    }
    for name, shape in shapes.items():
        if name not in masks:
            raise InputError(f"dropout {name!r}: expected a mask of shape {list(shape)}, found none")
        if masks[name].shape != shape:
            raise InputError(
                f"dropout {name!r}: expected a mask of shape {list(shape)}, found {list(masks[name].shape)}"
            )
        if masks[name].dtype != np.bool_:
            raise InputError(f"dropout {name!r}: expected a mask of true and false, found {masks[name].dtype}")
    for name in masks.keys() - shapes.keys():
        raise InputError(f"dropout mask {name!r:.80}: expected one of {', '.join(shapes) or 'none'}")


def training_scale(operator: Dropout, mask: Mask | None, like: Array) -> Array:
    """What training multiplies every element by: 0 where it is dropped; where it is kept 1, or 1/keep if inverted.

    With `test_time` the kept ones are left alone, and evaluation multiplies all by the keep probability (§4.2).
    """
    if mask is None:
        raise InputError(f"dropout {operator.name!r}: expected a mask, found none")
    if mask.shape != like.shape:
        raise InputError(
            f"dropout {operator.name!r}: expected a mask of shape {list(like.shape)}, found {list(mask.shape)}"
        )
    kept = 1.0 if operator.convention == "test_time" else 1.0 / (1.0 - operator.drop_probability)
    return mask.astype(like.dtype) * like.dtype.type(kept)
