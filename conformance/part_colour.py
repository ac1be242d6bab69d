"""The part of the lane that shifts colours: PCA augmentation with known axes and draws."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conformance import measure
from conformance.caps import caps
from conformance.checks import Subject
from conformance.colour import ColourAxes, colour_axes, coloured
from conformance.diagnosis.colour import diagnosed
from conformance.measure import Array
from conformance.part import Given
from conformance.results import Check, Divergence, Outcome, Result
from impls.client import Worker, WorkerError
from impls.protocol import Colour
from spec.inputs import inputs
from spec.network import Network
from spec.recipe import PcaColour
from spec.tensors import read, write
from spec.weights import generator

IMAGES = 4
"""Each with a draw of its own."""
TAP = "images"
"""The tap of the result, and the name of the tensor in files."""


@dataclass(frozen=True)
class Expected:
    """What workers are given, and the oracle's answer."""

    file: Path
    images: Array
    scale: Array
    """S of every pixel: the root of the sum of the squares of what is added up."""


class ColourPart:
    """Has the colours of images shifted."""

    name = "colour"

    def skipped(self, given: Given) -> str:
        """It applies where the spec states PCA colour augmentation, and images have three colours."""
        if _stated(given.network) is None:
            return "the network's preprocessing states no pca_colour"
        channels = given.network.input.shape[0]
        return "" if channels == 3 else f"PCA colour augmentation is of 3 colours, the input has {channels} channels"

    def expected(self, given: Given, folder: Path) -> Expected:
        """Photographs shifted along their own axes."""
        stated, seed = _stated(given.network), given.case.seed
        assert stated is not None
        images = inputs(given.network, "photographs", seed, IMAGES)
        axes = colour_axes(images)
        single = {
            TAP: images,
            "eigenvalues": axes.eigenvalues.astype(np.float32),
            "eigenvectors": axes.eigenvectors.astype(np.float32),
            "draws": (generator(seed, "colour").standard_normal((IMAGES, 3)) * stated.std).astype(np.float32),
        }
        file = folder / "images.safetensors"
        write(file, single)
        wide = {name: value.astype(np.float64) for name, value in single.items()}
        axes = ColourAxes(wide["eigenvalues"], wide["eigenvectors"])
        shifted = coloured(wide[TAP], axes, wide["draws"], stated)
        return Expected(file, shifted, colour_scale(wide[TAP], axes, wide["draws"], stated))

    def ask(self, worker: Worker, given: Given, expected: Expected, folder: Path) -> Array:
        """What a worker makes of the images."""
        output = folder / "shifted.safetensors"
        worker.write(Colour(str(expected.file), str(output)))
        written = read(output)
        if TAP not in written:
            names = ", ".join(written) or "none"
            raise WorkerError("nonsense", f"{worker.name}: colour: expected {TAP}, found {names:.80}")
        return written[TAP]

    def results(
        self, subject: Subject, given: Given, expected: Expected, own: Array, others: Sequence[Array]
    ) -> list[Result]:
        """One: all pixels of all images."""
        result = subject.result(TAP, Check.COLOUR, Outcome.PASSED)
        if own.shape != expected.images.shape or own.dtype != np.float32:
            message = f"expected float32 of shape {list(expected.images.shape)}, found {own.dtype} {list(own.shape)}"
            return [replace(result, outcome=Outcome.FAILED, message=message)]
        actual, rule = own.astype(np.float64), caps().colour
        unit = measure.UNIT[subject.variant.dtype] / measure.UNIT["float32"]
        error = measure.error_in(measure.noise(actual, expected.images, unit * expected.scale))
        relative = measure.relative_rms(actual, expected.images)
        result = replace(
            result,
            noise_rms=error.rms,
            noise_max=error.worst,
            effective_bits=measure.effective_bits(relative),
            worst=error.worst,
            unit=measure.NOISE,
            rms=error.rms,
        )
        if error.worst <= rule.max and error.rms <= rule.rms:
            return [result]
        divergence = Divergence(
            index=error.index,
            actual=float(actual[error.index]),
            expected=float(expected.images[error.index]),
            found=error.worst,
            unit=measure.NOISE,
            cap=rule.max,
            place=rule.place,
        )
        message = f"{divergence}; RMS {error.rms:.4g}, cap {rule.rms:g}"
        failed = replace(result, outcome=Outcome.FAILED, message=message, divergence=divergence)
        stated, fed = (
            _stated(given.network),
            {name: own.astype(np.float64) for name, own in read(expected.file).items()},
        )
        assert stated is not None
        axes = ColourAxes(fed["eigenvalues"], fed["eigenvectors"])
        limits = (rule.rms, rule.max)
        return [diagnosed(failed, actual, fed[TAP], axes, fed["draws"], stated, colour_scale, unit, limits)]


def _stated(network: Network) -> PcaColour | None:
    return network.preprocessing.augmentation.pca_colour if network.preprocessing else None


def colour_scale(images: Array, axes: ColourAxes, draws: Array, stated: PcaColour) -> Array:
    """The same sum over squares, and its root."""
    still = np.zeros_like(images)
    alone = [coloured(still, axes, draws * axis, stated)[:, :, :1, :1] for axis in np.eye(3)]
    squares = coloured(images, axes, np.zeros_like(draws), stated) ** 2
    total: Array = np.sqrt(squares + sum(shift**2 for shift in alone))
    return total
