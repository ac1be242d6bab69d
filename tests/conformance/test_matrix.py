"""The matrix: a cell shows the worst of its variant's results at a tap, and hides none."""

from itertools import permutations
from math import inf
from typing import Any

import pytest

from conformance.matrix import SEVERITY, cell, columns, variant_of
from conformance.results import Check, Outcome
from tests.conformance.synthetic import result, variant

TORCH = "torch cpu float32 eager native"


def row(tap: str = "conv1", outcome: Outcome = Outcome.PASSED, **changes: Any) -> dict[str, Any]:
    return result(tap, outcome, **changes).fields()


def test_columns_are_the_variants_in_the_order_of_the_run() -> None:
    rows = [row(), row(variant=variant("jax")), row("conv2"), row(variant=variant("jax", "tf32"))]
    assert columns(rows) == [TORCH, "jax cpu float32 eager native", "jax cpu tf32 eager native"]
    assert variant_of(rows[0]) == TORCH


def test_a_cell_shows_the_fewest_bits_by_itself_and_end_to_end() -> None:
    rows = [
        row(effective_bits=24.26),
        row(effective_bits=23.94),
        row(check=Check.END_TO_END, effective_bits=21.04),
        row(check=Check.END_TO_END, effective_bits=20.0),
        row("conv2", effective_bits=3.0),
        row(variant=variant("jax"), effective_bits=2.0),
    ]
    found = cell(rows, TORCH, "conv1")
    assert found is not None
    assert (found.outcome, found.text) == ("passed", "23.9 / 20.0")


def test_a_cell_is_exact_only_if_every_bit_of_every_case_is_right() -> None:
    exact = row("relu1", effective_bits=inf, worst=0.0)
    for others, text in (
        ([], "exact / –"),
        ([row("relu1", effective_bits=20.0, worst=1e-3)], "20.0 / –"),
        ([row("relu1", Outcome.FAILED)], "– / –"),
        ([row("relu1", effective_bits=inf, worst=0.0, check=Check.END_TO_END)], "exact / exact"),
    ):
        found = cell([exact, *others], TORCH, "relu1")
        assert found is not None
        assert found.text == text


@pytest.mark.parametrize("check", [Check.LOCAL, Check.END_TO_END, Check.UNTAPPED])
def test_a_cell_has_the_gravest_outcome_of_all_checks_and_cases(check: Check) -> None:
    gravest_first = [Outcome.FAILED, Outcome.ERRORED, Outcome.XFAILED, Outcome.SKIPPED, Outcome.PASSED]
    for one, other in permutations(gravest_first, 2):
        found = cell([row(outcome=one, check=check), row(outcome=other)], TORCH, "conv1")
        assert found is not None
        assert found.outcome == min(one, other, key=gravest_first.index)


def test_every_outcome_has_a_place_in_the_order_of_gravity() -> None:
    assert set(SEVERITY) == set(Outcome)


def test_a_variant_without_results_at_a_tap_has_no_cell() -> None:
    assert cell([row("conv2")], TORCH, "conv1") is None
    assert cell([], TORCH, "conv1") is None
