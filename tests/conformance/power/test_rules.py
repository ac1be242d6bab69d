"""The other rules, on traces that are made up."""

import numpy as np
import pytest

from conformance.power.rules import RULES, rejections

EXPECTED = {"conv1": np.array([[1.0, -200.0], [3.0, 4e-3]]), "fc": np.array([[10.0, 20.0]])}


def rejected(**taps: object) -> dict[str, dict[str, bool]]:
    return rejections({**EXPECTED, **{name: np.asarray(value) for name, value in taps.items()}}, EXPECTED, "fc")


def test_what_is_right_is_rejected_by_no_rule() -> None:
    assert not any(flag for flags in rejected().values() for flag in flags.values())
    single = {name: value.astype(np.float32) for name, value in EXPECTED.items()}
    assert not any(flag for flags in rejections(single, EXPECTED, "fc").values() for flag in flags.values())


@pytest.mark.parametrize(("off", "rules"), [(5e-2, 3), (5e-3, 2), (5e-4, 1), (5e-5, 0)])
def test_allclose_rejects_what_is_off_by_more_than_its_tolerance(off: float, rules: int) -> None:
    found = rejected(fc=EXPECTED["fc"] + off)
    assert sum(found[rule]["output"] for rule in RULES if rule.startswith("allclose")) == rules
    assert not found["cosine 0.99"]["output"]


def test_cosine_sees_the_direction_alone() -> None:
    assert not rejected(fc=EXPECTED["fc"] * 2)["cosine 0.99"]["output"]
    assert rejected(fc=-EXPECTED["fc"])["cosine 0.99"]["output"]


def test_a_wrong_tap_shows_by_taps_and_not_by_the_output() -> None:
    found = rejected(conv1=EXPECTED["conv1"] + 1.0)["allclose 1e-4"]
    assert found == {"output": False, "taps": True}


@pytest.mark.parametrize("wrong", [np.zeros((2, 1)), np.full((1, 2), np.nan)])
def test_another_shape_and_nan_are_rejected_by_every_rule(wrong: object) -> None:
    assert all(flags["output"] and flags["taps"] for flags in rejected(fc=wrong).values())


def test_a_missing_tap_is_rejected_by_every_rule() -> None:
    found = rejections({"fc": EXPECTED["fc"]}, EXPECTED, "fc")
    assert all(flags == {"output": False, "taps": True} for flags in found.values())
