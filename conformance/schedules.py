"""The learning rate of every epoch, which are counted from 0."""

from collections.abc import Sequence
from typing import assert_never

from conformance.updates import Rates
from spec.recipe import Plateau, Sgd, Steps


def rates(schedule: Steps | Plateau, optimizer: Sgd, epoch: int, errors: Sequence[float]) -> Rates:
    """Rates of weights and biases in `epoch`; `errors` are the validation errors of the epochs before it."""
    weights = rate(schedule, epoch, errors)
    followed = weights if optimizer.bias_schedule == "of_weights" else schedule.rate
    return Rates(weights, followed * optimizer.bias_rate_factor)


def rate(schedule: Steps | Plateau, epoch: int, errors: Sequence[float]) -> float:
    """ε in `epoch`; a schedule of steps needs no errors."""
    match schedule:
        case Steps():
            drops = sum(epoch >= step for step in schedule.epochs)
        case Plateau():
            if len(errors) < epoch:
                raise ValueError(f"expected validation errors of the {epoch} epochs before, found {len(errors)}")
            drops = plateau_drops(schedule, errors[:epoch])
        case _:
            assert_never(schedule)
    return schedule.rate * schedule.factor**drops


def plateau_drops(schedule: Plateau, errors: Sequence[float]) -> int:
    """How often the rate has been lowered after epochs with these validation errors.

    After `patience` epochs in a row without an error below the least so far it is lowered, and the count begins anew;
    `drops` times at most. NaN is never below anything.
    """
    least, waited, drops = float("inf"), 0, 0
    for error in errors:
        if error < least:
            least, waited = error, 0
        else:
            waited += 1
        if waited == schedule.patience and drops < schedule.drops:
            drops, waited = drops + 1, 0
    return drops
