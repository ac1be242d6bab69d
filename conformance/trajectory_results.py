"""Judges a trajectory: one result a parameter, which says at what step it left the oracle's, and what went first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import exp, isfinite, sqrt
from statistics import geometric_mean, median_high, median_low

from conformance.caps import Trajectory
from conformance.checks import Subject
from conformance.measure import effective_bits
from conformance.results import Check, Divergence, Outcome, Result
from conformance.strays import Stray
from conformance.updates import Rates, is_bias

LOSS = "loss"
"""The tap of the result about the losses of all steps."""


@dataclass(frozen=True)
class Sizes:
    """RMS of the oracle's tensors of one parameter after one step."""

    parameter: float
    velocity: float


@dataclass(frozen=True)
class Strays:
    """Errors of one parameter after one step."""

    parameter: Stray
    velocity: Stray


@dataclass(frozen=True)
class Answer:
    """What is left of one variant's trajectory: errors."""

    losses: Sequence[float]
    """Before each step."""
    strays: Sequence[dict[str, Strays]]
    """After each step, by parameter."""
    resumed: Mapping[str, str] = field(default_factory=dict)
    """What is other, by parameter, where training went on from a state that was read, written and loaded."""
    resumed_strays: Mapping[str, Strays] = field(default_factory=dict)
    """Errors after the last step so reached, of a framework that does not give the same bits again anyway."""


@dataclass(frozen=True)
class Course:
    """The oracle's trajectory, as far as it is needed to judge others."""

    losses: Sequence[float]
    rates: Sequence[Rates]
    sizes: Sequence[dict[str, Sizes]]
    yardstick: Answer

    def when(self, step: int, bias: bool) -> str:
        """`step 11 of 20, the first after the rate changed from 0.01 to 0.001`; steps count from 1."""
        own = [rates.biases if bias else rates.weights for rates in self.rates]
        changed = next((index for index, rate in enumerate(own) if rate != own[0]), len(own))
        text = f"step {step + 1} of {len(own)}"
        if step < changed:
            return f"{text}, at rate {own[0]:g}"
        change = f"the rate changed from {own[0]:g} to {own[step]:g}"
        return f"{text}, the first after {change}" if step == changed else f"{text}, after {change}"


@dataclass(frozen=True)
class _Measured:
    """An error beside its cap."""

    what: str
    stray: Stray
    usual: float
    """RMS error of those it is compared with."""
    factor: float
    """How many times that it may be."""

    @property
    def ratio(self) -> float:
        """How many times the usual error it is."""
        if self.stray.rms == 0:
            return 0.0
        return self.stray.rms / self.usual if self.usual > 0 else float("inf")

    @property
    def diverged(self) -> bool:
        """Whether it is more than it may be."""
        return self.ratio > self.factor

    def divergence(self, place: str) -> Divergence:
        """Where it is furthest from the oracle's."""
        return Divergence(
            index=self.stray.index,
            actual=self.stray.actual,
            expected=self.stray.expected,
            found=self.ratio,
            unit=f"times the usual RMS error {self.usual:.3g}",
            cap=self.factor,
            place=place,
        )


def trajectory_results(
    subject: Subject, course: Course, own: Answer, peers: Sequence[Answer], rule: Trajectory
) -> list[Result]:
    """The losses, and every parameter; `peers` are the answers that say what error is usual."""
    names = list(course.sizes[0])
    return [
        _loss_result(subject, course, own, peers, rule),
        *(_parameter_result(subject, course, name, own, peers, rule) for name in names),
    ]


def _loss_result(subject: Subject, course: Course, own: Answer, peers: Sequence[Answer], rule: Trajectory) -> Result:
    result = subject.result(LOSS, Check.TRAJECTORY, Outcome.PASSED)
    if len(own.losses) != len(course.losses):
        message = f"expected the losses of {len(course.losses)} steps, found {len(own.losses)}"
        return replace(result, outcome=Outcome.FAILED, message=message)
    errors = _relative(own.losses, course.losses)
    theirs = [_root_mean_square(_relative(peer.losses, course.losses)) for peer in peers]
    usual = _usual([max(error, rule.floor) for error in theirs if isfinite(error)] or [rule.floor])
    factor = _factor(rule, len(errors))
    worst = max(errors) / usual
    result = replace(result, worst=worst, rms=max(errors), unit="of the usual relative error")
    if worst <= factor:
        return result
    step = next(step for step, error in enumerate(errors) if error > factor * usual)
    divergence = Divergence(
        index=(step,),
        actual=own.losses[step],
        expected=course.losses[step],
        found=errors[step] / usual,
        unit=f"times the usual relative error {usual:.3g}",
        cap=factor,
        place=rule.place,
    )
    message = f"{course.when(step, bias=False)}: {divergence}"
    return replace(result, outcome=Outcome.FAILED, message=message, divergence=divergence)


def _parameter_result(
    subject: Subject, course: Course, name: str, own: Answer, peers: Sequence[Answer], rule: Trajectory
) -> Result:
    result = replace(subject.result(name, Check.TRAJECTORY, Outcome.PASSED), unit="of the usual RMS error")
    sizes = [each[name] for each in course.sizes]
    if all(size.velocity == 0 for size in sizes):
        return replace(result, outcome=Outcome.FAILED, message="vacuous: it never moves; use another seed")
    steps = [
        (course.when(step, is_bias(name)), _measured(own.strays[step][name], size, _of(peers, step, name), rule))
        for step, size in enumerate(sizes)
    ]
    if name in own.resumed_strays:
        last = _measured(own.resumed_strays[name], sizes[-1], _of(peers, -1, name), rule)
        steps.append((f"resumed, after step {len(sizes)}", last))
    relative = max(
        errors[name].velocity.rms / size.velocity
        for errors, size in zip(own.strays, sizes, strict=True)
        if size.velocity > 0
    )
    result = replace(
        result,
        worst=max(measured.ratio for _, both in steps for measured in both),
        rms=relative,
        effective_bits=effective_bits(relative),
    )
    for when, both in steps:
        if diverged := [measured for measured in both if measured.diverged]:
            what = " and ".join(measured.what for measured in diverged)
            return _failed(result, f"{when}: {what} diverged first", diverged[0], rule)
    if name in own.resumed:
        return replace(result, outcome=Outcome.FAILED, message=own.resumed[name])
    return result


def _of(peers: Sequence[Answer], step: int, name: str) -> list[Strays]:
    return [peer.strays[step][name] for peer in peers]


def _failed(result: Result, what: str, measured: _Measured, rule: Trajectory) -> Result:
    unusable = measured.stray.unusable
    divergence = None if unusable else measured.divergence(rule.place)
    message = f"{what}: {unusable or divergence}"
    return replace(result, outcome=Outcome.FAILED, message=message, divergence=divergence)


def _measured(own: Strays, sizes: Sizes, peers: Sequence[Strays], rule: Trajectory) -> tuple[_Measured, _Measured]:
    """The errors of velocity and parameter.

    What a parameter has moved by is often far less than it is, so its error is not held against its size: one rounding
    of it is allowed, and else what is usual, which is as much of its motion as of the others'.
    """
    velocity = _compared("its velocity", own.velocity, [peer.velocity for peer in peers], sizes.velocity, rule)
    parameter = _compared("the parameter", own.parameter, [peer.parameter for peer in peers], sizes.parameter, rule)
    return velocity, parameter


def _compared(what: str, own: Stray, peers: Iterable[Stray], size: float, rule: Trajectory) -> _Measured:
    usable = [peer for peer in peers if isfinite(peer.rms)]
    floor = rule.floor * size
    usual = _usual([max(peer.rms, floor) for peer in usable] or [floor])
    return _Measured(what, own, usual, _factor(rule, median_low([peer.elements for peer in usable] or [own.elements])))


def _usual(errors: Sequence[float]) -> float:
    """The median of bits, as end to end: a wrong peer beside one right one must not make everything usual."""
    return geometric_mean((median_low(errors), median_high(errors))) if min(errors) > 0 else median_low(errors)


def _factor(rule: Trajectory, elements: float) -> float:
    return rule.factor * exp(rule.sigmas / sqrt(elements))


def _relative(losses: Sequence[float], expected: Sequence[float]) -> list[float]:
    errors = [abs(found - wanted) / abs(wanted) for found, wanted in zip(losses, expected, strict=True)]
    return [error if isfinite(error) else float("inf") for error in errors]


def _root_mean_square(values: Sequence[float]) -> float:
    return sqrt(sum(value**2 for value in values) / len(values))
