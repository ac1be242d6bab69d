"""Generated TensorFlow sources train as the oracle does: gradients of every operator, every form of the update, …"""

import json
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
from conformance.trajectory import trajectory
from impls.client import WorkerError
from impls.description import describe
from impls.frameworks import LOWERINGS, MODES, Lowering, Mode
from impls.generate import source_text, write_source
from spec import tensors
from spec.load import load, parse
from spec.network import Network
from spec.operators import MaxPool
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

ALL_OPERATORS = (HERE / "all_operators.yaml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tensorflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    with trained("tensorflow", tmp_path_factory.mktemp("tensorflow")) as worker:
        yield worker


def all_operators(form: Form = PAPERS, **stated: str) -> Network:
    return parse(ALL_OPERATORS + recipe(form, **stated), "all_operators")


# --- Gradients -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize(
    ("name", "mode"), [("alexnet_narrow", "compiled"), *(("all_operators", mode) for mode in MODES["tensorflow"])]
)
def test_gradients_of_every_operator_are_the_oracles(
    tensorflow: Trained, name: str, lowering: Lowering, mode: Mode
) -> None:
    network = load(name) if name == "alexnet_narrow" else all_operators(reduction="sum")
    given = weights(network, "scaled", 3)
    case = gradient_case(network, given, 7)
    tensorflow.load(network, given, lowering, mode)
    loss, found = tensorflow.gradients(case.x, case.substitutes, case.cotangents, case.masks, case.labels)
    assert loss == pytest.approx(case.loss, rel=1e-6)
    assert found.keys() == case.expected.keys()
    errors = {name: noise(found[name], value, scale) for name, (value, scale) in case.expected.items()}
    assert {name: error for name, error in errors.items() if error[0] > RMS_CAP or error[1] > MAX_CAP} == {}


@pytest.mark.parametrize("mode", MODES["tensorflow"])
def test_max_pool_passes_everything_to_the_first_of_equal_elements(tensorflow: Trained, mode: Mode) -> None:
    """Windows that overlap, or reach beyond the input, of values that are often equal."""
    network = all_operators()
    given = weights(network, "scaled", 3)
    case = gradient_case(network, given, 7)
    tensorflow.load(network, given, "native", mode)
    pools = {layer.name: layer for layer in network.layers if isinstance(layer.operator, MaxPool)}
    assert pools.keys() == {"pool_a", "pool_f"}
    random = np.random.default_rng(1)
    for name, layer in pools.items():
        (read,) = layer.operator.reads
        equal = random.integers(0, 2, case.substitutes[read].shape).astype(np.float32)
        g = case.cotangents[name]
        substitutes = case.substitutes | {read: equal}
        _, found = tensorflow.gradients(case.x, substitutes, {name: g}, case.masks, case.labels)
        assert isinstance(layer.operator, MaxPool)
        np.testing.assert_allclose(found[read], max_pool(equal, g, layer.operator), rtol=1e-6)


# --- Steps -----------------------------------------------------------------------------------------------------------

RATES = [(0.02, 0.04), (0.02, 0.04), (0.002, 0.04), (0.002, 0.008)]
OF_KERAS = Form("inside_velocity", "decoupled", "weights")
FORMS = [
    *(
        Form(rate, decay, decays)
        for rate, decay, decays in product(
            ("inside_velocity", "outside_velocity"),
            ("inside_momentum", "coupled", "decoupled"),
            ("weights", "weights_and_biases"),
        )
    ),
    Form("inside_velocity", "decoupled", "weights", momentum=0.0),
]


def assert_steps(tensorflow: Trained, network: Network, lowering: Lowering, mode: Mode) -> None:
    """Four steps, over a change of both rates, end where the oracle's do."""
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    assert network.training is not None
    tensorflow.load(network, given, lowering, mode)
    *_, last = steps = list(trajectory(network, given, network.training, fed))
    found = tensorflow.steps(fed)
    assert found.losses == pytest.approx([step.loss for step in steps], rel=1e-6)
    changed = {name: found.parameters[name] for name in last.state.parameters}
    assert relative(changed, last.state.parameters) < 1e-6
    assert relative(found.velocities, last.state.velocities) < 1e-5
    for name in found.parameters.keys() - changed.keys():
        np.testing.assert_array_equal(found.parameters[name], given[name])


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_steps_in_every_form_are_the_oracles(tensorflow: Trained, form: Form) -> None:
    for lowering in LOWERINGS:
        assert_steps(tensorflow, branches(form), lowering, "compiled")


@pytest.mark.parametrize("form", [PAPERS, OF_KERAS], ids=str)
@pytest.mark.parametrize("mode", ["eager", "xla"])
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_steps_in_every_mode_are_the_oracles(tensorflow: Trained, form: Form, mode: Mode, lowering: Lowering) -> None:
    assert_steps(tensorflow, branches(form), lowering, mode)


@pytest.mark.parametrize("lowering", LOWERINGS)
def test_steps_through_every_operator_are_the_oracles(tensorflow: Trained, lowering: Lowering) -> None:
    assert_steps(tensorflow, all_operators(), lowering, "compiled")


def test_the_form_of_keras_is_done_by_keras() -> None:
    expected: list[tuple[Form, Lowering, bool]] = [
        (OF_KERAS, "native", True),
        (OF_KERAS, "fast", False),
        (PAPERS, "native", False),
    ]
    for form, lowering, by_keras in expected:
        assert ("tf.keras.optimizers.SGD" in source_text(branches(form), "tensorflow", lowering)) == by_keras


@pytest.mark.parametrize(("form", "lowering"), [(PAPERS, "fast"), (OF_KERAS, "native")])
def test_training_starts_again_from_what_was_loaded_and_goes_on_from_velocities(
    tensorflow: Trained, form: Form, lowering: Lowering
) -> None:
    network = branches(form)
    given, fed = weights(network, "scaled", 3), batches(network, RATES)
    tensorflow.load(network, given, lowering, "compiled")
    whole, half = tensorflow.steps(fed), tensorflow.steps(fed[:2])
    again = tensorflow.more(fed[2:])
    tensorflow.load(network, half.parameters, lowering, "compiled")
    resumed = tensorflow.steps(fed[2:], half.velocities)
    for other in (again, resumed):
        for kind in ("parameters", "velocities"):
            for name, value in getattr(whole, kind).items():
                np.testing.assert_array_equal(getattr(other, kind)[name], value, err_msg=f"{kind} {name}")


TRACED = """
import sys

import numpy as np

from impls.protocol import Load
from impls.run_tensorflow import TensorflowRunner
from impls.training import Batch

runner = TensorflowRunner()
random = np.random.default_rng(0)
for mode in ("compiled", "xla"):
    runner.load(Load(*sys.argv[1:], "cpu", "float32", mode, "native", 1))
    for _ in range(2):
        runner.start(None)
        for rate in (0.1, 0.01):
            runner.step(Batch(random.random((2, 3, 8, 6), np.float32), random.integers(0, 2, 2), {}, (rate, 0.1)))
    print(runner.train_step.experimental_get_tracing_count())
"""


def test_other_batches_and_rates_and_another_start_trace_nothing_anew(tmp_path: Path) -> None:
    network = branches()
    description, loaded = tmp_path / "network.json", tmp_path / "weights"
    description.write_text(json.dumps(describe(network)), encoding="utf-8")
    tensors.write(loaded, weights(network, "scaled", 0))
    source = write_source(network, "tensorflow", tmp_path)
    assert run_in("tensorflow", TRACED, description, source, loaded) == "1\n1\n"


# --- Dropout, first parameters, predictions, colours -----------------------------------------------------------------


def test_dropout_draws_masks_from_the_seed_and_scales_as_its_convention_says(tensorflow: Trained) -> None:
    network = all_operators()
    given = weights(network, "scaled", 3)
    tensorflow.load(network, given, "native", "compiled")
    x = np.random.default_rng(0).normal(0, 40, (300, *network.input.shape)).astype(np.float32)
    taps = tensorflow.forward(x, None, ["fc", "drop_a", "drop_b"], seed=5)
    kept_a, kept_b = taps["drop_a"] != 0, taps["drop_b"] != 0
    assert np.array_equal(taps["drop_a"], np.where(kept_a, taps["fc"], 0))
    assert np.allclose(taps["drop_b"], np.where(kept_b, taps["drop_a"] / 0.7, 0), rtol=1e-6)
    draws = kept_a.size
    assert abs(kept_a.sum() - 0.7 * draws) < 5 * np.sqrt(0.21 * draws)
    assert abs(kept_b[kept_a].mean() - 0.7) < 5 * np.sqrt(0.21 / kept_a.sum())
    again, other = (tensorflow.forward(x, None, ["drop_a"], seed=seed)["drop_a"] for seed in (5, 6))
    assert np.array_equal(again, taps["drop_a"])
    assert not np.array_equal(other != 0, kept_a)
    evaluated = tensorflow.forward(x, None, ["fc", "drop_a", "drop_b"], training=False)
    assert np.allclose(evaluated["drop_a"], 0.7 * evaluated["fc"], rtol=1e-6)
    assert np.array_equal(evaluated["drop_b"], evaluated["drop_a"])


def test_masks_that_are_not_those_of_the_network_are_refused(tensorflow: Trained) -> None:
    network = all_operators()
    tensorflow.load(network, weights(network, "scaled", 3), "native", "eager")
    masks = drawn_masks(network, 2, 0, 0)
    del masks["drop_b"]
    with pytest.raises(WorkerError, match="masks: expected drop_a, drop_b, found drop_a"):
        tensorflow.forward(np.zeros((2, *network.input.shape), np.float32), masks, ["fc"])


def test_a_source_without_a_recipe_says_so(tensorflow: Trained) -> None:
    network = parse(ALL_OPERATORS, "all_operators")
    tensorflow.load(network, weights(network, "scaled", 3), "native", "eager")
    with pytest.raises(WorkerError, match="the source has no function 'initialise'"):
        tensorflow.initialise(0)


def test_first_parameters_are_drawn_as_the_recipe_says(tensorflow: Trained) -> None:
    network = all_operators()
    tensorflow.load(network, weights(network, "scaled", 3), "native", "compiled")
    drawn, again, other = (tensorflow.initialise(seed) for seed in (1, 1, 2))
    assert {name: value.shape for name, value in drawn.items()} == network.tensor_shapes
    normal = np.concatenate([drawn[name].ravel() for name in drawn if name.endswith(".weight")])
    assert abs(normal.mean() - 0.5) < 5 * 0.25 / np.sqrt(normal.size)
    assert abs(normal.std() / 0.25 - 1) < 5 / np.sqrt(2 * normal.size)
    assert -1 <= drawn["conv2.bias"].min() < drawn["conv2.bias"].max() - 1 < 2
    for kind, constant in {"scale": 1, "shift": 0, "mean": 0, "variance": 1}.items():
        np.testing.assert_array_equal(drawn[f"bn1.{kind}"], np.full(8, constant, np.float32))
    for name, value in drawn.items():
        np.testing.assert_array_equal(again[name], value)
    assert not np.array_equal(other["fc.weight"], drawn["fc.weight"])


@pytest.mark.parametrize("views", get_args(Views))
@pytest.mark.parametrize("average", get_args(Average))
@pytest.mark.parametrize("ends_in_softmax", [True, False])
def test_predictions_are_the_oracles(
    tensorflow: Trained, views: Views, average: Average, ends_in_softmax: bool
) -> None:
    """Margins that are odd, one of them the other's neighbour; more images than views."""
    network = branches(views=views, average=average)
    if not ends_in_softmax:
        network = network.with_graph(network.graph[:-1])
    given = weights(network, "scaled", 3)
    tensorflow.load(network, given, "native", "compiled")
    height, width = network.input.shape[1:]
    images = np.random.default_rng(4).normal(0, 2, (3, 3, height + 5, width + 2)).astype(np.float32)
    seen = crops(images.astype(np.float64), (height, width), views)
    logits = np.stack([train_forward(network, given, view, {})[logits_tap(network)] for view in seen])
    np.testing.assert_allclose(tensorflow.predict(images), averaged(logits, average), atol=1e-6)


@pytest.mark.parametrize("scale_by", ["eigenvalue", "root_of_eigenvalue"])
@pytest.mark.parametrize("rescale", ["none", "one_plus_std"])
def test_colours_are_the_oracles(tensorflow: Trained, scale_by: str, rescale: str) -> None:
    network = branches(scale_by=scale_by, rescale=rescale)
    assert network.preprocessing is not None
    stated = network.preprocessing.augmentation.pca_colour
    assert stated is not None
    tensorflow.load(network, weights(network, "scaled", 3), "native", "compiled")
    random = np.random.default_rng(6)
    images = random.normal(0, 60, (4, 3, 5, 7)).astype(np.float32)
    axes, draws = colour_axes(images), random.normal(0, stated.std, (4, 3))
    found = tensorflow.colour(images=images, eigenvalues=axes.eigenvalues, eigenvectors=axes.eigenvectors, draws=draws)
    np.testing.assert_allclose(found, coloured(images.astype(np.float64), axes, draws, stated), rtol=1e-5, atol=1e-3)
