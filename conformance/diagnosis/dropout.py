"""Diagnoses a dropout: which other behaviour, while training and not, would make what was found right."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from conformance.diagnosis.notes import note
from conformance.diagnosis.wrong_values import TENTHS, wrong_values
from conformance.results import Explanation, Result
from spec.operators import Dropout


@dataclass(frozen=True)
class Behaviour:
    """What a dropout does."""

    name: str
    drop_probability: float
    training_scale: float
    """The factor on what is kept."""
    evaluation_scale: float
    drops_always: bool = False
    """When the network evaluates too."""
    keeps_all: bool = False
    """While training too."""
    mask_inverted: bool = False
    """Whether what a mask says to keep is dropped."""

    @classmethod
    def of(cls, operator: Dropout) -> "Behaviour":
        """What the spec states."""
        scale = 1.0 if operator.convention == "test_time" else 1.0 / (1.0 - operator.drop_probability)
        return cls(operator.name, operator.drop_probability, scale, operator.evaluation_scale)


def diagnosed(
    result: Result, operator: Dropout, wrong: Callable[[Behaviour], str], off: Callable[[Behaviour], float]
) -> Result:
    """The failed result with what would explain it: a behaviour against which nothing is `wrong`, in ULP `off` it."""
    tried, found = 0, []
    before = off(Behaviour.of(operator))
    for change, behaviour in _others(operator):
        tried += 1
        if not wrong(behaviour):
            said = note("dropout", change, result.variant.framework)
            found.append(Explanation(change, before, off(behaviour), "ULP", said))
    return replace(result, explanations=tuple(found), tried=tried)


def _others(operator: Dropout) -> Iterator[tuple[str, Behaviour]]:
    stated = Behaviour.of(operator)
    for change, other in wrong_values(operator):
        if isinstance(other, Dropout) and other.drop_probability < 1:
            yield change, Behaviour.of(other)
    keep = 1.0 - operator.drop_probability
    for words, scale in (
        ("none", 1.0),
        ("the inverse of the keep probability", 1.0 / keep),
        ("the keep probability", keep),
    ):
        if scale != stated.training_scale:
            yield f"scale while training: {words}", replace(stated, training_scale=scale)
        if scale != stated.evaluation_scale:
            yield f"scale while evaluating: {words}", replace(stated, evaluation_scale=scale)
        yield f"evaluation: drops too, scale {words}", replace(stated, drops_always=True, evaluation_scale=scale)
    for probability in (keep, *TENTHS, 0.25, 0.75):
        if 0 < probability != operator.drop_probability:
            yield f"drop_probability while training: {probability:.6g}", replace(stated, drop_probability=probability)
            scale = 1.0 / (1.0 - probability) if operator.convention == "inverted" else stated.training_scale
            change = f"drop_probability and scale while training: {probability:.6g}"
            yield change, replace(stated, drop_probability=probability, training_scale=scale)
    yield "training: drops nothing", replace(stated, keeps_all=True, drop_probability=0.0)
    yield (
        "operator: absent",
        replace(stated, keeps_all=True, drop_probability=0.0, training_scale=1.0, evaluation_scale=1.0),
    )
    yield "mask: inverted", replace(stated, mask_inverted=True)
