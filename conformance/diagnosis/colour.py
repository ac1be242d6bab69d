"""Diagnoses shifted colours: which other shift would make what was found right."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from conformance import measure
from conformance.colour import ColourAxes, coloured
from conformance.diagnosis.fields import other_choices
from conformance.diagnosis.notes import note
from conformance.measure import Array
from conformance.results import Explanation, Result
from spec.recipe import PcaColour

Scale = Callable[[Array, ColourAxes, Array, PcaColour], Array]
Other = tuple[str, Array, ColourAxes, Array, PcaColour]


def diagnosed(
    result: Result, actual: Array, images: Array, axes: ColourAxes, draws: Array, stated: PcaColour,
    scale: Scale, unit: float, caps: tuple[float, float],
) -> Result:  # fmt: skip
    """The failed result with what would explain it; `caps` are those of the RMS and of the worst pixel, in units."""
    tried, found = 0, []
    for change, *asked in _others(images, axes, draws, stated):
        tried += 1
        value = coloured(*asked)  # type: ignore[arg-type]
        error = measure.error_in(measure.noise(actual, value, unit * scale(*asked)))  # type: ignore[arg-type]
        if error.rms <= caps[0] and error.worst <= caps[1]:
            said = note("colour", change, result.variant.framework)
            found.append(Explanation(change, result.rms or 0.0, error.rms, result.unit, said))
    return replace(result, explanations=tuple(sorted(found, key=lambda each: each.after)), tried=tried)


def _others(images: Array, axes: ColourAxes, draws: Array, stated: PcaColour) -> Iterator[Other]:
    for change, other in other_choices(stated):
        yield change, images, axes, draws, other
    for std in (2.0 * stated.std, 0.5 * stated.std, stated.std**2, stated.std**0.5, 1.0):
        yield f"std: {std:.6g}", images, axes, draws, stated.model_copy(update={"std": std})
    for factor in (1.0 / stated.std, stated.std, -1.0, 0.0):
        words = {-1.0: "negated", 0.0: "missing"}.get(factor, f"times {factor:.6g}")
        yield f"draws: {words}", images, axes, draws * factor, stated
    yield "draws: one for all images", images, axes, np.repeat(draws[:1], len(draws), 0), stated
    yield "draws: in reverse order", images, axes, draws[:, ::-1], stated
    yield "draws: of the images in reverse order", images, axes, draws[::-1], stated
    values, vectors = axes.eigenvalues, axes.eigenvectors
    yield "eigenvectors: rows for columns", images, ColourAxes(values, vectors.T), draws, stated
    yield "eigenvalues: in reverse order", images, ColourAxes(values[::-1], vectors), draws, stated
    yield "eigenvalues: squared", images, ColourAxes(values**2, vectors), draws, stated
    yield "eigenvalues: 1", images, ColourAxes(np.ones_like(values), vectors), draws, stated
    yield "channels: in reverse order", images, ColourAxes(values, vectors[::-1]), draws, stated
    yield "images: mean of 0", images - images.mean(axis=(0, 2, 3), keepdims=True), axes, draws, stated
