"""The part of gradients: right float32 passes, every planted fault fails at its own operator, nothing passes unseen."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Subject
from conformance.gradient_checks import gradient_results
from conformance.gradient_reference import Gradient, GradientReference, decided_by_denormals, gradient_reference
from conformance.power.numpy_training import NumpyTrainer
from conformance.power.recipe_faults import GRADIENTS
from conformance.results import Check, Outcome, Result
from conformance.windows import pool_windows
from impls.frameworks import Dtype
from spec.inputs import InputKind, inputs
from spec.network import Network
from spec.operators import MaxPool, Relu
from spec.recipe import Loss
from spec.shapes import shaped
from spec.weights import weights
from tests.conformance.second_formulations import Array, rounded
from tests.conformance.synthetic import CASE, narrow, variant
from tests.spec.networks import branches

Tensors = dict[str, Array]
Answer = tuple[float, Tensors]

CAPS_FILE = "conformance/caps.toml"
MEAN = Loss(kind="softmax_cross_entropy", reduction="mean")


def training_branches() -> Network:
    """Every operator that the AlexNets lack: two taps that several read, and a softmax behind the logits."""
    return branches().model_copy(update={"training": narrow().training})


def case(network: Network, seed: int = 0, batch: int = 2, scale: float = 1.0) -> tuple[Tensors, Array]:
    kind: InputKind = "photographs" if network.name == "alexnet_narrow" else "noise"
    x: Array = inputs(network, kind, seed, batch) * np.float32(scale)
    return dict(weights(network, "scaled", seed)), x


def reference_of(network: Network, tensors: Tensors, x: Array, seed: int = 0) -> GradientReference:
    return gradient_reference(network, MEAN, tensors, x, seed, caps())


def answer_of(network: Network, tensors: Tensors, x: Array, reference: GradientReference, fault: str = "") -> Answer:
    """What a runner in NumPy's float32 answers."""
    trainer = NumpyTrainer(fault)
    trainer.network, trainer.tensors = network, tensors
    fed = reference.fed
    return trainer.gradients(x, dict(fed.substitutes), dict(fed.cotangents), dict(fed.masks), fed.labels)


@cache
def clean() -> tuple[GradientReference, Answer]:
    tensors, x = case(narrow())
    reference = reference_of(narrow(), tensors, x)
    return reference, answer_of(narrow(), tensors, x, reference)


def judged(
    reference: GradientReference, answer: Answer, network: Network | None = None, dtype: Dtype = "float32"
) -> dict[tuple[str, str], Result]:
    loss, tensors = answer
    subject = Subject(network or narrow(), variant(dtype=dtype), "2.9.0", CASE)
    results = gradient_results(subject, reference, tensors, loss, caps())
    found = {(result.tap, str(result.check)): result for result in results}
    assert len(found) == len(results)
    return found


def wrong(results: Mapping[tuple[str, str], Result]) -> dict[tuple[str, str], str]:
    return {place: result.message for place, result in results.items() if result.outcome is not Outcome.PASSED}


def changed(name: str, change: Any) -> Answer:
    loss, tensors = clean()[1]
    return loss, tensors | {name: change(tensors[name].copy())}


# --- What is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(20))
def test_float32_passes_on_every_seed(seed: int) -> None:
    tensors, x = case(narrow(), seed)
    reference = reference_of(narrow(), tensors, x, seed)
    results = judged(reference, answer_of(narrow(), tensors, x, reference))
    assert wrong(results) == {}
    assert max(result.noise_rms or 0.0 for result in results.values()) < 16


@pytest.mark.parametrize("seed", range(5))
def test_float32_passes_where_branches_meet_and_a_softmax_reads_the_logits(seed: int) -> None:
    network = training_branches()
    tensors, x = case(network, seed)
    reference = reference_of(network, tensors, x, seed)
    assert wrong(judged(reference, answer_of(network, tensors, x, reference), network)) == {}


def test_every_operator_every_parameter_and_the_loss_have_a_result() -> None:
    results = judged(*clean())
    assert list(results) == [
        *(
            place
            for layer in narrow().layers
            for place in [
                (layer.name, "gradient_input"),
                *((name, "gradient_parameter") for name in layer.parameter_shapes),
            ]
        ),
        ("fc8", "loss"),
        ("fc8", "loss_gradient"),
    ]
    assert {results[place].operator for place in (("fc8", "loss"), ("fc8", "loss_gradient"))} == {"loss"}
    assert results["conv2.weight", "gradient_parameter"].operator == "conv"
    assert all(result.digest for place, result in results.items() if place[1] != "loss")


def test_elements_of_relu_flatten_and_dropout_are_exact() -> None:
    for place, result in judged(*clean()).items():
        if result.operator in ("relu", "flatten", "dropout"):
            assert (result.worst, result.effective_bits) == (0.0, np.inf), place


# --- What is fed ------------------------------------------------------------------------------------------------------


def test_every_relu_reads_zeros_and_every_pool_equal_largest_elements() -> None:
    fed = clean()[0].fed
    for layer in narrow().layers:
        read = fed.substitutes.get(layer.operator.reads[0])
        if read is not None and isinstance(layer.operator, Relu):
            assert 0.002 < np.mean(read == 0) < 0.2
        if read is not None and isinstance(layer.operator, MaxPool):
            windows = pool_windows(read, layer.operator, -np.inf)
            largest = (windows == windows.max(axis=(4, 5), keepdims=True)).sum(axis=(4, 5))
            assert np.mean((largest > 1) & (windows.max(axis=(4, 5)) > 0)) > 0.005


def test_what_was_fed_given_back_fails_at_every_operator() -> None:
    reference, (loss, tensors) = clean()
    network = narrow()
    echoed = {
        reads: (reference.fed.substitutes | {network.input.name: tensors[network.input.name] * 0})[reads]
        for layer in network.layers
        for reads in layer.operator.reads
    }
    found = wrong(judged(reference, (loss, tensors | echoed)))
    assert {tap for tap, check in found if check == "gradient_input"} == {layer.name for layer in network.layers}


def test_the_same_seed_feeds_the_same_and_another_does_not() -> None:
    tensors, x = case(narrow())
    again, other = reference_of(narrow(), tensors, x).fed, reference_of(narrow(), tensors, x, 1).fed
    fed = clean()[0].fed
    for name, value in fed.cotangents.items():
        assert np.array_equal(again.cotangents[name], value)
        assert np.array_equal(again.substitutes[name], fed.substitutes[name])
        assert not np.array_equal(other.cotangents[name], value)
    assert not np.array_equal(other.masks["drop6"], fed.masks["drop6"])


# --- What is wrong ----------------------------------------------------------------------------------------------------

#: Each fault, and all the checks that it must fail.
EXPECTED: dict[str, set[tuple[str, str]]] = {
    fault.id: {
        (fault.tap, "gradient_parameter" if "." in fault.tap else "gradient_input"),
    }
    for fault in GRADIENTS
    if fault.check is not Check.LOSS and not fault.lines
} | {"loss_sum_for_mean": {("fc8", "loss"), ("fc8", "loss_gradient")}}


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_planted_fault_fails_at_its_own_operator_and_nowhere_else(fault: str) -> None:
    tensors, x = case(narrow())
    reference = clean()[0]
    results = judged(reference, answer_of(narrow(), tensors, x, reference, fault))
    assert wrong(results).keys() == EXPECTED[fault]


def test_a_divergence_names_the_gradient_the_place_the_cap_and_where_it_is_set() -> None:
    gradient = clean()[0].taps["relu2"]
    assert gradient.scale is not None
    index = (1, 7, 3, 2)
    off = 1000 * 2.0**-24 * gradient.scale[index]

    def shifted(values: Array) -> Array:
        values[index] += off
        return values

    (place, message), = wrong(judged(clean()[0], changed("relu2", shifted))).items()  # fmt: skip
    assert place == ("norm2", "gradient_input")
    assert message.startswith("gradient of relu2: at [1, 7, 3, 2] actual ")
    assert message.endswith(f"noise units, cap 128 ({CAPS_FILE}, rule gradient.lrn)")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda values: values[:1], "expected shape"),
        (lambda values: values.astype(np.float64), "expected float32, found float64"),
        (np.zeros_like, "noise units"),
        (lambda values: np.full_like(values, np.nan), "actual nan"),
    ],
)
def test_what_cannot_be_a_gradient_fails_by_name(change: Any, says: str) -> None:
    (place, message), = wrong(judged(clean()[0], changed("conv4.weight", change))).items()  # fmt: skip
    assert place == ("conv4.weight", "gradient_parameter")
    assert says in message


@pytest.mark.parametrize("name", ["image", "relu1", "fc6.bias"])
def test_a_missing_gradient_fails_by_name(name: str) -> None:
    loss, tensors = clean()[1]
    found = wrong(judged(clean()[0], (loss, {key: value for key, value in tensors.items() if key != name})))
    (message,) = found.values()
    assert f"missing gradient: expected a tensor {name!r}, found none" in message


@pytest.mark.parametrize("loss", [np.nan, np.inf, 0.0])
def test_a_loss_that_is_none_fails(loss: float) -> None:
    (place, message), = wrong(judged(clean()[0], (loss, clean()[1][1]))).items()  # fmt: skip
    assert place == ("fc8", "loss")
    assert message.startswith(f"actual {loss:.9g}, expected ")
    assert f"cap 16 ({CAPS_FILE}, loss)" in message


def test_one_wrong_bit_of_a_relu_is_too_much() -> None:
    def next_number(values: Array) -> Array:
        values[0, 3, 2, 1] = np.nextafter(values[0, 3, 2, 1], np.float32(9))
        return values

    assert wrong(judged(clean()[0], changed("conv3", next_number))).keys() == {("relu3", "gradient_input")}


def test_operators_that_read_one_tap_are_named_together() -> None:
    network = training_branches()
    tensors, x = case(network)
    reference = reference_of(network, tensors, x)
    loss, found = answer_of(network, tensors, x, reference)
    twice = wrong(judged(reference, (loss, found | {"image": found["image"] * 2}), network))
    assert twice.keys() == {(name, "gradient_input") for name in ("left", "right", "joined")}
    assert all("gradient of image, the sum from left, right, joined: at [" in message for message in twice.values())
    without_loss = found["fc"] * 2
    assert wrong(judged(reference, (loss, found | {"fc": without_loss}), network)).keys() == {
        ("probabilities", "gradient_input"), ("fc", "loss_gradient"),
    }  # fmt: skip


# --- Precision --------------------------------------------------------------------------------------------------------


def test_tf32_in_one_kernel_fails_and_passes_where_it_is_declared() -> None:
    tensors, x = case(narrow())
    reference = clean()[0]
    coarse = tensors | {"conv4.weight": rounded(tensors["conv4.weight"], "tf32")}
    answer = answer_of(narrow(), coarse, x, reference)
    (place, message), = wrong(judged(reference, answer)).items()  # fmt: skip
    assert place == ("conv4", "gradient_input")
    assert "; RMS " in message and "cap 64" in message
    assert wrong(judged(reference, answer, dtype="tf32")) == {}


# --- Nothing passes unseen --------------------------------------------------------------------------------------------


def test_a_gradient_that_is_0_everywhere_proves_nothing() -> None:
    tensors, x = case(narrow())
    tensors["conv3.weight"] = np.zeros_like(tensors["conv3.weight"])
    reference = reference_of(narrow(), tensors, x)
    found = wrong(judged(reference, answer_of(narrow(), tensors, x, reference)))
    assert found["conv3", "gradient_input"] == (
        "gradient of pool2: vacuous: the case gives no gradient but 0; use other weights or inputs"
    )


def test_an_input_that_excites_no_lrn_does_not_show_the_gradient_of_its_denominator() -> None:
    tensors, x = case(narrow(), scale=1e-6)
    tensors |= {name: tensors[name] * np.float32(1e-6) for name in ("conv1.bias", "conv2.bias")}
    reference = reference_of(narrow(), tensors, x)
    without = answer_of(narrow(), tensors, x, reference, "lrn_denominator_constant")
    message = wrong(judged(reference, without))["norm2", "gradient_input"]
    assert "vacuous: the gradient of the denominator moves 0.00% of the elements by more than 1280 noise" in message
    trusted = replace(reference, taps=reference.taps | {"relu2": replace(reference.taps["relu2"], blind="")})
    assert ("norm2", "gradient_input") not in wrong(judged(trusted, without))


def test_a_relu_without_zeros_and_a_pool_without_ties_would_be_told() -> None:
    reference = clean()[0]
    for name in ("conv3", "relu5"):
        blind = replace(reference.taps[name], blind="no rule decides anything")
        found = wrong(judged(replace(reference, taps=reference.taps | {name: blind}), clean()[1]))
        assert list(found.values()) == [
            f"gradient of {name}: vacuous: no rule decides anything; use other weights or inputs"
        ]


def test_an_oracle_that_is_not_finite_proves_nothing() -> None:
    tensors, x = case(narrow())
    tensors["conv2.weight"] = tensors["conv2.weight"] * np.float32(np.inf)
    reference = reference_of(narrow(), tensors, x)
    found = wrong(judged(reference, clean()[1]))
    assert "vacuous: the case gives a gradient that is not finite" in found["conv2", "gradient_input"]


def test_a_batch_of_one_does_not_tell_the_mean_of_losses_from_their_sum() -> None:
    tensors, x = case(narrow(), batch=1)
    reference = reference_of(narrow(), tensors, x)
    for fault in ("", "loss_sum_for_mean"):
        found = judged(reference, answer_of(narrow(), tensors, x, reference, fault))
        assert found["fc8", "loss"].outcome is Outcome.SKIPPED
        assert "use --batch 2" in found["fc8", "loss"].message


# --- What an honest forward error decides -----------------------------------------------------------------------------


def test_denormals_decide_and_true_ties_do_not() -> None:
    relu = shaped(Relu(name="a", op="relu"), ((5,),))
    x = np.array([[0.0, 1e-40, -1e-40, 1.0, -1.0]])
    found = decided_by_denormals(relu, x)
    assert found is not None and found.tolist() == [[False, True, True, False, False]]
    pool = MaxPool(name="p", op="max_pool", kernel=(1, 2), stride=(1, 2), pads=(0, 0, 0, 0), rounding="floor")
    windows = np.array([[1e-40, 0.0, 2.0, 2.0, 1.0, 1e-40]])[None, None]
    rivals = decided_by_denormals(shaped(pool, ((1, 1, 6),)), windows)
    assert rivals is not None and rivals[0, 0].tolist() == [[True, True, False, False, False, False]]
    conv = narrow().layers[0]
    assert decided_by_denormals(conv, np.zeros((1, *conv.input_shape))) is None


def masked(share: float) -> tuple[GradientReference, Gradient]:
    """The clean reference, with the first of conv1's elements left to denormals."""
    reference = clean()[0]
    gradient = reference.taps["conv1"]
    mask = np.zeros(gradient.value.shape, np.bool_)
    mask.flat[: round(share * mask.size)] = True
    return replace(reference, taps=reference.taps | {"conv1": replace(gradient, masked=mask)}), gradient


def moved(values: Array) -> Array:
    values.flat[0] += 1
    return values


def test_what_is_masked_is_left_out_and_its_share_is_reported() -> None:
    assert judged(*clean())["relu1", "gradient_input"].masked == 0.0
    assert judged(*clean())["norm1", "gradient_input"].masked is None
    assert wrong(judged(clean()[0], changed("conv1", moved))).keys() == {("relu1", "gradient_input")}
    reference, _ = masked(0.0005)
    results = judged(reference, changed("conv1", moved))
    assert wrong(results) == {}
    assert results["relu1", "gradient_input"].masked == pytest.approx(0.0005, rel=0.1)
    assert results["relu1", "gradient_input"].fields()["masked"] == pytest.approx(0.0005, rel=0.1)


def test_what_is_masked_must_be_a_number_all_the_same() -> None:
    def no_number(values: Array) -> Array:
        values.flat[0] = np.nan
        return values

    assert wrong(judged(masked(0.0005)[0], changed("conv1", no_number))).keys() == {("relu1", "gradient_input")}


def test_a_case_that_masks_too_much_proves_nothing() -> None:
    (message,) = wrong(judged(masked(0.01)[0], clean()[1])).values()
    assert message == (
        "gradient of conv1: vacuous: denormals decide 1.00% of the elements, expected at most 0.1% "
        f"({CAPS_FILE}, masked); use other weights or inputs"
    )
