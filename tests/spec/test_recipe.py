"""The recipe: what a spec may say of training, and the one line that a wrong one ends in."""

import pytest

from spec.exits import InputError
from spec.load import load, parse, shipped
from spec.recipe import Plateau, Steps
from tests.spec.networks import line_of


def error_of(name: str, old: str, new: str, line: str | None = None) -> str:
    """What the shipped spec `name` ends in with `old`, which is there once, replaced; checks the line."""
    text = shipped()[name].read_text()
    assert text.count(old) == 1
    text = text.replace(old, new)
    with pytest.raises(InputError) as caught:
        parse(text, "net.yaml")
    message = str(caught.value)
    assert "\n" not in message
    place = f"net.yaml:{line_of(text, line or new)}: "
    assert message.startswith(place)
    return message.removeprefix(place)


@pytest.mark.parametrize(
    ("momentum", "message"),
    [
        ("1.0", "training.optimizer.momentum: expected less than 1, found 1.0"),
        ("-0.1", "training.optimizer.momentum: expected at least 0, found -0.1"),
        (".nan", "training.optimizer.momentum: expected a finite number, found nan"),
    ],
)
def test_momentum_lies_in_0_to_1(momentum: str, message: str) -> None:
    assert error_of("caffenet", "momentum: 0.9", f"momentum: {momentum}") == message


@pytest.mark.parametrize(
    ("drop_probability", "message"),
    [
        ("1.0", "layer 'drop6': drop_probability: expected less than 1, found 1.0"),
        ("-0.5", "layer 'drop6': drop_probability: expected at least 0, found -0.5"),
    ],
)
def test_keep_probability_lies_above_0_and_up_to_1(drop_probability: str, message: str) -> None:
    old = "- name: drop6\n    op: dropout\n    drop_probability: "
    assert (
        error_of("caffenet", f"{old}0.5", f"{old}{drop_probability}", f"drop_probability: {drop_probability}")
        == message
    )


@pytest.mark.parametrize(
    ("epochs", "message"),
    [
        ("[20, 40, 90]", "schedule: expected steps before epoch 90, found 90, which never comes"),
        ("[20, 95, 99]", "schedule: expected steps before epoch 90, found 95, which never comes"),
        ("[40, 20]", "schedule: expected rising epochs, found [40, 20]"),
        ("[20, 20]", "schedule: expected rising epochs, found [20, 20]"),
        ("[]", "training.schedule.epochs: expected at least 1 items, found a list of 0"),
    ],
)
def test_steps_that_never_fire_are_rejected(epochs: str, message: str) -> None:
    assert error_of("caffenet", "epochs: [20, 40, 60, 80]", f"epochs: {epochs}") == message


def test_a_step_at_the_start_of_the_last_epoch_fires() -> None:
    text = shipped()["caffenet"].read_text().replace("epochs: [20, 40, 60, 80]", "epochs: [89]")
    training = parse(text, "net.yaml").training
    assert training is not None
    assert training.schedule == Steps(kind="steps", rate=0.01, factor=0.1, epochs=(89,))


@pytest.mark.parametrize(("patience", "last"), [(30, 91), (90, 271)])
def test_plateau_whose_drops_do_not_all_fit_is_rejected(patience: int, last: int) -> None:
    message = error_of("alexnet", "patience: 5", f"patience: {patience}")
    assert message == (
        f"schedule: expected patience and drops that fit 90 epochs, found 3 drops after {patience} epochs each, "
        f"the last of which can come at epoch {last} at the earliest, and so never comes"
    )


def test_plateau_whose_last_drop_can_come_at_the_last_epoch_is_accepted() -> None:
    text = shipped()["alexnet"].read_text().replace("patience: 5", "patience: 29").replace("epochs: 90", "epochs: 89")
    training = parse(text, "net.yaml").training
    assert training is not None
    assert training.schedule == Plateau(kind="plateau", rate=0.01, factor=0.1, drops=3, patience=29)
    with pytest.raises(InputError, match="so never comes"):
        parse(text.replace("epochs: 89", "epochs: 88"), "net.yaml")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("decay: inside_momentum", "decay: inside", "'inside_momentum', 'coupled' or 'decoupled', found 'inside'"),
        ("rate: inside_velocity", "rate: inside", "'inside_velocity' or 'outside_velocity', found 'inside'"),
        ("reduction: mean", "reduction: none", "'mean' or 'sum', found 'none'"),
        ("weight_decay: 0.0005", "weight_decay: -0.0005", "expected at least 0, found -0.0005"),
        ("bias_rate_factor: 2.0", "bias_rate_factor: 0.0", "expected more than 0, found 0.0"),
        ("centre_crop: 256", "centre_crop: 257", "centre_crop: expected at most shorter_side=256, found 257"),
        ("value_range: [0.0, 255.0]", "value_range: [1.0, 1.0]", "expected low below high, found [1.0, 1.0]"),
    ],
)
def test_recipe_that_cannot_be_is_rejected_at_its_line(old: str, new: str, message: str) -> None:
    assert error_of("caffenet", old, new).endswith(message)


@pytest.mark.parametrize(
    "key",
    [
        "momentum: 0.9",
        "rate: inside_velocity",
        "decay: inside_momentum",
        "decays: weights",
        "bias_rate_factor: 2.0",
        "bias_schedule: of_weights",
    ],
)
def test_nothing_of_the_update_has_a_default(key: str) -> None:
    name = key.partition(":")[0]
    message = error_of("caffenet", f"    {key}\n", "", "optimizer:")
    assert message == f"missing key {name!r}; state it"


# --- What the paper, and what the code of 2012 did --------------------------------------------------------------------


def test_recipe_of_the_paper() -> None:
    network = load("alexnet")
    preprocessing, training, evaluation = network.preprocessing, network.training, network.evaluation
    assert preprocessing is not None and training is not None and evaluation is not None
    assert preprocessing.model_dump() == {
        "shorter_side": 256,
        "centre_crop": 256,
        "value_range": (0.0, 255.0),
        "mean": {"kind": "per_pixel", "rgb": (123.68, 116.78, 103.94)},
        "augmentation": {
            "crop": "random",
            "horizontal_flip": True,
            "pca_colour": {"std": 0.1, "scale_by": "eigenvalue", "rescale": "none"},
        },
    }
    assert training.optimizer.model_dump() == {
        "kind": "sgd",
        "momentum": 0.9,
        "rate": "inside_velocity",
        "weight_decay": 0.0005,
        "decay": "inside_momentum",
        "decays": "weights",
        "bias_rate_factor": 1.0,
        "bias_schedule": "of_weights",
    }
    assert (training.loss.reduction, training.batch, training.epochs) == ("mean", 128, 90)
    assert (training.schedule.kind, training.schedule.rate, training.schedule.factor) == ("plateau", 0.01, 0.1)
    ones = {name for name, start in training.initialisers.overrides.items() if start.model_dump()["value"] == 1.0}
    assert ones == {"conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"}
    assert (evaluation.views, evaluation.average) == ("ten_crop", "probabilities")


def test_recipe_of_the_code_differs_from_the_papers_where_the_code_does() -> None:
    def recipe(name: str) -> dict[str, object]:
        network = load(name)
        assert network.preprocessing is not None and network.training is not None and network.evaluation is not None
        return _flat(
            {
                "preprocessing": network.preprocessing.model_dump(),
                "training": network.training.model_dump(),
                "views": network.evaluation.views,
                "average": network.evaluation.average,
            }
        )

    paper, code = recipe("alexnet"), recipe("alexnet_code2012")
    sigma = "training.initialisers.overrides.{}.weight.std"
    differing = {key: code.get(key) for key in paper.keys() | code.keys() if paper.get(key) != code.get(key)}
    kinds = [key for key in differing if key.endswith((".weight.kind", ".weight.mean"))]
    assert {key: value for key, value in differing.items() if key not in kinds} == {
        "preprocessing.augmentation.pca_colour.scale_by": "root_of_eigenvalue",
        "preprocessing.augmentation.pca_colour.rescale": "one_plus_std",
        "training.optimizer.bias_rate_factor": 2.0,
        "training.optimizer.bias_schedule": "constant",
        "training.schedule.kind": "steps",
        "training.schedule.epochs": (25, 51, 79),
        "training.schedule.drops": None,
        "training.schedule.patience": None,
        sigma.format("conv3"): 0.03,
        sigma.format("conv4"): 0.03,
        sigma.format("conv5"): 0.03,
    }


def _flat(part: dict[str, object], place: str = "") -> dict[str, object]:
    """Every value by its path."""
    values: dict[str, object] = {}
    for key, value in part.items():
        path = f"{place}.{key}" if place else key
        values |= _flat(value, path) if isinstance(value, dict) else {path: value}
    return values
