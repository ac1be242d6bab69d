"""How sure a counted rate is: exact intervals.

SciPy is imported late: it takes seconds, and what is wrong with a command line is told sooner.
"""


def rate_interval(events: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a rate (Clopper and Pearson 1934)."""
    from scipy.stats import binomtest

    interval = binomtest(events, of).proportion_ci(confidence, method="exact")
    return float(interval.low), float(interval.high)


def rate_upper_bound(events: int, of: int, confidence: float = 0.95) -> float:
    """The exact one-sided upper bound of a rate."""
    from scipy.stats import binomtest

    return float(binomtest(events, of, alternative="less").proportion_ci(confidence, method="exact").high)
