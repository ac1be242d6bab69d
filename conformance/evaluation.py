"""How a trained network is tested: crops of an image, averages over them and over networks, top-1 and top-5 errors."""

from collections.abc import Sequence
from typing import Literal, assert_never

import numpy as np

from conformance.losses import Labels, check_labels
from conformance.oracle import softmax
from conformance.windows import Array
from spec.exits import InputError

Views = Literal["centre", "ten_crop"]
Average = Literal["probabilities", "logits"]


def crops(images: Array, size: tuple[int, int], views: Views) -> Array:
    """Views of images (N, C, H, W): (views, N, C, *size).

    `ten_crop`: top left, top right, bottom left, bottom right, centre; then their mirror images in the same order
    (§4.1). Where the margin is odd the centre lies one pixel nearer to the top or left. Raises InputError.
    """
    height, width = size
    rows, columns = images.shape[2] - height, images.shape[3] - width
    if rows < 0 or columns < 0:
        raise InputError(
            f"crops: expected images of at least {height}×{width} pixels, found {images.shape[2]}×{images.shape[3]}"
        )
    centre = (rows // 2, columns // 2)
    match views:
        case "centre":
            corners = [centre]
        case "ten_crop":
            corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), centre]
        case _:
            assert_never(views)
    straight = np.stack([images[:, :, top : top + height, left : left + width] for top, left in corners])
    return straight if views == "centre" else np.concatenate([straight, straight[..., ::-1]])


def averaged(logits: Array, average: Average) -> Array:
    """Probabilities (N, classes) from logits (views, N, classes) of all views of each image."""
    match average:
        case "probabilities":
            return mean([softmax(each) for each in logits])
        case "logits":
            return softmax(mean(list(logits)))
        case _:
            assert_never(average)


def ensemble(logits: Sequence[Array], average: Average) -> Array:
    """Probabilities (N, classes) from each network's logits (views, N, classes); every network counts the same.

    The paper averages the predictions of its networks, as it does those of views (§6.1). Networks may differ in views.
    """
    match average:
        case "probabilities":
            return mean([averaged(each, average) for each in logits])
        case "logits":
            return softmax(mean([mean(list(each)) for each in logits]))
        case _:
            assert_never(average)


def mean(arrays: Sequence[Array]) -> Array:
    """The mean of arrays of one shape. Raises InputError for none."""
    if not arrays:
        raise InputError("average: expected at least one prediction, found none")
    y: Array = np.mean(np.stack(arrays), axis=0)
    return y


def top_error_percent(scores: Array, labels: Labels, k: int) -> float:
    """In how many of 100 images the label is not among the `k` classes of highest score.

    Of equal scores the lower class ranks first, as in the top-k of torch, JAX and TensorFlow; a score that is no number
    ranks last. Raises InputError.
    """
    images, classes = scores.shape
    if images == 0:
        raise InputError("evaluation: expected at least one image, found none")
    if not 1 <= k <= classes:
        raise InputError(f"evaluation: expected k from 1 to {classes} classes, found {k}")
    check_labels(labels, classes, images)
    highest_first = np.argsort(np.where(np.isnan(scores), np.inf, -scores), axis=1, kind="stable")
    found = (highest_first[:, :k] == labels[:, None]).any(axis=1) & ~np.isnan(scores[np.arange(images), labels])
    return 100.0 * float(np.mean(~found))
