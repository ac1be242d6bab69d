"""Learning rates, epoch by epoch, by hand."""

import pytest

from conformance.schedules import rate, rates
from conformance.updates import Rates
from spec.load import load
from spec.recipe import Plateau, Steps

STEPS = Steps(kind="steps", rate=0.5, factor=0.5, epochs=(2, 3))
PLATEAU = Plateau(kind="plateau", rate=1.0, factor=0.5, drops=2, patience=2)


def test_steps_lower_the_rate_at_the_start_of_each_epoch_named() -> None:
    assert [rate(STEPS, epoch, []) for epoch in range(5)] == [0.5, 0.5, 0.25, 0.125, 0.125]


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0], [1.0] * 7),
        ([9.0, 9.0, 9.0, 9.0, 9.0, 9.0], [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25]),
        ([5.0, 6.0, 4.0, 6.0, 5.0, 4.5], [1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.5]),
        ([5.0, float("nan"), float("nan"), 4.0, 4.0, 3.0], [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.5]),
        ([1.0] * 10, [1.0, 1.0, 1.0, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25]),
    ],
    ids=["falls", "never-falls", "falls-late", "nan", "drops-are-used-up"],
)
def test_plateau_lowers_the_rate_once_errors_have_not_fallen_for_its_patience(
    errors: list[float], expected: list[float]
) -> None:
    assert [rate(PLATEAU, epoch, errors) for epoch in range(len(errors) + 1)] == expected


def test_plateau_looks_at_the_epochs_before_and_no_further() -> None:
    assert rate(PLATEAU, 2, [9.0, 9.0, 9.0, 9.0]) == 1.0
    with pytest.raises(ValueError, match="expected validation errors of the 3 epochs before, found 2"):
        rate(PLATEAU, 3, [9.0, 9.0])


def test_the_papers_patience_lets_all_of_its_drops_fire_at_the_epoch_that_the_spec_counts() -> None:
    training = load("alexnet").training
    assert training is not None and isinstance(training.schedule, Plateau)
    last = training.schedule.drops * training.schedule.patience + 1
    errors = [1.0] * last
    assert rate(training.schedule, last, errors) == pytest.approx(1e-5, rel=1e-12)
    assert rate(training.schedule, last - 1, errors) == pytest.approx(1e-4, rel=1e-12)


def test_biases_follow_the_schedule_or_keep_their_first_rate() -> None:
    caffe, code = load("caffenet").training, load("alexnet_code2012").training
    assert caffe is not None and code is not None
    assert rates(STEPS, caffe.optimizer, 3, []) == Rates(0.125, 0.25)
    assert rates(STEPS, code.optimizer, 3, []) == Rates(0.125, 1.0)
    assert rates(STEPS, code.optimizer, 0, []) == rates(STEPS, caffe.optimizer, 0, []) == Rates(0.5, 1.0)
