"""The matrices of a run: taps × variants of the forward lane, operators × variants of gradients, and what else trains.

Each cell shows the worst case, and its outcome.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spec.network import Network

#: From what must be seen first to what needs no look.
SEVERITY = ("failed", "errored", "xfailed", "skipped", "passed")

FORWARD = ("local", "end_to_end", "untapped")
GRADIENTS = ("gradient_input", "gradient_parameter")
LOSS = ("loss", "loss_gradient")
PRECISION = "precision"
"""The check that is about no tap, but all of the forward lane."""
INVARIANTS = ("repeated", "permuted_batch", "single_images", "modes", "scaled_input")
LANES = ("training", "run")
"""Checks that are about no tap: whether something could be run at all."""

#: Checks that a sentence names otherwise than a report does.
WORDS = {"gradient_input": "gradient of the input", "gradient_parameter": "gradient"}

#: Who shows its output alone is skipped at all taps end to end, but for that output.
INSTEAD = {"end_to_end": "untapped"}


@dataclass(frozen=True)
class Cell:
    """One row of one variant, over all cases."""

    outcome: str
    text: str
    """Bits, such as `23.9 / 20.1`; `exact` where every bit is right."""


@dataclass(frozen=True)
class Row:
    """What the cells of a row have in common."""

    tap: str
    of: str
    """The tap's operator, or the check."""
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Matrix:
    """One table: of the variants that have results in it."""

    lane: str
    """`forward`, `training` or `invariants`."""
    what: str
    """What the figures are."""
    of: str
    """What the second column holds."""
    variants: tuple[str, ...]
    rows: tuple[Row, ...]


def matrices(results: Sequence[Mapping[str, Any]], network: Network) -> list[Matrix]:
    """The matrices that a report has anything to show in."""
    found = [_forward(results, network), _gradients(results, network), _rest(results), _invariants(results)]
    return [matrix for matrix in found if matrix.variants]


def columns(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """The variants in the order of the run."""
    return list(dict.fromkeys(variant_of(result) for result in results))


def variant_of(result: Mapping[str, Any]) -> str:
    """The variant of a result, in one line."""
    return " ".join(str(result[key]) for key in ("framework", "device", "dtype", "mode", "lowering"))


def words(check: str) -> str:
    """A check as a sentence names it."""
    return WORDS.get(check, check.replace("_", " "))


def cell(results: Iterable[Mapping[str, Any]], checks: Sequence[str], figures: Sequence[str]) -> Cell | None:
    """The worst of the results of some checks, or nothing where there is none; the bits of those that are `figures`."""
    own = [result for result in results if result["check"] in checks]
    if not own:
        return None
    shown = [_worst(own, check) for check in figures]
    return Cell(min((result["outcome"] for result in own), key=SEVERITY.index), " / ".join(shown))


def notes(results: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """What a lane, or a part of one, was skipped for: framework and reason, each once."""
    skipped = [result for result in results if result["check"] == "training" and result["outcome"] == "skipped"]
    return list(
        dict.fromkeys(
            (result["framework"], f"{result['tap'] or 'training'}: {result['message']}") for result in skipped
        )
    )


def _forward(results: Sequence[Mapping[str, Any]], network: Network) -> Matrix:
    own = [result for result in results if result["check"] in (*FORWARD, "run")]
    variants = columns(own)
    at = _by_place(own)
    rows = [
        Row(
            layer.name,
            layer.operator.op,
            tuple(cell(at.get((variant, layer.name), ()), FORWARD, FORWARD[:2]) for variant in variants),
        )
        for layer in network.layers
    ]
    what = "effective bits, each operator by itself / end to end, worst case"
    return Matrix("forward", what, "operator", tuple(variants), tuple(rows))


def _gradients(results: Sequence[Mapping[str, Any]], network: Network) -> Matrix:
    own = [result for result in results if result["check"] in (*GRADIENTS, *LOSS)]
    variants = columns(own)
    at = _by_place(own)
    rows = []
    for layer in network.layers:
        figures = GRADIENTS if layer.parameter_shapes else GRADIENTS[:1]
        cells = [cell(at.get((variant, layer.name), ()), GRADIENTS, figures) for variant in variants]
        rows.append(Row(layer.name, layer.operator.op, tuple(cells)))
    of_loss = [cell([each for each in own if variant_of(each) == variant], LOSS, LOSS) for variant in variants]
    rows.append(Row("loss", "value / gradient", tuple(of_loss)))
    what = "effective bits of gradients, each operator by itself: its input's / its parameters', worst case"
    return Matrix("training", what, "operator", tuple(variants), tuple(rows))


def _rest(results: Sequence[Mapping[str, Any]]) -> Matrix:
    known = (*FORWARD, *GRADIENTS, *LOSS, *LANES, PRECISION, *INVARIANTS)
    own = [result for result in results if result["check"] not in known]
    return _by_check("training", "effective bits of the rest of training, worst case", own)


def _invariants(results: Sequence[Mapping[str, Any]]) -> Matrix:
    own = [result for result in results if result["check"] in INVARIANTS]
    return _by_check("invariants", "effective bits in which each variant agrees with itself, worst case", own)


def _by_check(lane: str, what: str, own: Sequence[Mapping[str, Any]]) -> Matrix:
    """A row for each tap and check."""
    variants = columns(own)
    places = dict.fromkeys((result["tap"], result["check"]) for result in own)
    rows = [
        Row(tap, words(check), tuple(_plain(own, variant, tap, check) for variant in variants)) for tap, check in places
    ]
    return Matrix(lane, what, "check", tuple(variants), tuple(rows))


def _plain(results: Iterable[Mapping[str, Any]], variant: str, tap: str, check: str) -> Cell | None:
    """A cell that shows its outcome where there are no bits to show."""
    found = cell([each for each in results if each["tap"] == tap and variant_of(each) == variant], (check,), (check,))
    return Cell(found.outcome, found.outcome) if found is not None and found.text == "–" else found


def _by_place(results: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Results by variant and operator; those of a parameter are its operator's."""
    places: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for result in results:
        places.setdefault((variant_of(result), result["tap"].partition(".")[0]), []).append(result)
    return places


def _worst(results: Sequence[Mapping[str, Any]], check: str) -> str:
    """The fewest bits among the results of a check; a result without bits is exact if its worst error is 0."""
    own = [result for result in results if result["check"] == check]
    bits = [result["effective_bits"] for result in own if result["effective_bits"] is not None]
    if bits:
        return f"{min(bits):.1f}"
    if check in INSTEAD and all(result["outcome"] == "skipped" for result in own):
        return _worst(results, INSTEAD[check])
    return "exact" if own and all(result["worst"] == 0 for result in own) else "–"
