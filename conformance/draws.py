"""What a framework draws at random: whether it is distributed as stated, and whether two draws are two."""

from collections.abc import Mapping
from itertools import combinations
from typing import assert_never

import numpy as np

from conformance.measure import Array
from spec.recipe import Initialiser, Normal, Uniform

SAMPLE = 100_000
"""Of larger tensors so many elements are tested, evenly taken: enough to see a standard deviation that is off by 3%."""
FEWEST, MOST = 32, 1 << 19
"""How many elements a tensor must have so that others' values in it are no chance, and may have at most."""
TRIED = 256
"""How many elements of a tensor are looked for in another."""
ALIKE = 2.0**-22
"""How near two draws are that are one, before they are scaled and shifted in float32."""


def goodness(values: Array, stated: Normal | Uniform) -> tuple[float, float]:
    """Kolmogorov-Smirnov: how far the distribution of `values` is from the stated one, and how probable so much is."""
    from scipy import stats  # late: it takes seconds, and most runs of the suite draw nothing

    flat = values.reshape(-1)
    sample = flat[:: max(1, flat.size // SAMPLE)].astype(np.float64)
    match stated:
        case Normal(mean=mean, std=std):
            result = stats.kstest(sample, stats.norm(mean, std).cdf)
        case Uniform(low=low, high=high):
            result = stats.kstest(sample, stats.uniform(low, high - low).cdf)
        case _:
            assert_never(stated)
    return float(result.statistic), float(result.pvalue)


def standardised(values: Array, stated: Normal | Uniform) -> Array:
    """The draws before they were scaled and shifted, in ascending order."""
    match stated:
        case Normal(mean=mean, std=std):
            return np.sort((values.reshape(-1).astype(np.float64) - mean) / std)
        case Uniform(low=low, high=high):
            return np.sort((values.reshape(-1).astype(np.float64) - low) / (high - low))
        case _:
            assert_never(stated)


def twins(tensors: Mapping[str, Array], stated: Mapping[str, Initialiser]) -> dict[str, str]:
    """Tensors whose values are among another's: all of one stream of random numbers, begun anew. The other's name."""
    found = {}
    for kind in (Normal, Uniform):
        drawn = {
            name: standardised(values, initialiser)
            for name, values in tensors.items()
            if FEWEST <= values.size <= MOST and isinstance(initialiser := stated[name], kind)
        }
        for one, other in combinations(drawn, 2):
            less, more = sorted((one, other), key=lambda name: drawn[name].size)
            if _are_among(drawn[less], drawn[more]):
                found[other] = one
    return found


def _are_among(values: Array, others: Array) -> bool:
    """Whether nearly all of `values` are also `others`; both are sorted."""
    tried = values[:: max(1, values.size // TRIED)]
    places = np.searchsorted(others, tried)
    nearest = np.minimum(
        np.abs(others[np.minimum(places, others.size - 1)] - tried), np.abs(others[np.maximum(places - 1, 0)] - tried)
    )
    return bool(np.mean(nearest <= ALIKE * np.maximum(1.0, np.abs(tried))) > 0.9)
