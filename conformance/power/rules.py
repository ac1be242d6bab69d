"""What other rules would have said of the same runs: `allclose` and cosine similarity, of the output or any tap."""

from collections.abc import Callable, Mapping

import numpy as np

from conformance.measure import Array


def allclose(tolerance: float) -> Callable[[Array, Array], bool]:
    """|y − y64| ≤ tolerance + tolerance·|y64| everywhere: `numpy.allclose`, rtol and atol alike."""

    def holds(actual: Array, expected: Array) -> bool:
        return bool(np.allclose(actual, expected, rtol=tolerance, atol=tolerance))

    return holds


def cosine(least: float) -> Callable[[Array, Array], bool]:
    """x·y ≥ least·|x|·|y|, all elements as one vector; what holds a NaN never is."""

    def holds(actual: Array, expected: Array) -> bool:
        x, y = actual.ravel(), expected.ravel()
        lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
        return bool(x @ y >= least * lengths)

    return holds


RULES: Mapping[str, Callable[[Array, Array], bool]] = {
    "allclose 1e-3": allclose(1e-3),
    "allclose 1e-4": allclose(1e-4),
    "allclose 1e-5": allclose(1e-5),
    "cosine 0.99": cosine(0.99),
}


def rejections(actual: Mapping[str, Array], expected: Mapping[str, Array], output: str) -> dict[str, dict[str, bool]]:
    """Which rules reject an end-to-end trace, by the network's output alone and by any tap.

    Both are compared with the float64 chain. A tap that is missing, or of another shape, is rejected by every rule.
    """
    found = {}
    for name, rule in RULES.items():
        rejected = {tap: not _holds(rule, actual.get(tap), value) for tap, value in expected.items()}
        found[name] = {"output": rejected[output], "taps": any(rejected.values())}
    return found


def _holds(rule: Callable[[Array, Array], bool], actual: Array | None, expected: Array) -> bool:
    if actual is None or actual.shape != expected.shape:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return rule(actual.astype(np.float64), expected)
