"""Workers that train, held against the oracle: what the tests of training have in common for all frameworks."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.backpropagation import Masks, logits_tap, train_forward
from conformance.dropout import drawn_masks
from conformance.gradients import gradient_scales, gradients
from conformance.losses import loss, loss_gradient
from conformance.oracle import softmax
from conformance.trajectory import Batch
from conformance.updates import Rates
from impls.client import Worker, framework_command
from impls.description import describe
from impls.environments import interpreter
from impls.frameworks import FrameworkName, Lowering, Mode
from impls.generate import write_source
from impls.protocol import Colour, Gradients, Initialise, Load, Predict, Start, State, Trace, Train, TrainTrace
from impls.training import MASK, VELOCITY
from spec import tensors
from spec.load import parse
from spec.network import Network
from spec.operators import AnyOperator, Dropout
from tests.spec.networks import BRANCHES

Array = npt.NDArray[Any]

UNIT = 2.0**-24
RMS_CAP, MAX_CAP = 64.0, 512.0
"""Noise units that float32 may be off: conformance/caps.toml."""


@dataclass(frozen=True)
class Steps:
    """What some training steps came to."""

    losses: list[float]
    parameters: dict[str, Array]
    """All tensors of the network."""
    velocities: dict[str, Array]


class Trained:
    """One worker that trains, and a folder for what is sent to and fro."""

    def __init__(self, worker: Worker, framework: FrameworkName, folder: Path) -> None:
        self.worker, self.framework, self.folder = worker, framework, folder
        self._names = count()

    def load(
        self, network: Network, given: Mapping[str, Array], lowering: Lowering, mode: Mode, dtype: str = "float32"
    ) -> None:
        """Make `network` ready, with `given` as its weights."""
        description = self._path()
        description.write_text(json.dumps(describe(network)), encoding="utf-8")
        source = write_source(network, self.framework, self._path(), lowering)
        self.worker.load(
            Load(str(description), str(source), self.written(given), "cpu", dtype, mode, lowering, threads=1)
        )

    def gradients(
        self,
        x: Array,
        substitutes: Mapping[str, Array],
        cotangents: Mapping[str, Array],
        masks: Masks,
        labels: Array,
    ) -> tuple[float, dict[str, Array]]:
        output = self._path()
        request = Gradients(
            input=self.written({"x": x}),
            substitutes=self.written(substitutes),
            cotangents=self.written(cotangents),
            masks=self.written(masks),
            labels=self.written({"labels": labels}),
            output=str(output),
        )
        return self.worker.gradients(request), tensors.read(output)

    def forward(
        self, x: Array, masks: Masks | None, taps: Sequence[str], seed: int = 0, training: bool = True
    ) -> dict[str, Array]:
        """The taps of one run, while training or in evaluation."""
        image, output = self.written({"x": x}), self._path()
        if training:
            given = self.written(masks) if masks is not None else None
            self.worker.train_trace(TrainTrace(image, None, given, seed, list(taps), str(output)))
        else:
            self.worker.trace(Trace(image, None, list(taps), str(output)))
        return tensors.read(output)

    def steps(self, batches: Sequence[Batch], velocities: Mapping[str, Array] | None = None) -> Steps:
        """Train from the loaded weights; what came of it."""
        self.worker.begin(Start(self.written(velocities) if velocities else None))
        return self.more(batches)

    def more(self, batches: Sequence[Batch]) -> Steps:
        """Go on training."""
        stacked: dict[str, list[Array]] = {
            "x": [batch.x for batch in batches],
            "labels": [batch.labels for batch in batches],
            "rates": [np.array([batch.rates.weights, batch.rates.biases]) for batch in batches],
        }
        stacked |= {MASK + name: [batch.masks[name] for batch in batches] for name in batches[0].masks}
        losses = self.worker.train(Train(self.written({name: np.stack(each) for name, each in stacked.items()})))
        output = self._path()
        self.worker.write(State(str(output)))
        written = tensors.read(output)
        velocities = {name.removeprefix(VELOCITY): v for name, v in written.items() if name.startswith(VELOCITY)}
        return Steps(losses, {name: w for name, w in written.items() if not name.startswith(VELOCITY)}, velocities)

    def initialise(self, seed: int) -> dict[str, Array]:
        output = self._path()
        self.worker.write(Initialise(seed, str(output)))
        return tensors.read(output)

    def predict(self, images: Array) -> Array:
        output = self._path()
        self.worker.write(Predict(self.written({"images": images}), str(output)))
        return tensors.read(output)["probabilities"]

    def colour(self, **given: Array) -> Array:
        output = self._path()
        self.worker.write(Colour(self.written(given), str(output)))
        return tensors.read(output)["images"]

    def written(self, given: Mapping[str, Array]) -> str:
        """A new file that holds `given`."""
        path = self._path()
        tensors.write(path, given)
        return str(path)

    def _path(self) -> Path:
        return self.folder / str(next(self._names))


@contextmanager
def trained(framework: FrameworkName, folder: Path) -> Iterator[Trained]:
    """A worker in the environment of `framework`."""
    with Worker(framework, framework_command(framework, interpreter(framework, print)), timeout_s=300) as worker:
        assert worker.hello().trains
        yield Trained(worker, framework, folder)


@dataclass(frozen=True)
class Form:
    """A form of the update."""

    rate: str = "inside_velocity"
    decay: str = "inside_momentum"
    decays: str = "weights"
    momentum: float = 0.9

    def __str__(self) -> str:
        return f"{self.rate} {self.decay} {self.decays} {self.momentum}"


PAPERS = Form()


def recipe(
    form: Form = PAPERS,
    *,
    reduction: str = "mean",
    views: str = "ten_crop",
    average: str = "probabilities",
    scale_by: str = "eigenvalue",
    rescale: str = "none",
) -> str:
    """The sections of a spec on how its network is fed, trained and tested. Decay is large enough to be seen."""
    return dedent(f"""\
        preprocessing:
          shorter_side: 256
          centre_crop: 256
          value_range: [0.0, 255.0]
          mean: {{kind: per_channel, rgb: [123.0, 117.0, 104.0]}}
          augmentation:
            crop: random
            horizontal_flip: true
            pca_colour: {{std: 0.1, scale_by: {scale_by}, rescale: {rescale}}}
        training:
          loss: {{kind: softmax_cross_entropy, reduction: {reduction}}}
          optimizer:
            kind: sgd
            momentum: {form.momentum}
            rate: {form.rate}
            weight_decay: 0.05
            decay: {form.decay}
            decays: {form.decays}
            bias_rate_factor: 2.0
            bias_schedule: constant
          schedule: {{kind: steps, rate: 0.01, factor: 0.1, epochs: [1]}}
          batch: 2
          epochs: 2
          initialisers:
            weights: {{kind: normal, mean: 0.5, std: 0.25}}
            biases: {{kind: uniform, low: -1.0, high: 3.0}}
            overrides: {{}}
        evaluation:
          views: {views}
          average: {average}
          results: []
          contradicted: []
        """)


def branches(form: Form = PAPERS, **stated: str) -> Network:
    """The small network with branches, a batch norm and a softmax, with a recipe."""
    return parse(BRANCHES + recipe(form, **stated), "branches")


def noise(actual: Array, expected: Array, scale: Array) -> tuple[float, float]:
    """Error in noise units: RMS, and maximum. Infinite where the scale says exact, and it is not."""
    error = np.abs(np.asarray(actual, np.float64) - expected)
    units = np.divide(error, UNIT * scale, out=np.where(error > 0, np.inf, 0.0), where=scale > 0)
    return float(np.sqrt(np.mean(units**2))), float(units.max())


def relative(actual: Mapping[str, Array], expected: Mapping[str, Array]) -> float:
    """Relative RMS error of the worst tensor."""
    assert actual.keys() == expected.keys()
    return max(
        float(np.linalg.norm(np.asarray(actual[name], np.float64) - value) / np.linalg.norm(value))
        for name, value in expected.items()
    )


@dataclass(frozen=True)
class Case:
    """Gradients of every operator by itself: what is fed, and what should come back."""

    x: Array
    substitutes: dict[str, Array]
    cotangents: dict[str, Array]
    masks: Masks
    labels: Array
    loss: float
    expected: dict[str, tuple[Array, Array]]
    """Value and S of every gradient, by name; S is 0 where it is exact."""


def gradient_case(network: Network, given: Mapping[str, Array], seed: int) -> Case:
    """Two images, cotangents from a normal distribution, and zeros in what ReLUs read."""
    assert network.training is not None
    random = np.random.default_rng(seed)
    x = random.normal(0, 40, (2, *network.input.shape)).astype(np.float32)
    masks = drawn_masks(network, 2, seed, 0)
    classes = network.layers[-1].output_shape[0]
    labels = random.integers(0, classes, 2)
    taps = {
        name: value.astype(np.float32) * (random.random(value.shape, np.float32) > 0.1)
        for name, value in train_forward(network, given, x.astype(np.float64), masks).items()
    }
    substitutes = {layer.name: taps[layer.name] for layer in network.layers}
    cotangents = {name: random.normal(0, 1, value.shape).astype(np.float32) for name, value in substitutes.items()}
    wide = {name: value.astype(np.float64) for name, value in (taps | {network.input.name: x}).items()}
    logits = wide[logits_tap(network)]
    stated = network.training.loss
    share = 1.0 if stated.reduction == "sum" else 0.5
    sums: dict[str, tuple[Array | float, Array | float]] = {
        logits_tap(network): (loss_gradient(logits, labels, stated), (share * (softmax(logits) + 1)) ** 2)
    }
    expected: dict[str, tuple[Array, Array]] = {}
    for layer in network.layers:
        inputs = tuple(wide[name] for name in layer.operator.reads)
        flowing = cotangents[layer.name].astype(np.float64)
        values = gradients(layer, inputs, given, flowing, masks.get(layer.name))
        scales = gradient_scales(layer, inputs, given, flowing)
        copied = tuple(_rounding(layer.operator, value) for value in values.inputs)
        for name, value, scale in zip(layer.operator.reads, values.inputs, scales.inputs or copied, strict=True):
            before, square = sums.get(name, (0.0, 0.0))
            sums[name] = (before + value, square + scale**2)
        expected |= {name: (value, scales.parameters[name]) for name, value in values.parameters.items()}
    expected |= {name: (np.asarray(value), np.sqrt(square)) for name, (value, square) in sums.items()}
    return Case(x, substitutes, cotangents, masks, labels, float(loss(logits, labels, stated)), expected)


def _rounding(operator: AnyOperator, value: Array) -> Array:
    """S of a gradient that is a copy: 0, but where an inverted dropout divides it."""
    divided = isinstance(operator, Dropout) and operator.convention == "inverted"
    return np.abs(value) if divided else np.zeros_like(value)


def batches(network: Network, rates: Sequence[tuple[float, float]], seed: int = 5) -> list[Batch]:
    """A batch of two images a pair of rates."""
    random = np.random.default_rng(seed)
    classes = network.layers[-1].output_shape[0]
    return [
        Batch(
            random.normal(0, 1, (2, *network.input.shape)).astype(np.float32),
            random.integers(0, classes, 2),
            drawn_masks(network, 2, seed, step),
            Rates(*pair),
        )
        for step, pair in enumerate(rates)
    ]
