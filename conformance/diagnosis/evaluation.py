"""Diagnoses predictions of whole images: which other views, or another average, would make what was found right."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from conformance.diagnosis.notes import note
from conformance.evaluation import Average, averaged
from conformance.evaluation_oracle import view_logits
from conformance.measure import Array
from conformance.oracle import Tensors
from conformance.results import Explanation, Result
from conformance.strays import stray
from conformance.usual import Judged
from spec.network import Network
from spec.recipe import Evaluation

#: Of a network with more multiplications, all views together, nothing is tried: they would take the oracle minutes.
MOST_MACS = 20_000_000_000

#: Where a centre is often put instead, in rows and columns.
MOVES = {"down": (1, 0), "right": (0, 1), "down and right": (1, 1), "up": (-1, 0), "left": (0, -1)}


def diagnosed(
    result: Result, actual: Array, found: Judged, network: Network, stated: Evaluation, tensors: Tensors, images: Array
) -> Result:
    """The failed result with what would explain it: an error that is no more than the usual one may be."""
    views = 10 if stated.views == "ten_crop" else 1
    if network.macs * views * len(images) > MOST_MACS or found.stray.unusable:
        return result
    logits = view_logits(network, stated, tensors, images.astype(np.float64))
    tried, explanations = 0, []
    for change, value in _others(network, stated, tensors, images.astype(np.float64), logits):
        tried += 1
        off = stray(actual, value).rms / found.usual
        if off <= found.factor:
            said = note("evaluation", change, result.variant.framework)
            explanations.append(Explanation(change, found.ratio, off, result.unit, said))
    return replace(result, explanations=tuple(sorted(explanations, key=lambda each: each.after)), tried=tried)


def _others(
    network: Network, stated: Evaluation, tensors: Tensors, images: Array, logits: Array
) -> Iterator[tuple[str, Array]]:
    """Other probabilities, each with what is other in words."""
    average: Average = "logits" if stated.average == "probabilities" else "probabilities"
    yield f"average: {average}", averaged(logits, average)
    right = averaged(logits, stated.average)
    yield "batch: in reverse order", right[::-1]
    yield "probabilities: logits", logits.mean(axis=0)
    yield "probabilities: their logarithm", np.log(right)
    if stated.views == "centre":
        ten = stated.model_copy(update={"views": "ten_crop"})
        yield "views: ten_crop", averaged(view_logits(network, ten, tensors, images), stated.average)
        return
    half = len(logits) // 2
    yield "views: centre", averaged(logits[half - 1 : half], stated.average)
    yield "views: none mirrored", averaged(logits[:half], stated.average)
    yield "views: all mirrored", averaged(logits[half:], stated.average)
    corners = [view for view in range(len(logits)) if view % half != half - 1]
    yield "views: corners alone", averaged(logits[corners], stated.average)
    yield "views: centre and its mirror image", averaged(logits[[half - 1, 2 * half - 1]], stated.average)
    for view in range(len(logits)):
        mirrored = logits.copy()
        mirrored[view] = logits[(view + half) % len(logits)]
        yield f"views: crop {view + 1} mirrored", averaged(mirrored, stated.average)
        yield f"views: crop {view + 1} missing", averaged(np.delete(logits, view, 0), stated.average)
    for words, by in MOVES.items():
        if (moved := _centre(network, stated, tensors, images, by)) is not None:
            other = logits.copy()
            other[half - 1], other[-1] = moved
            yield f"centre: one pixel {words}", averaged(other, stated.average)
    upside_down = logits.copy()
    upside_down[half:] = view_logits(network, stated, tensors, images[:, :, ::-1])[[2, 3, 0, 1, 4]]
    yield "views: upside down for mirrored", averaged(upside_down, stated.average)


def _centre(
    network: Network, stated: Evaluation, tensors: Tensors, images: Array, by: tuple[int, int]
) -> tuple[Array, Array] | None:
    """Logits of the centre moved down and right `by` pixels, and of its mirror image; None beyond an edge."""
    _, height, width = network.input.shape
    top, left = (images.shape[2] - height) // 2 + by[0], (images.shape[3] - width) // 2 + by[1]
    crop = images[:, :, max(top, 0) : top + height, max(left, 0) : left + width]
    if crop.shape[2:] != (height, width):
        return None
    alone = stated.model_copy(update={"views": "centre"})
    straight, mirrored = (view_logits(network, alone, tensors, each)[0] for each in (crop, crop[..., ::-1]))
    return straight, mirrored
