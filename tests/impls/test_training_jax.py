"""Generated JAX sources train as the oracle does: gradients of every operator, every form of the update, views."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from conformance.backpropagation import logits_tap, train_forward
from conformance.colour import colour_axes, coloured
from conformance.dropout import drawn_masks
from conformance.evaluation import Average, Views, averaged, crops
from conformance.gradients import max_pool
from conformance.trajectory import Batch, trajectory
from conformance.updates import Rates
from impls.client import WorkerError
from impls.emission_training import initialisers
from impls.frameworks import LOWERINGS, MODES, Lowering, Mode
from impls.generate import source_text
from spec.load import load, parse
from spec.network import Network
from spec.operators import Dropout, MaxPool
from spec.recipe import Constant, Normal
from spec.weights import weights
from tests.impls.goldens import HERE
from tests.impls.test_in_frameworks import run_in
from tests.impls.trained import (
    MAX_CAP,
    PAPERS,
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
from tests.spec.networks import BRANCHES

ALL_OPERATORS = parse((HERE / "all_operators.yaml").read_text(encoding="utf-8") + recipe(reduction="sum"), "all")


@pytest.fixture(scope="module")
def jax(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with trained("jax", tmp_path_factory.mktemp("jax")) as worker:
        yield worker


# --- Gradients -------------------------------------------------------------------------------------------------------


def wrong_gradients(jax: Trained, network: Network, lowering: Lowering, mode: Mode) -> set[str]:
    """The gradients that are farther from the oracle's than float32 may be, by name."""
    given = weights(network, "scaled", 3)
    case = gradient_case(network, given, 7)
    jax.load(network, given, lowering, mode)
    loss, found = jax.gradients(case.x, case.substitutes, case.cotangents, case.masks, case.labels)
    assert loss == pytest.approx(case.loss, rel=1e-6)
    assert found.keys() == case.expected.keys()
    errors = {name: noise(found[name], value, scale) for name, (value, scale) in case.expected.items()}
    return {name for name, (rms, largest) in errors.items() if not (rms <= RMS_CAP and largest <= MAX_CAP)}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    "network", [load("alexnet_narrow"), ALL_OPERATORS, branches()], ids=lambda network: network.name
)
def test_gradients_of_every_operator_are_the_oracles(jax: Trained, network: Network, lowering: Lowering) -> None:
    assert wrong_gradients(jax, network, lowering, "compiled") == set()


def test_gradients_are_the_oracles_in_eager_mode_too(jax: Trained) -> None:
    assert wrong_gradients(jax, branches(), "native", "eager") == set()


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_max_pool_passes_everything_to_the_first_of_equal_elements(jax: Trained, lowering: Lowering) -> None:
    """Windows that overlap, or reach beyond the input, of values that are often equal."""
    network = ALL_OPERATORS
    given = weights(network, "scaled", 3)
    case = gradient_case(network, given, 7)
    jax.load(network, given, lowering, "compiled")
    random = np.random.default_rng(1)
    pools = {layer.name: layer.operator for layer in network.layers if isinstance(layer.operator, MaxPool)}
    assert pools.keys() == {"pool_a", "pool_f"}
    for name, operator in pools.items():
        (read,) = operator.reads
        equal = random.integers(0, 2, case.substitutes[read].shape).astype(np.float32)
        g = case.cotangents[name]
        substitutes = case.substitutes | {read: equal}
        _, found = jax.gradients(case.x, substitutes, {name: g}, case.masks, case.labels)
        np.testing.assert_allclose(found[read], max_pool(equal, g, operator), rtol=1e-6)


POOLS = """
import sys

import jax
import numpy as np

from impls.runner import import_source

source = import_source(sys.argv[1])
random = np.random.default_rng(0)
x = random.integers(0, 3, (2, 11, 13, 3)).astype(np.float32)
for kernel, stride in (((3, 3), (2, 2)), ((2, 3), (1, 3)), ((1, 4), (3, 2)), ((2, 2), (4, 5)), ((5, 1), (2, 1))):
    pool = lambda x: source.max_pool(x, kernel, stride)
    g = random.normal(size=jax.eval_shape(pool, x).shape).astype(np.float32)
    gradient = jax.jit(lambda x, g: jax.vjp(pool, x)[1](g)[0])(x, g)
    expected = np.zeros_like(x)
    for image, row, column, channel in np.ndindex(*g.shape):
        top, left = row * stride[0], column * stride[1]
        window = x[image, top : top + kernel[0], left : left + kernel[1], channel]
        down, across = np.unravel_index(window.argmax(), kernel)
        expected[image, top + down, left + across, channel] += g[image, row, column, channel]
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)
    print(*g.shape[1:3])
"""


def test_the_fast_max_pool_knows_the_first_of_equal_elements_at_every_kernel_and_stride(tmp_path: Path) -> None:
    source = tmp_path / "source.py"
    source.write_text(source_text(load("alexnet_narrow"), "jax", "fast"), encoding="utf-8")
    assert run_in("jax", POOLS, source).split("\n") == ["5 6", "10 4", "4 5", "3 3", "4 13", ""]


# --- Steps -----------------------------------------------------------------------------------------------------------

RATES = [(0.02, 0.04), (0.02, 0.04), (0.002, 0.04), (0.002, 0.008)]
FORMS = [
    Form(rate, decay, decays)
    for rate, decay, decays in product(
        ("inside_velocity", "outside_velocity"),
        ("inside_momentum", "coupled", "decoupled"),
        ("weights", "weights_and_biases"),
    )
]
OF_OPTAX = Form("outside_velocity", "decoupled")


def assert_steps(jax: Trained, network: Network, lowering: Lowering, mode: Mode) -> None:
    """Four steps, over a change of both rates, end where the oracle's do."""
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    assert network.training is not None
    jax.load(network, given, lowering, mode)
    *_, last = steps = list(trajectory(network, given, network.training, fed))
    found = jax.steps(fed)
    assert found.losses == pytest.approx([step.loss for step in steps], rel=1e-5)
    changed = {name: found.parameters[name] for name in last.state.parameters}
    assert relative(changed, last.state.parameters) < 1e-6
    assert relative(found.velocities, last.state.velocities) < 1e-5
    for name in found.parameters.keys() - changed.keys():
        np.testing.assert_array_equal(found.parameters[name], given[name])


@pytest.mark.parametrize("form", [*FORMS, Form("outside_velocity", "coupled", momentum=0.0)], ids=str)
def test_steps_in_every_form_are_the_oracles(jax: Trained, form: Form) -> None:
    assert_steps(jax, branches(form), "native", "compiled")


@pytest.mark.parametrize("form", [PAPERS, OF_OPTAX], ids=str)
def test_steps_of_the_fast_lowering_are_the_oracles(jax: Trained, form: Form) -> None:
    assert_steps(jax, branches(form), "fast", "compiled")


def test_a_step_of_more_images_than_a_gradient_adds_up_at_once_is_the_oracles(jax: Trained) -> None:
    """Of 19 images the fast lowering takes 16, then 3."""
    network, random = branches(), np.random.default_rng(8)
    x = random.normal(0, 1, (19, *network.input.shape)).astype(np.float32)
    batch = Batch(x, random.integers(0, 2, 19), {}, Rates(0.02, 0.04))
    given = weights(network, "scaled", 3)
    assert network.training is not None
    (step,) = trajectory(network, given, network.training, [batch])
    jax.load(network, given, "fast", "compiled")
    assert relative(jax.steps([batch]).velocities, step.state.velocities) < 1e-5


@pytest.mark.parametrize("form", [PAPERS, OF_OPTAX], ids=str)
def test_steps_in_eager_mode_are_the_oracles(jax: Trained, form: Form) -> None:
    assert_steps(jax, branches(form), "fast", "eager")


@pytest.mark.parametrize("network", [load("alexnet_narrow"), ALL_OPERATORS], ids=lambda network: network.name)
def test_steps_through_every_operator_are_the_oracles(jax: Trained, network: Network) -> None:
    assert_steps(jax, network, "fast", "compiled")


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_only_sources_whose_rate_is_outside_the_velocity_import_optax(form: Form, lowering: Lowering) -> None:
    imports = "import optax" in source_text(branches(form), "jax", lowering)
    assert imports == (form.rate == "outside_velocity")


WITHOUT_OPTAX = """
import sys

from impls.protocol import Load, RefusedError
from impls.run_jax import JaxRunner

sys.modules["optax"] = None  # as if it were not installed
runner = JaxRunner()
for source in sys.argv[2:]:
    try:
        runner.load(Load("", source, sys.argv[1], "cpu", "float32", "compiled", "native", 1))
        print("loaded")
    except RefusedError as error:
        print(error.kind, "optax" in str(error))
"""


def test_an_environment_without_optax_is_refused_by_name(jax: Trained, tmp_path: Path) -> None:
    sources = [tmp_path / f"{name}.py" for name in ("papers", "of_optax")]
    for source, form in zip(sources, (PAPERS, OF_OPTAX), strict=True):
        source.write_text(source_text(branches(form), "jax"), encoding="utf-8")
    given = jax.written(weights(branches(), "scaled", 3))
    assert run_in("jax", WITHOUT_OPTAX, given, *sources) == "loaded\nmissing_framework True\n"


@pytest.mark.parametrize(("form", "lowering"), [(PAPERS, "fast"), (OF_OPTAX, "native")])
def test_training_starts_again_from_what_was_loaded_and_goes_on_from_velocities(
    jax: Trained, form: Form, lowering: Lowering
) -> None:
    network = branches(form)
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    jax.load(network, given, lowering, "compiled")
    whole, half = jax.steps(fed), jax.steps(fed[:2])
    again = jax.more(fed[2:])
    jax.load(network, half.parameters, lowering, "compiled")
    resumed = jax.steps(fed[2:], half.velocities)
    assert whole.losses == half.losses + again.losses == half.losses + resumed.losses
    for other in (again, resumed):
        for name, value in (whole.parameters | whole.velocities).items():
            np.testing.assert_array_equal((other.parameters | other.velocities)[name], value, err_msg=name)


@pytest.mark.parametrize("mode", MODES["jax"])
def test_what_is_traced_after_a_step_has_the_parameters_after_it(jax: Trained, mode: Mode) -> None:
    network = branches()
    (batch,) = batches(network, RATES[:1])
    output = network.output
    jax.load(network, weights(network, "scaled", 3), "native", mode)
    before = jax.forward(batch.x, None, [output], training=False)[output]
    trained = jax.steps([batch]).parameters
    after = jax.forward(batch.x, None, [output], training=False)[output]
    jax.load(network, trained, "native", mode)
    np.testing.assert_array_equal(jax.forward(batch.x, None, [output], training=False)[output], after)
    assert (after != before).all()


# --- Dropout, first parameters, predictions, colours -----------------------------------------------------------------


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_dropouts_draw_from_the_seed_keep_their_share_and_scale_what_they_keep(
    jax: Trained, lowering: Lowering
) -> None:
    network = ALL_OPERATORS
    jax.load(network, weights(network, "scaled", 3), lowering, "compiled")
    x = np.random.default_rng(1).normal(0, 1, (300, *network.input.shape)).astype(np.float32)
    drops = {layer.name: layer.operator for layer in network.layers if isinstance(layer.operator, Dropout)}
    taps = [*drops, *(operator.reads[0] for operator in drops.values())]
    drawn = jax.forward(x, None, taps, seed=11)
    for name, operator in drops.items():
        given, kept = drawn[operator.reads[0]], drawn[name]
        alive = given != 0
        share = (kept[alive] != 0).mean()
        assert abs(share - (1 - operator.drop_probability)) < 5 * np.sqrt(0.25 / alive.sum())
        scale = 1.0 if operator.convention == "test_time" else 1 / (1 - operator.drop_probability)
        np.testing.assert_allclose(kept[kept != 0], given[kept != 0] * scale, rtol=0 if scale == 1 else 1e-6)
    again, other = (jax.forward(x, None, taps, seed=seed) for seed in (11, 12))
    assert all((again[name] == drawn[name]).all() for name in drops)
    assert all((other[name] != drawn[name]).any() for name in drops)


def test_first_parameters_are_drawn_as_the_recipe_says(jax: Trained) -> None:
    network = load("alexnet_narrow")
    jax.load(network, weights(network, "scaled", 3), "fast", "compiled")
    drawn = jax.initialise(7)
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
    assert (jax.initialise(7)["fc8.weight"] == drawn["fc8.weight"]).all()
    assert (jax.initialise(8)["fc8.weight"] != drawn["fc8.weight"]).any()


def test_first_parameters_of_a_batch_norm_leave_its_input_alone(jax: Trained) -> None:
    network = branches()
    jax.load(network, weights(network, "scaled", 3), "native", "eager")
    drawn = jax.initialise(7)
    assert {name: value.tolist() for name, value in drawn.items() if name.startswith("norm.")} == {
        "norm.scale": [1.0] * 4,
        "norm.shift": [0.0] * 4,
        "norm.mean": [0.0] * 4,
        "norm.variance": [1.0] * 4,
    }
    assert -1 <= drawn["fc.bias"].min() < drawn["fc.bias"].max() < 3  # uniform in [-1, 3)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("views", get_args(Views))
@pytest.mark.parametrize("average", get_args(Average))
@pytest.mark.parametrize("ends_in_softmax", [True, False])
def test_predictions_are_the_oracles(
    jax: Trained, lowering: Lowering, views: Views, average: Average, ends_in_softmax: bool
) -> None:
    """Margins that are odd; more images than views."""
    network = branches(views=views, average=average)
    if not ends_in_softmax:
        network = network.with_graph(network.graph[:-1])
    given = weights(network, "scaled", 3)
    jax.load(network, given, lowering, "compiled")
    height, width = network.input.shape[1:]
    images = np.random.default_rng(4).normal(0, 2, (3, 3, height + 5, width + 2)).astype(np.float32)
    seen = crops(images.astype(np.float64), (height, width), views)
    logits = np.stack([train_forward(network, given, view, {})[logits_tap(network)] for view in seen])
    np.testing.assert_allclose(jax.predict(images), averaged(logits, average), atol=1e-6)


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("scale_by", ["eigenvalue", "root_of_eigenvalue"])
@pytest.mark.parametrize("rescale", ["none", "one_plus_std"])
def test_colours_are_the_oracles(jax: Trained, lowering: Lowering, scale_by: str, rescale: str) -> None:
    network = branches(scale_by=scale_by, rescale=rescale)
    assert network.preprocessing is not None
    stated = network.preprocessing.augmentation.pca_colour
    assert stated is not None
    jax.load(network, weights(network, "scaled", 3), lowering, "compiled")
    random = np.random.default_rng(6)
    images = random.normal(0, 60, (4, 3, 5, 7)).astype(np.float32)
    axes, draws = colour_axes(images), random.normal(0, stated.std, (4, 3))
    found = jax.colour(images=images, eigenvalues=axes.eigenvalues, eigenvectors=axes.eigenvectors, draws=draws)
    np.testing.assert_allclose(found, coloured(images.astype(np.float64), axes, draws, stated), rtol=1e-5, atol=1e-3)


def test_what_cannot_be_trained_is_refused_by_name(jax: Trained) -> None:
    network = branches()
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    jax.load(network, given, "fast", "compiled", dtype="bf16")
    with pytest.raises(WorkerError, match="jax trains in float32 and tf32 here, found bf16") as refused:
        jax.steps(fed)
    assert refused.value.kind == "unsupported"
    jax.load(network, given, "fast", "compiled")
    with pytest.raises(WorkerError, match="expected training to have begun, found none"):
        jax.more(fed)
    jax.load(parse(BRANCHES, "bare"), given, "fast", "compiled")
    with pytest.raises(WorkerError, match="has no 'train_step': its spec does not state it") as refused:
        jax.steps(fed)
    assert refused.value.kind == "unsupported"


def test_masks_that_are_not_those_of_the_network_are_refused(jax: Trained) -> None:
    network = ALL_OPERATORS
    jax.load(network, weights(network, "scaled", 3), "native", "compiled")
    masks = drawn_masks(network, 2, 0, 0)
    del masks["drop_b"]
    with pytest.raises(WorkerError, match="masks: expected drop_a, drop_b, found drop_a"):
        jax.forward(np.zeros((2, *network.input.shape), np.float32), masks, ["fc"])
