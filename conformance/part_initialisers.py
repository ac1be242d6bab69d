"""The part of the lane that draws parameters: distributed as the spec's initialisers say, and a stream for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conformance.caps import caps
from conformance.checks import Subject
from conformance.draws import goodness, twins
from conformance.measure import Array
from conformance.part import Given
from conformance.results import Check, Outcome, Result
from impls.client import Worker
from impls.protocol import Initialise
from spec.base import Shape
from spec.recipe import Constant, Initialiser
from spec.tensors import read
from spec.weights import plan


@dataclass(frozen=True)
class Drawn:
    """What one parameter was found to be."""

    wrong: str = ""
    """Why it cannot have come from its initialiser, whatever was drawn."""
    distance: float = 0.0
    """The largest distance between its distribution and the stated one."""
    probability: float = 1.0
    """Of a distance as large."""


class InitialisersPart:
    """Has parameters drawn from two seeds."""

    name = "initialisers"

    def skipped(self, given: Given) -> str:
        """They have nothing to do with the weights that are loaded, so one case is enough."""
        if given.case.weights == "paper":
            return ""
        return f"initialisers are drawn beside the weights 'paper', not beside {given.case.weights}"

    def expected(self, given: Given, folder: Path) -> dict[str, Initialiser]:
        """What each tensor must be drawn from."""
        return plan(given.network, "paper")

    def ask(self, worker: Worker, given: Given, expected: Mapping[str, Initialiser], folder: Path) -> dict[str, Drawn]:
        """What a worker draws, tested."""
        drawn = []
        for seed in (given.case.seed, given.case.seed + 1):
            path = folder / f"{seed}.safetensors"
            worker.write(Initialise(seed, str(path)))
            drawn.append(read(path))
        return findings(expected, given.network.tensor_shapes, *drawn)

    def results(
        self,
        subject: Subject,
        given: Given,
        expected: Mapping[str, Initialiser],
        own: Mapping[str, Drawn],
        others: Sequence[Mapping[str, Drawn]],
    ) -> list[Result]:
        """One a tensor; the level of the tests is divided by how many there are in all variants."""
        rule = caps().random
        level = rule.level / (len(expected) * (1 + len(others)))
        results = []
        for name, initialiser in expected.items():
            drawn = own[name]
            message = drawn.wrong
            if not message and drawn.probability < level:
                message = (
                    f"expected draws from {_said(initialiser)}, found distributions {drawn.distance:.3g} apart, which "
                    f"{drawn.probability:.2g} of such draws are: less than {level:.2g} ({rule.place})"
                )
            result = subject.result(name, Check.INITIALISER, Outcome.FAILED if message else Outcome.PASSED, message)
            results.append(replace(result, worst=drawn.distance, unit="apart from the stated distribution"))
        return results


def findings(
    expected: Mapping[str, Initialiser],
    shapes: Mapping[str, Shape],
    first: Mapping[str, Array],
    second: Mapping[str, Array],
) -> dict[str, Drawn]:
    """Tensors that were drawn from two seeds, against their initialisers."""
    usable = {
        name: first[name]
        for name, shape in shapes.items()
        if name in first and first[name].shape == shape and first[name].dtype == np.float32
    }
    others = twins(usable, expected)
    found = {}
    for name, initialiser in expected.items():
        if name not in usable:
            found[name] = Drawn(f"expected float32 of shape {list(shapes[name])}, found {_shape(first.get(name))}")
        elif isinstance(initialiser, Constant):
            found[name] = _constant(usable[name], initialiser)
        elif not np.isfinite(usable[name]).all():
            found[name] = Drawn("expected finite numbers, found others")
        elif name in second and np.array_equal(usable[name], second[name]):
            found[name] = Drawn("expected other numbers from another seed, found the same")
        elif name in others:
            found[name] = Drawn(f"expected random numbers of its own, found those of {others[name]}")
        else:
            found[name] = Drawn("", *goodness(usable[name], initialiser))
    return found


def _constant(values: Array, initialiser: Constant) -> Drawn:
    wrong = values != np.float32(initialiser.value)
    if not wrong.any():
        return Drawn()
    index = np.unravel_index(int(np.argmax(wrong)), values.shape)
    place = ", ".join(map(str, index))
    return Drawn(f"at [{place}] actual {values[index]:.9g}, expected {initialiser.value:.9g} everywhere")


def _shape(values: Array | None) -> str:
    return "none" if values is None else f"{values.dtype} of shape {list(values.shape)}"


def _said(initialiser: Initialiser) -> str:
    fields = initialiser.model_dump()
    kind = fields.pop("kind")
    return f"{kind} ({', '.join(f'{name} {value:g}' for name, value in fields.items())})"
