"""The matrix: a cell shows the worst of its variant's results at a tap, and hides none."""

from itertools import permutations
from math import inf
from typing import Any

import pytest

from conformance.matrix import SEVERITY, Cell, Matrix, columns, matrices, notes, variant_of, words
from conformance.results import Check, Outcome
from tests.conformance.synthetic import narrow, result, variant

TORCH = "torch cpu float32 eager native"


def row(tap: str = "conv1", outcome: Outcome = Outcome.PASSED, **changes: Any) -> dict[str, Any]:
    return result(tap, outcome, **changes).fields()


def cell(rows: list[dict[str, Any]], variant: str, tap: str, index: int = 0) -> Cell | None:
    """A cell of one of the matrices."""
    matrix = matrices(rows, narrow())[index]
    (found,) = [own for own in matrix.rows if own.tap == tap]
    return found.cells[matrix.variants.index(variant)]


def test_columns_are_the_variants_in_the_order_of_the_run() -> None:
    rows = [row(), row(variant=variant("jax")), row("conv2"), row(variant=variant("jax", "tf32"))]
    assert columns(rows) == [TORCH, "jax cpu float32 eager native", "jax cpu tf32 eager native"]
    assert variant_of(rows[0]) == TORCH


def test_who_shows_the_output_alone_has_its_bits_there() -> None:
    rows = [
        row("fc8", Outcome.SKIPPED),
        row("fc8", Outcome.SKIPPED, check=Check.END_TO_END),
        row("fc8", check=Check.UNTAPPED, effective_bits=21.5),
    ]
    assert cell(rows, TORCH, "fc8") == Cell("skipped", "– / 21.5")


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
    assert found == Cell("passed", "23.9 / 20.0")


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
    assert matrices([], narrow()) == []


# --- Training ---------------------------------------------------------------------------------------------------------


def training(tap: str, check: Check, bits: float | None = None, **changes: Any) -> dict[str, Any]:
    return row(tap, check=check, effective_bits=bits, **changes)


def rows_of(matrix: Matrix) -> dict[str, tuple[str, list[str]]]:
    return {own.tap: (own.of, [each.text if each else "" for each in own.cells]) for own in matrix.rows}


def test_gradients_have_a_matrix_of_their_own_with_the_worst_parameter_and_the_loss() -> None:
    rows = [
        training("conv1", Check.GRADIENT_INPUT, 23.0),
        training("conv1.weight", Check.GRADIENT_PARAMETER, 21.5),
        training("conv1.bias", Check.GRADIENT_PARAMETER, 19.25),
        training("relu1", Check.GRADIENT_INPUT, inf, worst=0.0),
        training("fc8", Check.LOSS, 24.0),
        training("fc8", Check.LOSS_GRADIENT, 25.0),
    ]
    (matrix,) = matrices(rows, narrow())
    found = rows_of(matrix)
    assert (matrix.lane, matrix.variants) == ("training", (TORCH,))
    assert list(found) == [*(layer.name for layer in narrow().layers), "loss"]
    assert found["conv1"] == ("conv", ["23.0 / 19.2"])
    assert found["relu1"] == ("relu", ["exact"])
    assert found["fc8"] == ("dense", [""])
    assert found["loss"] == ("value / gradient", ["24.0 / 25.0"])


def test_a_gradient_that_failed_marks_no_cell_of_the_forward_lane() -> None:
    rows = [row("conv2"), training("conv2.bias", Check.GRADIENT_PARAMETER, outcome=Outcome.FAILED)]
    first, second = cell(rows, TORCH, "conv2"), cell(rows, TORCH, "conv2", 1)
    assert first is not None and second is not None
    assert (first.outcome, second.outcome) == ("passed", "failed")


def test_what_else_trains_has_one_row_a_tap_and_check() -> None:
    rows = [
        training("conv1.weight", Check.TRAJECTORY, 22.0),
        training("conv1.weight", Check.INITIALISER),
        training("conv1.weight", Check.TRAJECTORY, 20.0),
        training("conv1.weight", Check.TRAJECTORY, 21.0, variant=variant("jax")),
    ]
    (matrix,) = matrices(rows, narrow())
    assert [(own.tap, own.of, [each and each.text for each in own.cells]) for own in matrix.rows] == [
        ("conv1.weight", "trajectory", ["20.0", "21.0"]),
        ("conv1.weight", "initialiser", ["passed", None]),
    ]


def test_a_lane_that_was_skipped_is_a_note_and_no_column() -> None:
    reason = "the runner does not train"
    skipped = [
        training("", Check.TRAINING, outcome=Outcome.SKIPPED, message=reason, variant=variant("onnx"), case=case)
        for case in ("a", "b")
    ]
    rows = [training("conv1", Check.GRADIENT_INPUT, 23.0), *skipped]
    (matrix,) = matrices(rows, narrow())
    assert matrix.variants == (TORCH,)
    assert notes(rows) == [("onnx", f"training: {reason}")]


def test_a_check_is_named_as_a_sentence_does() -> None:
    assert [words(str(check)) for check in (Check.LOCAL, Check.GRADIENT_INPUT, Check.LOSS_GRADIENT)] == [
        "local", "gradient of the input", "loss gradient",
    ]  # fmt: skip
