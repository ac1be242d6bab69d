"""PCA colour augmentation (paper §4.1): images are shifted along the principal axes of colours."""

from dataclasses import dataclass
from typing import assert_never

import numpy as np

from conformance.windows import Array
from spec.recipe import PcaColour


@dataclass(frozen=True)
class ColourAxes:
    """Principal axes of the pixels' RGB values."""

    eigenvalues: Array
    """(3), of the covariance of the pixels, the largest first."""
    eigenvectors: Array
    """(3 colours, 3 axes): column j belongs to eigenvalue j, and its largest component is positive."""


def colour_axes(images: Array) -> ColourAxes:
    """The axes of all pixels of `images` (N, 3, H, W), in float64; the covariance divides by the number of pixels."""
    pixels = images.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float64)
    return axes_of(np.cov(pixels, bias=True))


def axes_of(covariance: Array) -> ColourAxes:
    """The axes of pixels with this covariance (3, 3)."""
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues, eigenvectors = np.maximum(eigenvalues[::-1], 0.0), eigenvectors[:, ::-1]
    largest = np.abs(eigenvectors).argmax(axis=0)
    signs = np.sign(eigenvectors[largest, np.arange(3)])
    return ColourAxes(eigenvalues, eigenvectors * signs)


def coloured(images: Array, axes: ColourAxes, draws: Array, stated: PcaColour) -> Array:
    """Images (N, 3, H, W) with [p1 p2 p3]·[a1λ1 a2λ2 a3λ3]ᵀ added to every pixel; `draws` a ~ N(0, std) (N, 3).

    The code of 2012 multiplies a by the root of λ, and divides the result by 1 + std.
    """
    match stated.scale_by:
        case "eigenvalue":
            extents = axes.eigenvalues
        case "root_of_eigenvalue":
            extents = np.sqrt(axes.eigenvalues)
        case _:
            assert_never(stated.scale_by)
    shifted = images + ((draws * extents) @ axes.eigenvectors.T)[:, :, None, None]
    return shifted / (1.0 + stated.std) if stated.rescale == "one_plus_std" else shifted
