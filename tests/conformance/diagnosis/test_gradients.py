"""What a failed gradient is explained by: planted in the oracle's own values."""

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Subject
from conformance.diagnosis.gradients import GradientCase, diagnosed
from conformance.gradient_checks import gradient_results
from conformance.gradient_reference import gradient_reference
from conformance.gradients import conv_weight
from conformance.oracle import lrn_sums
from conformance.results import Result
from conformance.windows import Array, pool_pads, pool_windows, spread
from spec.inputs import inputs
from spec.operators import Conv, Lrn, MaxPool
from spec.recipe import Loss
from spec.weights import weights
from tests.conformance.synthetic import CASE, narrow, variant

MEAN = Loss(kind="softmax_cross_entropy", reduction="mean")


@cache
def case() -> GradientCase:
    tensors, x = dict(weights(narrow(), "scaled", 0)), inputs(narrow(), "photographs", 0, 2)
    reference = gradient_reference(narrow(), MEAN, tensors, x, 0, caps())
    return GradientCase(narrow(), MEAN, reference, tensors, x, variant())


def results_of(name: str = "", value: Array | None = None, loss: float | None = None) -> list[Result]:
    """The diagnosed results of an answer that is right but for one gradient, or the loss."""
    own, reference = case(), case().reference
    answer = {
        key: each.value.astype(np.float32) for key, each in (*reference.taps.items(), *reference.parameters.items())
    }
    if value is not None:
        answer[name] = np.ascontiguousarray(value, np.float32)
    found = reference.loss if loss is None else loss
    subject = Subject(narrow(), variant(), "2.9.0", CASE)
    return diagnosed(own, gradient_results(subject, reference, answer, found, caps()), answer, found, caps())


def operator(name: str) -> tuple[Array, Array, object]:
    """What an operator reads, its cotangent, and itself."""
    own = next(each for each in narrow().graph if each.name == name)
    return case().read(own.reads[0]), case().reference.fed.cotangents[name].astype(np.float64), own


def right(name: str) -> Array:
    reference = case().reference
    return (reference.taps.get(name) or reference.parameters[name]).value


def relu() -> Array:
    x, g, _ = operator("relu3")
    return np.where(x >= 0, g, 0.0)


def ties() -> Array:
    x, g, pool = operator("pool2")
    assert isinstance(pool, MaxPool)
    windows = pool_windows(x, pool, -np.inf)
    largest = windows == windows.max(axis=(4, 5), keepdims=True)
    pieces = (largest * (g / largest.sum(axis=(4, 5)))[..., None, None]).transpose(0, 1, 4, 5, 2, 3)
    size = (x.shape[2], x.shape[3])
    return spread(pieces, size, pool.kernel, pool.stride, pool_pads(pool, *size))


def constant_denominator() -> Array:
    x, g, norm = operator("norm2")
    assert isinstance(norm, Lrn)
    y: Array = g * (norm.k + norm.alpha_sum * lrn_sums(x, norm)) ** -norm.beta
    return y


def other_beta() -> Array:
    from conformance.gradients import lrn

    x, g, norm = operator("norm1")
    assert isinstance(norm, Lrn)
    return lrn(x, g, norm.model_copy(update={"alpha_convention": "mean"}))


def first_image() -> Array:
    x, g, conv = operator("conv3")
    assert isinstance(conv, Conv)
    return conv_weight(x[:1], g[:1], conv)


@pytest.mark.parametrize(
    ("tap", "name", "change", "plant"),
    [
        ("relu3", "conv3", "slope at 0: 1", relu),
        ("pool2", "norm2", "ties: split", ties),
        ("norm2", "relu2", "denominator: constant", constant_denominator),
        ("norm1", "relu1", "alpha_convention: mean", other_beta),
        ("flatten", "pool5", "batch: in reverse order", lambda: right("pool5")[::-1]),
        ("conv3", "pool2", "gradient: doubled", lambda: 2 * right("pool2")),
        ("drop6", "relu6", "mask: missing", lambda: operator("drop6")[1]),
        ("conv4.weight", "conv4.weight", "groups: exchanged", lambda: np.roll(right("conv4.weight"), 14, 0)),
        ("conv3.weight", "conv3.weight", "images: the first alone", first_image),
        (
            "conv3.weight",
            "conv3.weight",
            "gradient: rows and columns exchanged",
            lambda: right("conv3.weight").swapaxes(2, 3),
        ),
        ("conv2.bias", "conv2.bias", "places: averaged", lambda: right("conv2.bias") / operator("conv2")[1][0, 0].size),
        ("fc7.weight", "fc7.weight", "images: averaged", lambda: right("fc7.weight") / 2),
        ("fc6.weight", "fc6.weight", "gradient: missing", lambda: 0 * right("fc6.weight")),
    ],
)
def test_a_planted_gradient_is_explained(tap: str, name: str, change: str, plant: Callable[[], Array]) -> None:
    (found,) = [result for result in results_of(name, plant()) if result.tried is not None]
    assert found.tap == tap
    assert change in [each.change for each in found.explanations[:1]]
    assert found.explanations[0].after < found.explanations[0].before


@pytest.mark.parametrize(
    ("change", "loss"),
    [
        ("reduction: sum", lambda right: 2 * right),
        ("base: 2", lambda right: right / np.log(2)),
        ("sign: negative", lambda right: -right),
    ],
)
def test_another_loss_is_explained(change: str, loss: Callable[[float], float]) -> None:
    (found,) = [result for result in results_of(loss=loss(case().reference.loss)) if result.tried is not None]
    assert found.explanations[0].change == change


def test_what_nothing_explains_is_said_to_be_unexplained() -> None:
    (found,) = [each for each in results_of("conv3.weight", 1.01 * right("conv3.weight")) if each.tried is not None]
    assert found.tap == "conv3.weight"
    assert found.explanations == ()
    assert found.tried


def test_right_gradients_are_not_diagnosed() -> None:
    assert all(result.tried is None for result in results_of())
