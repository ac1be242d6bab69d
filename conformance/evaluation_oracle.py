"""What the oracle predicts of whole images, alone and as an ensemble of two networks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conformance.backpropagation import logits_tap
from conformance.evaluation import averaged, crops, ensemble
from conformance.losses import Labels
from conformance.measure import Array
from conformance.oracle import Tensors, evaluate
from conformance.strays import Stray, rms, stray
from spec.inputs import inputs
from spec.network import Network
from spec.recipe import Evaluation
from spec.tensors import read

MARGIN = 29
"""How much larger than the network's input images are where no preprocessing says: as the paper's are, and odd."""
RANKS = (4, 0, 5, 1)
"""Which class in the oracle's order an image is labelled with, one image after the other: right, and just not right."""


@dataclass(frozen=True)
class Prediction:
    """Probabilities (N, classes) that a worker's are compared with."""

    probabilities: Array
    size: float
    """RMS."""
    yardstick: Stray
    """The error of NumPy's float32."""


@dataclass(frozen=True)
class Predictions:
    """All that the oracle predicts."""

    first: Prediction
    """Of the first network."""
    together: Prediction | None
    """Of all networks averaged; none where there is one."""
    labels: Labels
    """A class for each image."""
    mirrored: float
    """By how much the first prediction moves (RMS), at least, if one view is mirrored; infinite where there is one."""


def predictions(network: Network, stated: Evaluation, weights: Sequence[Path], images: Array) -> Predictions:
    """What each network, with the weights in those files, predicts of images in float32, and all together."""
    exact = [view_logits(network, stated, read(path), images.astype(np.float64)) for path in weights]
    single = [view_logits(network, stated, read(path), images) for path in weights]
    first = _prediction(averaged(exact[0], stated.average), averaged(single[0], stated.average))
    together = _prediction(ensemble(exact, stated.average), ensemble(single, stated.average))
    highest_first = np.argsort(-first.probabilities, axis=1, kind="stable")
    ranks = [RANKS[index % len(RANKS)] % highest_first.shape[1] for index in range(len(images))]
    return Predictions(
        first=first,
        together=together if len(weights) > 1 else None,
        labels=highest_first[np.arange(len(images)), ranks],
        mirrored=_mirrored(exact[0], stated),
    )


def whole_images(network: Network, seed: int, count: int) -> Array:
    """Photographs, or noise for what reads no images, before any view is cropped: (count, C, H, W)."""
    channels, height, width = network.input.shape
    side = network.preprocessing.centre_crop if network.preprocessing else max(height, width) + MARGIN
    shape = (channels, max(height, side), max(width, side))
    larger = network.model_copy(update={"input": network.input.model_copy(update={"shape": shape})})
    return inputs(larger, "photographs", seed, count)


def view_logits(network: Network, stated: Evaluation, tensors: Tensors, images: Array) -> Array:
    """Logits (views, N, classes) of all views, in the precision of `images`."""
    _, height, width = network.input.shape
    wanted = logits_tap(network)
    found = []
    for view in crops(images, (height, width), stated.views):
        taps = {network.input.name: view}
        for layer in network.layers:
            taps[layer.name] = evaluate(layer, tuple(taps[name] for name in layer.operator.reads), tensors)
        found.append(taps[wanted])
    return np.stack(found)


def _prediction(exact: Array, single: Array) -> Prediction:
    return Prediction(exact, rms(exact), stray(single.astype(np.float32), exact))


def _mirrored(logits: Array, stated: Evaluation) -> float:
    if stated.views == "centre":
        return float("inf")
    right, views = averaged(logits, stated.average), len(logits)
    moved = []
    for view in range(views):
        wrong = logits.copy()
        wrong[view] = logits[(view + views // 2) % views]
        moved.append(rms(averaged(wrong, stated.average) - right))
    return min(moved)
