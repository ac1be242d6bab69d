"""How a trained network does on one split of the data."""

from dataclasses import dataclass

import numpy as np

from conformance.evaluation import top_error_percent
from conformance.train.dataset import Indices, Split
from conformance.train.plan import Plan
from conformance.train.trainee import Trainee

#: How many inputs of the network `predict` makes of an image.
VIEWS = {"centre": 1, "ten_crop": 10}
#: So many bytes of activations, and images, are predicted at a time.
MOST_BYTES, MOST_IMAGES = 2**28, 1024
#: The second error that is reported, and from how many classes on it says something.
TOP, TOP_FROM_CLASSES = 5, 50
#: A label's probability counts as no less, so that its logarithm is a number.
LEAST_PROBABILITY = 1e-30


class NotFiniteError(Exception):
    """A network predicted something that is no number."""


@dataclass(frozen=True)
class Tested:
    """How a network does on one split."""

    images: int
    loss: float
    """Mean of −log p of the label, p being the average over views."""
    error_percent: float
    top5_error_percent: float | None
    """None where classes are few."""


def score(plan: Plan, trainee: Trainee, split: Split, most: int | None = None) -> Tested:
    """How the network does on a split, or the first `most` images of it; raises NotFiniteError and WorkerError."""
    data, dataset = plan.batches.data, plan.dataset
    indices = dataset.splits[split]
    if most is not None:
        indices = indices[:most]
    parts = [trainee.predict(data.preparation.whole(data.squares(some))) for some in _in_parts(plan, indices)]
    probabilities, labels = np.concatenate(parts), dataset.labels(indices)
    if not np.isfinite(probabilities).all():
        raise NotFiniteError("expected finite probabilities, found some that are not")
    right = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    many = probabilities.shape[1] >= TOP_FROM_CLASSES
    return Tested(
        images=len(labels),
        loss=float(-np.log(np.maximum(right, LEAST_PROBABILITY)).mean()),
        error_percent=top_error_percent(probabilities, labels, 1),
        top5_error_percent=top_error_percent(probabilities, labels, TOP) if many else None,
    )


def _in_parts(plan: Plan, indices: Indices) -> list[Indices]:
    """As many at a time as memory should hold."""
    network = plan.network
    image_bytes = (network.bytes_needed(2) - network.bytes_needed(1)) * VIEWS[plan.evaluation.views]
    at_a_time = min(MOST_IMAGES, max(1, MOST_BYTES // image_bytes))
    return [indices[first : first + at_a_time] for first in range(0, len(indices), at_a_time)]
