"""Softmax cross-entropy: the loss of a batch, and its gradient with respect to the logits."""

from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.oracle import softmax
from conformance.windows import Array
from spec.exits import InputError
from spec.recipe import Loss

Labels = npt.NDArray[np.integer[Any]]


def check_labels(labels: Labels, classes: int, batch: int) -> None:
    """Raise InputError unless there is one label for each of `batch` examples, from 0 to `classes` − 1."""
    if labels.shape != (batch,) or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"labels: expected {batch} whole numbers, found {labels.dtype} of shape {list(labels.shape)}")
    wrong = np.flatnonzero((labels < 0) | (labels >= classes))
    if wrong.size:
        raise InputError(
            f"labels: expected classes from 0 to {classes - 1}, found {labels[wrong[0]]} at example {wrong[0]}"
        )


def cross_entropies(logits: Array, labels: Labels) -> Array:
    """log Σ exp(z) − z of the label, an example: the negative of what the paper maximises (§3.5)."""
    check_labels(labels, logits.shape[1], len(logits))
    shifted = logits - logits.max(axis=1, keepdims=True)
    y: Array = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return y


def loss(logits: Array, labels: Labels, stated: Loss) -> Array:
    """The sum of `cross_entropies` over the batch, or their mean; without dimensions."""
    each = cross_entropies(logits, labels)
    return np.asarray(each.sum() if stated.reduction == "sum" else each.mean())


def loss_gradient(logits: Array, labels: Labels, stated: Loss) -> Array:
    """softmax(z) − 1 at the label; over the examples of the batch if the loss is their mean."""
    check_labels(labels, logits.shape[1], len(logits))
    g = softmax(logits)
    g[np.arange(len(labels)), labels] -= 1
    return g if stated.reduction == "sum" else g / len(logits)
