"""Generated torch sources train as the oracle does: gradients of every operator, every form of the update, views."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest

from conformance.backpropagation import logits_tap, train_forward
from conformance.colour import colour_axes, coloured
from conformance.evaluation import Average, Views, averaged, crops
from conformance.trajectory import trajectory
from impls.client import WorkerError
from impls.emission_training import initialisers
from impls.frameworks import LOWERINGS, Lowering, Mode
from spec.load import load, parse
from spec.network import Network
from spec.operators import Dropout
from spec.recipe import Constant, Normal
from spec.weights import weights
from tests.impls.goldens import HERE
from tests.impls.trained import (
    MAX_CAP,
    RMS_CAP,
    Form,
    Trained,
    batches,
    branches,
    gradient_case,
    noise,
    recipe,
    relative,
    trained,
)
from tests.spec.networks import BRANCHES, changed

ALL_OPERATORS = parse((HERE / "all_operators.yaml").read_text(encoding="utf-8") + recipe(reduction="sum"), "all")


@pytest.fixture(scope="module")
def torch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with trained("torch", tmp_path_factory.mktemp("torch")) as worker:
        yield worker


def wrong_gradients(torch: Trained, network: Network, lowering: Lowering, mode: Mode) -> set[str]:
    """The gradients that are farther from the oracle's than float32 may be, by name."""
    given = weights(network, "scaled", 3)
    case = gradient_case(network, given, 7)
    torch.load(network, given, lowering, mode)
    loss, found = torch.gradients(case.x, case.substitutes, case.cotangents, case.masks, case.labels)
    assert loss == pytest.approx(case.loss, rel=1e-6)
    assert found.keys() == case.expected.keys()
    errors = {name: noise(found[name], value, scale) for name, (value, scale) in case.expected.items()}
    return {name for name, (rms, largest) in errors.items() if not (rms <= RMS_CAP and largest <= MAX_CAP)}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    "network", [load("alexnet_narrow"), ALL_OPERATORS, branches()], ids=lambda network: network.name
)
def test_gradients_of_every_operator_are_the_oracles(torch: Trained, network: Network, lowering: Lowering) -> None:
    assert wrong_gradients(torch, network, lowering, "eager") == set()


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_gradients_are_the_oracles_in_compiled_code_too(torch: Trained, lowering: Lowering) -> None:
    assert wrong_gradients(torch, load("alexnet_narrow"), lowering, "compiled") == set()


@pytest.mark.parametrize(
    "lowering",
    [
        pytest.param(
            "native",
            marks=pytest.mark.xfail(
                strict=True,
                raises=AssertionError,
                reason="https://github.com/pytorch/pytorch/issues/198119: torch's own avg_pool2d, compiled, has a "
                "wrong gradient where windows reach beyond counted padding (torch >=2.13)",
            ),
        ),
        "fast",
    ],
)
def test_compiled_average_pool_that_reaches_beyond_its_padding(torch: Trained, lowering: Lowering) -> None:
    pool = "op: max_pool\n    kernel: 3\n    stride: 2\n    pads: 0\n    rounding: floor\n"
    overflowing = pool.replace("max", "avg").replace("3", "4").replace("floor", "ceil\n    padding_counted: true")
    network = parse(changed((pool, overflowing)) + recipe(), "overflowing")
    assert wrong_gradients(torch, network, lowering, "compiled") == set()


RATES = [(0.02, 0.04), (0.02, 0.04), (0.002, 0.04), (0.002, 0.008)]
FORMS = [
    Form(rate, decay, decays)
    for rate, decay, decays in product(
        ("inside_velocity", "outside_velocity"),
        ("inside_momentum", "coupled", "decoupled"),
        ("weights", "weights_and_biases"),
    )
] + [Form("outside_velocity", "coupled", momentum=0.0)]


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_steps_over_a_change_of_rates_are_the_oracles(torch: Trained, form: Form, lowering: Lowering) -> None:
    network = branches(form)
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    assert network.training is not None
    torch.load(network, given, lowering, "eager")
    *_, last = steps = list(trajectory(network, given, network.training, fed))
    found = torch.steps(fed)
    assert found.losses == pytest.approx([step.loss for step in steps], rel=1e-6)
    trained = {name: found.parameters[name] for name in last.state.parameters}
    assert relative(trained, last.state.parameters) < 1e-6
    assert relative(found.velocities, last.state.velocities) < 1e-5
    for name in found.parameters.keys() - trained.keys():
        np.testing.assert_array_equal(found.parameters[name], given[name])


def test_steps_of_compiled_code_are_the_oracles(torch: Trained) -> None:
    network = load("alexnet_narrow")
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    assert network.training is not None
    torch.load(network, given, "fast", "compiled")
    *_, last = steps = list(trajectory(network, given, network.training, fed))
    found = torch.steps(fed)
    assert found.losses == pytest.approx([step.loss for step in steps], rel=1e-5)
    assert relative(found.parameters, last.state.parameters) < 1e-6
    assert relative(found.velocities, last.state.velocities) < 1e-5


def test_forms_of_the_update_can_be_told_from_each_other() -> None:
    """Else the test above could not fail for a wrong form. Coupled decay and that inside the momentum are one form."""
    ends = {}
    for form in FORMS:
        network = branches(form)
        assert network.training is not None
        *_, last = trajectory(network, weights(network, "scaled", 3), network.training, batches(network, RATES))
        ends[form] = last.state.velocities
    for one, other in combinations(FORMS, 2):
        same = replace(one, decay="coupled") == replace(other, decay="coupled")
        if not (same and "decoupled" not in (one.decay, other.decay)):
            assert relative(ends[one], ends[other]) > 1e-3, (one, other)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("form", [Form(), Form("outside_velocity", "coupled")], ids=str)
def test_training_goes_on_from_its_state_bit_by_bit(torch: Trained, form: Form, lowering: Lowering) -> None:
    network = branches(form)
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    torch.load(network, given, lowering, "eager")
    first, whole = torch.steps(fed[:2]), torch.more(fed[2:])
    torch.load(network, first.parameters, lowering, "eager")
    resumed = torch.steps(fed[2:], first.velocities)
    assert resumed.losses == whole.losses
    for name, expected in (whole.parameters | whole.velocities).items():
        np.testing.assert_array_equal((resumed.parameters | resumed.velocities)[name], expected)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_every_start_is_from_the_loaded_weights(torch: Trained, lowering: Lowering) -> None:
    network = branches()
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    torch.load(network, given, lowering, "eager")
    first, second = torch.steps(fed), torch.steps(fed)
    assert first.losses == second.losses
    for name, value in first.velocities.items():
        np.testing.assert_array_equal(second.velocities[name], value)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_what_is_traced_after_a_step_has_the_parameters_after_it(torch: Trained, lowering: Lowering) -> None:
    network = load("alexnet_narrow")
    (batch,) = batches(network, RATES[:1])
    output = network.output
    torch.load(network, weights(network, "scaled", 3), lowering, "eager")
    before = torch.forward(batch.x, None, [output], training=False)[output]
    trained = torch.steps([batch]).parameters
    after = torch.forward(batch.x, None, [output], training=False)[output]
    torch.load(network, trained, lowering, "eager")
    np.testing.assert_array_equal(torch.forward(batch.x, None, [output], training=False)[output], after)
    assert (after != before).all()


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_dropouts_draw_from_the_seed_keep_their_share_and_scale_what_they_keep(
    torch: Trained, lowering: Lowering
) -> None:
    network = ALL_OPERATORS
    torch.load(network, weights(network, "scaled", 3), lowering, "eager")
    x = np.random.default_rng(1).normal(0, 1, (400, *network.input.shape)).astype(np.float32)
    drops = {layer.name: layer.operator for layer in network.layers if isinstance(layer.operator, Dropout)}
    taps = [*drops, *(operator.reads[0] for operator in drops.values())]
    drawn = torch.forward(x, None, taps, seed=11)
    for name, operator in drops.items():
        given, kept = drawn[operator.reads[0]], drawn[name]
        alive = given != 0
        share = (kept[alive] != 0).mean()
        assert abs(share - (1 - operator.drop_probability)) < 5 * np.sqrt(0.25 / alive.sum())
        scale = 1.0 if operator.convention == "test_time" else 1 / (1 - operator.drop_probability)
        np.testing.assert_allclose(kept[kept != 0], given[kept != 0] * scale, rtol=0 if scale == 1 else 1e-6)
    again, other = (torch.forward(x, None, taps, seed=seed) for seed in (11, 12))
    assert all((again[name] == drawn[name]).all() for name in drops)
    assert all((other[name] != drawn[name]).any() for name in drops)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_initial_parameters_are_drawn_as_stated(torch: Trained, lowering: Lowering) -> None:
    network = load("alexnet_narrow")
    torch.load(network, weights(network, "scaled", 3), lowering, "eager")
    drawn = torch.initialise(7)
    assert {name: value.shape for name, value in drawn.items()} == network.tensor_shapes
    for name, initialiser in initialisers(network).items():
        value = drawn[name].astype(np.float64)
        match initialiser:
            case Constant(value=constant):
                assert (value == constant).all(), name
            case Normal(mean=mean, std=std):
                error = std / np.sqrt(value.size)
                assert abs(value.mean() - mean) < 5 * error, name
                assert abs(value.std() - std) < 5 * error, name
            case other:
                raise AssertionError(other)
    assert (torch.initialise(7)["fc8.weight"] == drawn["fc8.weight"]).all()
    assert (torch.initialise(8)["fc8.weight"] != drawn["fc8.weight"]).any()


def test_initial_parameters_of_a_batch_norm_leave_its_input_alone(torch: Trained) -> None:
    network = branches()
    torch.load(network, weights(network, "scaled", 3), "native", "eager")
    drawn = torch.initialise(7)
    assert {name: value.tolist() for name, value in drawn.items() if name.startswith("norm.")} == {
        "norm.scale": [1.0] * 4,
        "norm.shift": [0.0] * 4,
        "norm.mean": [0.0] * 4,
        "norm.variance": [1.0] * 4,
    }
    assert -1 <= drawn["fc.bias"].min() < drawn["fc.bias"].max() < 3  # uniform in [-1, 3)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    ("views", "average"), [("centre", "probabilities"), ("ten_crop", "probabilities"), ("ten_crop", "logits")]
)
def test_predictions_are_averages_over_views(
    torch: Trained, views: Views, average: Average, lowering: Lowering
) -> None:
    network = branches(views=views, average=average)
    given = weights(network, "scaled", 3)
    torch.load(network, given, lowering, "eager")
    _, height, width = network.input.shape
    images = np.random.default_rng(2).normal(0, 1, (3, 3, height + 5, width + 2)).astype(np.float32)
    seen = crops(images.astype(np.float64), (height, width), views)
    logits = np.stack([train_forward(network, given, view, {})[logits_tap(network)] for view in seen])
    np.testing.assert_allclose(torch.predict(images), averaged(logits, average), rtol=2e-6)


@pytest.mark.parametrize("scale_by", ["eigenvalue", "root_of_eigenvalue"])
@pytest.mark.parametrize("rescale", ["none", "one_plus_std"])
def test_colours_are_shifted_as_stated(torch: Trained, scale_by: str, rescale: str) -> None:
    network = branches(scale_by=scale_by, rescale=rescale)
    assert network.preprocessing is not None
    stated = network.preprocessing.augmentation.pca_colour
    assert stated is not None
    torch.load(network, weights(network, "scaled", 3), "native", "eager")
    random = np.random.default_rng(4)
    images = random.uniform(-120, 130, (2, 3, 5, 4)).astype(np.float32)
    axes = colour_axes(images)
    draws = random.normal(0, 0.1, (2, 3))
    found = torch.colour(images=images, eigenvalues=axes.eigenvalues, eigenvectors=axes.eigenvectors, draws=draws)
    np.testing.assert_allclose(found, coloured(images.astype(np.float64), axes, draws, stated), rtol=1e-5, atol=1e-4)


def test_what_cannot_be_trained_is_refused_by_name(torch: Trained) -> None:
    network = branches()
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    torch.load(network, given, "fast", "eager", dtype="bf16")
    with pytest.raises(WorkerError, match=r"torch trains in float32 and tf32, .* found bfloat16") as refused:
        torch.steps(fed)
    assert refused.value.kind == "unsupported"
    torch.load(network, given, "fast", "eager")
    with pytest.raises(WorkerError, match="expected training to have begun, found none"):
        torch.more(fed)
    bare = parse(BRANCHES, "bare")
    torch.load(bare, given, "fast", "eager")
    with pytest.raises(WorkerError, match="has no 'start': its spec does not state") as refused:
        torch.steps(fed)
    assert refused.value.kind == "unsupported"
