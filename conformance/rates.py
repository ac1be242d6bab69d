"""How sure a counted rate is: exact intervals."""

from scipy.stats import binomtest


def rate_interval(events: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a rate (Clopper and Pearson 1934)."""
    interval = binomtest(events, of).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def rate_upper_bound(events: int, of: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound of a rate."""
    return float(binomtest(events, of, alternative="less").proportion_ci(confidence, method="exact").high)
