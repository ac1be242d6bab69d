"""The part of dropout: right conventions pass, wrong scaling and masks that are not random do not."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.backpropagation import train_layer
from conformance.dropout import drawn_masks
from conformance.measure import Array
from conformance.oracle import evaluate
from conformance.part_dropout import Answer, DropoutPart, Expected
from conformance.power.wrong_runner import NumpyRunner
from conformance.results import Outcome
from spec.network import Network
from spec.operators import Dropout
from tests.conformance.stand_in import asked, given, judged
from tests.conformance.synthetic import narrow
from tests.spec.networks import small

PART = DropoutPart()
Tensors = dict[str, Array]


def network_with(**changes: object) -> Network:
    return narrow().with_operator("drop6", **changes)


def right(network: Network, expected: Expected) -> Answer:
    """What float32 gives, with masks that NumPy draws."""
    layers = [layer for layer in network.layers if isinstance(layer.operator, Dropout)]
    images = len(next(iter(expected.read.values())))

    def trained(masks: Mapping[str, Array]) -> Tensors:
        return {layer.name: train_layer(layer, (expected.read[layer.name],), {}, masks[layer.name]) for layer in layers}

    return Answer(
        drawn=trained(drawn_masks(network, images, 5, 0)),
        drawn_again=trained(drawn_masks(network, images, 6, 0)),
        told=trained(expected.masks),
        all_kept=trained({name: np.ones_like(mask) for name, mask in expected.masks.items()}),
        evaluated={layer.name: evaluate(layer, (expected.read[layer.name],), {}) for layer in layers},
    )


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    return PART.expected(given(), tmp_path_factory.mktemp("dropout"))


def messages(expected: Expected, answer: Answer, network: Network | None = None) -> dict[str, str]:
    results = judged(PART, given(network or narrow()), expected, answer)
    assert set(results) == {"drop6", "drop7"}
    return {name: result.message for name, result in results.items() if result.outcome is not Outcome.PASSED}


# --- What is right ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"convention": "inverted"},
        {"drop_probability": 0.3},
        {"convention": "inverted", "drop_probability": 0.3},
        {"drop_probability": 0.0},
    ],
)
def test_both_conventions_pass(changes: dict[str, object], tmp_path: Path) -> None:
    network = network_with(**changes)
    expected = PART.expected(given(network), tmp_path)
    assert messages(expected, right(network, expected), network) == {}


def test_every_dropout_reads_enough_elements_of_which_none_is_zero(expected: Expected) -> None:
    for values in expected.read.values():
        assert values.size >= 4096
        assert np.abs(values).min() >= 0.5
        assert (values < 0).mean() == pytest.approx(0.5, abs=0.05)


def test_a_network_without_dropout_has_nothing_to_ask() -> None:
    network = small().model_copy(update={"training": narrow().training})
    assert PART.skipped(given(network, "scaled")) == "the network has no dropout"
    assert PART.skipped(given()) == ""


def test_the_numpy_runner_passes(expected: Expected, tmp_path: Path) -> None:
    assert messages(expected, asked(PART, given(), expected, NumpyRunner(""), tmp_path)) == {}


# --- What is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "when"),
    [("dropout_inverted_while_training", "told which elements to keep"), ("dropout_while_evaluating", "evaluation")],
)
def test_planted_faults_are_caught_at_their_dropout(fault: str, when: str, expected: Expected, tmp_path: Path) -> None:
    (message,) = messages(expected, asked(PART, given(), expected, NumpyRunner(fault), tmp_path)).values()
    assert message.startswith(f"{when}: at [")
    assert message.endswith(" ULP, cap 0 (conformance/caps.toml, rule dropout)")


def test_one_kept_element_that_is_off_by_one_ulp_is_caught(expected: Expected) -> None:
    answer = right(narrow(), expected)
    told = answer.told["drop7"].copy()
    index = tuple(np.argwhere(told != 0)[3])
    told[index] = np.nextafter(told[index], np.float32(9))
    (message,) = messages(expected, replace(answer, told={**answer.told, "drop7": told})).values()
    assert message.startswith(f"told which elements to keep: at [{index[0]}, {index[1]}] actual ")


def test_an_element_that_is_kept_though_it_is_not_to_be_is_caught(expected: Expected) -> None:
    answer = right(narrow(), expected)
    (message, _) = messages(expected, replace(answer, told=answer.all_kept)).values()
    assert message.startswith("told which elements to keep: at [")
    assert "expected 0: " in message


@pytest.mark.parametrize("rate", [0.45, 0.55, 1.0])
def test_another_rate_is_caught(expected: Expected, rate: float) -> None:
    answer = right(narrow(), expected)
    x = expected.read["drop6"]
    drawn = x * (np.random.default_rng(0).random(x.shape) < rate)
    (message,) = messages(expected, replace(answer, drawn={**answer.drawn, "drop6": drawn})).values()
    assert message.startswith("expected to keep 0.5 of the elements, found ")
    assert message.endswith("(conformance/caps.toml, random)")


def test_the_same_mask_from_two_seeds_is_caught(expected: Expected) -> None:
    answer = right(narrow(), expected)
    found = messages(expected, replace(answer, drawn_again=answer.drawn))
    assert found == dict.fromkeys(("drop6", "drop7"), "expected another mask from another seed, found the same")


def test_one_mask_for_all_images_is_caught(expected: Expected) -> None:
    answer = right(narrow(), expected)
    x = expected.read["drop6"]
    one = np.arange(x.shape[1]) % 2 == 0
    found = messages(expected, replace(answer, drawn={**answer.drawn, "drop6": x * one}))
    assert found == {"drop6": "expected a mask for each image, found one for all"}


def test_two_dropouts_of_one_mask_are_caught(tmp_path: Path) -> None:
    network = narrow().with_operator("fc7", out_features=40).with_operator("fc8", in_features=40)
    expected = PART.expected(given(network, "scaled"), tmp_path)
    answer = right(network, expected)
    kept = answer.drawn["drop6"] != 0
    drawn = {**answer.drawn, "drop7": expected.read["drop7"] * kept}
    assert messages(expected, replace(answer, drawn=drawn), network) == {
        "drop7": "expected a mask of its own, found that of drop6"
    }


def test_missing_and_misshapen_taps_fail_by_name(expected: Expected) -> None:
    answer = right(narrow(), expected)
    evaluated = {"drop7": answer.evaluated["drop7"].T}
    assert messages(expected, replace(answer, evaluated=evaluated)) == {
        "drop6": "evaluation: expected a tap, found none",
        "drop7": "evaluation: expected float32 of shape [114, 36], found float32 of shape [36, 114]",
    }
