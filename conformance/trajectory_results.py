"""Judges a trajectory: one result a parameter, which says at what step it left the oracle's, and what went first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, sqrt
from pathlib import Path

from conformance.caps import Trajectory
from conformance.checks import Subject
from conformance.measure import effective_bits
from conformance.results import Check, Divergence, Outcome, Result
from conformance.strays import Stray
from conformance.updates import Rates, is_bias
from conformance.usual import Judged, judged, usual_among, widened

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
    states: Sequence[Path] = ()
    """After every step, of a small network: what a diagnosis looks at."""
    resumed_state: Path | None = None


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
class Usual:
    """Whose errors say what is usual."""

    peers: Sequence[Answer]
    yardstick: Answer | None
    """NumPy's float32, where that is the precision."""


def trajectory_results(subject: Subject, course: Course, own: Answer, usual: Usual, rule: Trajectory) -> list[Result]:
    """The losses, and every parameter."""
    return [
        _loss_result(subject, course, own, usual, rule),
        *(_parameter_result(subject, course, name, own, usual, rule) for name in course.sizes[0]),
    ]


def _loss_result(subject: Subject, course: Course, own: Answer, usual: Usual, rule: Trajectory) -> Result:
    result = subject.result(LOSS, Check.TRAJECTORY, Outcome.PASSED)
    if len(own.losses) != len(course.losses):
        message = f"expected the losses of {len(course.losses)} steps, found {len(own.losses)}"
        return replace(result, outcome=Outcome.FAILED, message=message)
    errors = _relative(own.losses, course.losses)
    peers = [_relative(peer.losses, course.losses) for peer in usual.peers if len(peer.losses) == len(errors)]
    yardstick = _relative(usual.yardstick.losses, course.losses) if usual.yardstick else None
    error = usual_among(
        [_root_mean_square(each) for each in peers],
        _root_mean_square(yardstick) if yardstick else None,
        rule.floor,
        rule,
    )
    factor = widened(rule, len(errors))
    worst = max(errors) / error
    result = replace(result, worst=worst, rms=max(errors), unit="of the usual relative error")
    if worst <= factor:
        return result
    step = next(step for step, found in enumerate(errors) if found > factor * error)
    divergence = Divergence(
        index=(step,),
        actual=own.losses[step],
        expected=course.losses[step],
        found=errors[step] / error,
        unit=f"times the usual relative error {error:.3g}",
        cap=factor,
        place=rule.place,
    )
    message = f"{course.when(step, bias=False)}: {divergence}"
    return replace(result, outcome=Outcome.FAILED, step=step + 1, message=message, divergence=divergence)


def _parameter_result(
    subject: Subject, course: Course, name: str, own: Answer, usual: Usual, rule: Trajectory
) -> Result:
    result = replace(subject.result(name, Check.TRAJECTORY, Outcome.PASSED), unit="of the usual RMS error")
    sizes, bias = [each[name] for each in course.sizes], is_bias(name)
    if all(size.velocity == 0 for size in sizes):
        return replace(result, outcome=Outcome.FAILED, message="vacuous: it never moves; use another seed")
    steps = [
        (step + 1, course.when(step, bias), _judged(own.strays[step][name], size, usual, (step, name), rule))
        for step, size in enumerate(sizes)
    ]
    if name in own.resumed_strays:
        last = _judged(own.resumed_strays[name], sizes[-1], usual, (-1, name), rule)
        steps.append((len(sizes), f"resumed, and step {len(sizes)} reached again", last))
    relative = max(
        errors[name].velocity.rms / size.velocity
        for errors, size in zip(own.strays, sizes, strict=True)
        if size.velocity > 0
    )
    result = replace(
        result,
        worst=max(each.ratio for _, _, both in steps for each in both.values()),
        rms=relative,
        effective_bits=effective_bits(relative),
    )
    for step, when, both in steps:
        if diverged := [what for what, each in both.items() if each.diverged]:
            first = both[diverged[0]]
            divergence = first.divergence(rule.place)
            message = f"{when}: {' and '.join(diverged)} diverged first: {first.stray.unusable or divergence}"
            return replace(result, outcome=Outcome.FAILED, step=step, message=message, divergence=divergence)
    if name in own.resumed:
        return replace(result, outcome=Outcome.FAILED, step=len(sizes), message=own.resumed[name])
    return result


def _judged(own: Strays, sizes: Sizes, usual: Usual, place: tuple[int, str], rule: Trajectory) -> dict[str, Judged]:
    """The errors of velocity and parameter at a step and name, in the order in which they go wrong.

    What a parameter has moved by is often far less than it is, so its error is not held against its size: one rounding
    of it is allowed, and else what is usual, which is as much of its motion as of the others'.
    """
    step, name = place
    peers = [peer.strays[step][name] for peer in usual.peers]
    yardstick = usual.yardstick.strays[step][name] if usual.yardstick else None
    of_velocity = yardstick.velocity if yardstick else None
    of_parameter = yardstick.parameter if yardstick else None
    return {
        "its velocity": judged(own.velocity, [peer.velocity for peer in peers], of_velocity, sizes.velocity, rule),
        "the parameter": judged(own.parameter, [peer.parameter for peer in peers], of_parameter, sizes.parameter, rule),
    }


def _relative(losses: Sequence[float], expected: Sequence[float]) -> list[float]:
    """A loss is a difference of logits: near 0 its error is as large as near 1."""
    errors = [abs(found - wanted) / max(1.0, abs(wanted)) for found, wanted in zip(losses, expected, strict=True)]
    return [error if isfinite(error) else float("inf") for error in errors]


def _root_mean_square(values: Sequence[float]) -> float:
    return sqrt(sum(value**2 for value in values) / len(values))
