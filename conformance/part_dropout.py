"""The part of the lane that drops: what dropouts do while training, with known masks and with the framework's own.

Each dropout is fed numbers of which none is 0, so that what it gives says which elements it kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, inf, prod
from pathlib import Path

import numpy as np

from conformance import measure
from conformance.caps import Rule, caps
from conformance.checks import Subject
from conformance.diagnosis.dropout import Behaviour, diagnosed
from conformance.dropout import Mask, drawn_masks
from conformance.measure import Array
from conformance.part import Given
from conformance.results import Check, Divergence, Outcome, Result
from impls.client import Worker
from impls.protocol import Trace, TrainTrace
from spec.network import Network
from spec.operators import Dropout
from spec.shapes import Layer
from spec.tensors import read, write
from spec.weights import generator

ELEMENTS = 4096
"""So many elements of each dropout say how often it keeps one: a rate of 0.45 for 0.5 has a probability of 1e-10."""
MOST_BYTES = 2**28
"""What one run with so many images may take."""


@dataclass(frozen=True)
class Expected:
    """What every worker is fed."""

    read: dict[str, Array]
    """What each dropout reads, by its name; no element is 0."""
    masks: dict[str, Array]
    """Which elements it keeps where it is told."""
    input: Path
    substitutes: Path
    masks_file: Path
    all_kept_file: Path


@dataclass(frozen=True)
class Answer:
    """What each dropout gave, by its name."""

    drawn: Mapping[str, Array]
    """By masks of the framework's own."""
    drawn_again: Mapping[str, Array]
    """From another seed."""
    told: Mapping[str, Array]
    """By the known masks."""
    all_kept: Mapping[str, Array]
    """By masks that keep everything."""
    evaluated: Mapping[str, Array]
    """Not while training."""


class DropoutPart:
    """Feeds every dropout the same numbers, while training and not."""

    name = "dropout"

    def skipped(self, given: Given) -> str:
        """It applies to networks with dropout."""
        return "" if _dropouts(given.network) else "the network has no dropout"

    def expected(self, given: Given, folder: Path) -> Expected:
        """What workers are fed; files go to `folder`."""
        network, seed = given.network, given.case.seed
        batch = _batch(network)
        fed = {network.input.name: _nonzero(network.input.name, (batch, *network.input.shape), seed)}
        fed |= {layer.name: _nonzero(layer.name, (batch, *layer.output_shape), seed) for layer in network.layers}
        masks = drawn_masks(network, batch, seed, 0)
        files: dict[str, Mapping[str, Array]] = {
            "input": {network.input.name: fed[network.input.name]},
            "substitutes": {layer.name: fed[layer.name] for layer in network.layers},
            "masks": masks,
            "all-kept": {name: np.ones_like(mask) for name, mask in masks.items()},
        }
        paths = [folder / f"{name}.safetensors" for name in files]
        for path, tensors in zip(paths, files.values(), strict=True):
            write(path, tensors)
        read_by = {layer.name: fed[layer.operator.reads[0]] for layer in _dropouts(network)}
        return Expected(read_by, dict(masks), *paths)

    def ask(self, worker: Worker, given: Given, expected: Expected, folder: Path) -> Answer:
        """What a worker's dropouts give."""
        taps, seed = list(expected.read), given.case.seed
        output = folder / "trace.safetensors"

        def train(masks: Path | None, seed: int) -> dict[str, Array]:
            request = TrainTrace(
                input=str(expected.input),
                substitutes=str(expected.substitutes),
                masks=str(masks) if masks else None,
                seed=seed,
                taps=taps,
                output=str(output),
            )
            worker.train_trace(request)
            return _taken(output)

        drawn, drawn_again = train(None, seed), train(None, seed + 1)
        told, all_kept = train(expected.masks_file, seed), train(expected.all_kept_file, seed)
        worker.trace(Trace(str(expected.input), str(expected.substitutes), taps, str(output)))
        return Answer(drawn, drawn_again, told, all_kept, _taken(output))

    def results(
        self, subject: Subject, given: Given, expected: Expected, own: Answer, others: Sequence[Answer]
    ) -> list[Result]:
        """One a dropout: the first thing that is wrong about it."""
        level = caps().random.level / (len(expected.read) * (1 + len(others)))
        results = []
        for layer in _dropouts(given.network):
            operator = layer.operator
            assert isinstance(operator, Dropout)
            looked = Looked(expected, own, caps().rule_for("dropout", subject.variant, subject.version), level)
            message = looked.wrong(Behaviour.of(operator))
            result = subject.result(layer.name, Check.DROPOUT, Outcome.FAILED if message else Outcome.PASSED, message)
            results.append(diagnosed(result, operator, looked.wrong, looked.off) if message else result)
        return results


@dataclass(frozen=True)
class Looked:
    """One variant's answer, to be held against how a dropout may behave."""

    expected: Expected
    own: Answer
    rule: Rule
    level: float
    """Of each test of what is random."""

    def wrong(self, behaviour: Behaviour) -> str:
        """The first thing that is other than that behaviour, or nothing."""
        name, own = behaviour.name, self.own
        for when, (actual, wanted) in self._looks(behaviour).items():
            if message := _off(actual, wanted, self.rule):
                return f"{when}: {message}"
        drawn, again = own.drawn[name], own.drawn_again[name]
        return _not_random(behaviour.drop_probability, drawn != 0, again != 0, self.level) or _shared(name, own.drawn)

    def off(self, behaviour: Behaviour) -> float:
        """The largest error against that behaviour, in ULP; infinite where there is nothing to compare."""
        errors = [
            measure.error_in(measure.ulp(actual.astype(np.float64), wanted)).worst
            if actual is not None and actual.shape == wanted.shape
            else inf
            for actual, wanted in self._looks(behaviour).values()
        ]
        return max(errors)

    def _looks(self, behaviour: Behaviour) -> dict[str, tuple[Array | None, Array]]:
        """What was found, and what that behaviour would give."""
        name, own = behaviour.name, self.own
        x = self.expected.read[name].astype(np.float64)
        scaled, mask = behaviour.training_scale * x, self.expected.masks[name]
        evaluated, drawn, again = own.evaluated.get(name), own.drawn.get(name), own.drawn_again.get(name)
        still = behaviour.evaluation_scale * x
        told = np.where(mask != behaviour.mask_inverted, scaled, 0.0)
        all_kept = np.zeros_like(scaled) if behaviour.mask_inverted else scaled
        return {
            "evaluation": (evaluated, _where_kept(evaluated, still) if behaviour.drops_always else still),
            "told which elements to keep": (own.told.get(name), scaled if behaviour.keeps_all else told),
            "told to keep all": (own.all_kept.get(name), all_kept),
            "masks of its own": (drawn, scaled if behaviour.keeps_all else _where_kept(drawn, scaled)),
            "masks of its own, another seed": (again, scaled if behaviour.keeps_all else _where_kept(again, scaled)),
        }


def _where_kept(actual: Array | None, wanted: Array) -> Array:
    """What is wanted where an output says that it kept an element, and 0 elsewhere."""
    return np.where(actual != 0, wanted, 0.0) if actual is not None and actual.shape == wanted.shape else wanted


def _off(actual: Array | None, wanted: Array, rule: Rule) -> str:
    """Where an output is further from what is wanted than a product may be; one that float32 can hold is exact."""
    if actual is None:
        return "expected a tap, found none"
    if actual.shape != wanted.shape or actual.dtype != np.float32:
        return f"expected float32 of shape {list(wanted.shape)}, found {actual.dtype} of shape {list(actual.shape)}"
    error = measure.error_in(measure.ulp(actual.astype(np.float64), wanted))
    exact = bool((wanted == wanted.astype(np.float32)).all())
    cap = 0.0 if exact else rule.max
    if error.worst <= cap:
        return ""
    return str(
        Divergence(
            index=error.index,
            actual=float(actual[error.index]),
            expected=float(wanted[error.index]),
            found=error.worst,
            unit="ULP",
            cap=cap,
            place=rule.place,
        )
    )


def _not_random(drop_probability: float, kept: Mask, kept_again: Mask, level: float) -> str:
    """What is wrong about masks of a framework's own, from two seeds."""
    from scipy import stats  # late: it takes seconds, and most runs of the suite draw nothing

    keep = 1.0 - drop_probability
    count, elements = int(kept.sum()), kept.size
    probability = stats.binomtest(count, elements, keep).pvalue
    if probability < level:
        return (
            f"expected to keep {keep:.3g} of the elements, found {count} of {elements}, which has a probability of "
            f"{probability:.2g}: less than {level:.2g} ({caps().random.place})"
        )
    if drop_probability == 0:
        return ""
    if np.array_equal(kept, kept_again):
        return "expected another mask from another seed, found the same"
    if len(kept) > 1 and (kept == kept[:1]).all():
        return "expected a mask for each image, found one for all"
    return ""


def _shared(name: str, drawn: Mapping[str, Array]) -> str:
    """Which dropout before it has the same mask, if any."""
    own = drawn[name] != 0
    for other, value in drawn.items():
        if other == name:
            return ""
        if value.shape == own.shape and np.array_equal(value != 0, own):
            return f"expected a mask of its own, found that of {other}"
    return ""


def _batch(network: Network) -> int:
    """How many images give every dropout enough elements, or as many as may be held."""
    smallest = min(prod(layer.output_shape) for layer in _dropouts(network))
    held = MOST_BYTES // network.bytes_needed(1)
    return max(2, min(ceil(ELEMENTS / smallest), held))


def _nonzero(name: str, shape: tuple[int, ...], seed: int) -> Array:
    """Numbers from 0.5 to 1.5 and from -1.5 to -0.5."""
    random = generator(seed, "dropout read", name)
    sizes = random.random(shape, np.float32) + np.float32(0.5)
    return np.where(random.random(shape, np.float32) < 0.5, sizes, -sizes)


def _taken(path: Path) -> dict[str, Array]:
    """The tensors of a file that the next trace will overwrite."""
    return {name: value.copy() for name, value in read(path).items()}


def _dropouts(network: Network) -> list[Layer]:
    return [layer for layer in network.layers if isinstance(layer.operator, Dropout)]
