"""What is looked for where no listed change explains a failure: two fields at once, and values between those listed."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from conformance.checks import Distance
from conformance.diagnosis.alternatives import Alternative, Asked
from conformance.diagnosis.judge import Judge
from conformance.diagnosis.smaller import smaller
from conformance.diagnosis.wrong_values import pairs
from conformance.windows import Array
from spec.operators import Relu

#: So many pairs of fields are evaluated, on a small part; those of another shape cost nothing.
MOST_PAIRS = 600
#: A value is looked for in so many places, and from the best on more closely.
PLACES = 25
#: Between which values of a field one is looked for: of those on a logarithmic scale, decades about the stated one.
DECADES: dict[str, float] = {"k": 3.0, "alpha": 4.0, "epsilon": 6.0}
BETWEEN: dict[str, tuple[float, float]] = {"beta": (0.0, 4.0), "drop_probability": (0.0, 0.99)}


#: Beyond the logarithm of every error.
WORST = 1e3


@dataclass(frozen=True)
class Small:
    """A small part of an operator's work, and how far others are from it."""

    asked: Asked
    judge: Judge

    @classmethod
    def of(cls, asked: Asked, judge: Judge) -> "Small":
        """That of a whole one."""
        own, actual = smaller(asked, judge.actual)
        return cls(own, judge.on(own, actual))

    def distance(self, update: Mapping[str, Any]) -> Distance | None:
        """How far the operator with other fields is from what was found; None where it has another shape, or none."""
        own = self.asked.changed(self.asked.layer.operator.model_copy(update=dict(update)))
        if own is None or own.layer.output_shape != self.judge.actual.shape[1:]:
            return None
        return self.judge.compared(Alternative("", own))


def searched(asked: Asked, judge: Judge) -> tuple[int, list[Alternative]]:
    """How many pairs of fields and values were tried, and those that the whole is to be held against."""
    small = Small.of(asked, judge)
    judged = ((pair, small.distance(pair.update)) for pair in pairs(asked.layer.operator))
    tried = list(islice((each for each in judged if each[1] is not None), MOST_PAIRS))
    together = [(pair.words, pair.update) for pair, distance in tried if distance is not None and distance.within]
    if judge.before is None or not np.isfinite(judge.before.error.rms):
        return len(tried), list(_of_fields(asked, together))
    numbers = [name for name in (*DECADES, *BETWEEN) if name in type(asked.layer.operator).model_fields]
    nearest = {name: _nearest(name, getattr(asked.layer.operator, name), small) for name in numbers}
    fitted = [(f"{name}: about {value:.4g}", {name: value}) for name, value in nearest.items()]
    factors = list(_factors(asked, judge.actual))
    return len(tried) + len(fitted) + len(factors), [*_of_fields(asked, [*together, *fitted]), *factors]


def _of_fields(asked: Asked, changes: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Alternative]:
    for words, update in changes:
        if (own := asked.changed(asked.layer.operator.model_copy(update=dict(update)))) is not None:
            yield Alternative(words, own)


def _nearest(name: str, stated: float, small: Small) -> float:
    """The value of a field with the smallest error on the small part."""
    from scipy.optimize import minimize_scalar  # late: it takes seconds, and most runs of the suite look for nothing

    def at(place: float) -> float:
        return 10.0**place if name in DECADES else place

    def error(place: float) -> float:
        distance = small.distance({name: at(place)})
        return float(np.log1p(distance.error.rms)) if distance is not None else WORST

    low, high = BETWEEN.get(name, (0.0, 0.0))
    if name in DECADES:
        middle = np.log10(stated or 1e-4)
        low, high = middle - DECADES[name], middle + DECADES[name]
    places = np.linspace(low, high, PLACES)
    best = int(np.argmin([error(place) for place in places]))
    bounds = (places[max(best - 1, 0)], places[min(best + 1, PLACES - 1)])
    return at(float(minimize_scalar(error, bounds=bounds, method="bounded", options={"xatol": 1e-12}).x))


def _factors(asked: Asked, actual: Array) -> Iterator[Alternative]:
    """A factor on the output, or on what a ReLU is given below 0, by least squares."""
    if isinstance(asked.layer.operator, Relu):
        x = asked.inputs[0]
        below = np.minimum(x, 0.0)
        slope = _factor(actual - np.maximum(x, 0.0), below)
        yield Alternative(f"operator: leaky, slope about {slope:.4g}", asked, _leaky(slope), exact=False)
    factor = _factor(actual, asked.value())
    yield Alternative(f"output: times about {factor:.4g}", asked, after=lambda value: factor * value, exact=False)


def _factor(actual: Array, of: Array) -> float:
    """By what `of` is multiplied in `actual`, at best."""
    return float((actual * of).sum() / max(float((of * of).sum()), 1e-300))


def _leaky(slope: float) -> Callable[[Asked], Array]:
    return lambda own: np.where(own.inputs[0] > 0, own.inputs[0], slope * own.inputs[0])
