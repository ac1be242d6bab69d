"""Findings: how pairs compare, and what the table says of them."""

from math import inf

import pytest

from conformance.claims.report import spread, verdict
from conformance.claims.study import Finding


def finding(papers: tuple[float, ...], others: tuple[float, ...]) -> Finding:
    return Finding("X lowers the error", "§1", "error, %", "with X", "without X", papers, others)


@pytest.mark.parametrize(
    ("papers", "others", "says"),
    [
        ((1.0, 2.0, 3.0), (2.0, 3.0, 4.0), "agrees"),
        ((2.0, 3.0, 4.0), (1.0, 2.0, 3.0), "disagrees"),
        ((1.0, 2.0, 3.0), (2.0, 3.0, 2.0), "undecided"),
        ((1.0, 2.0, 3.0), (2.0, 3.0, 3.0), "undecided"),
        ((1.0, 1.0, 1.0), (1.0, 1.0, 1.0), "undecided"),
        ((1.0, 2.0, 3.0), (inf, inf, inf), "agrees"),
        ((inf, inf, inf), (inf, inf, inf), "undecided"),
    ],
)
def test_a_claim_agrees_or_disagrees_only_if_every_seed_does(
    papers: tuple[float, ...], others: tuple[float, ...], says: str
) -> None:
    assert verdict(finding(papers, others)) == says


def test_differences_are_of_pairs_and_not_of_medians() -> None:
    found = finding((1.0, 10.0, 5.0), (2.0, 12.0, 4.0))
    assert found.differences == (-1.0, -2.0, 1.0)
    assert (found.agreeing, found.opposing) == (2, 1)


@pytest.mark.parametrize(
    ("values", "sign", "text"),
    [
        ((3.0, 1.0, 2.0), "", "2 (1 to 3)"),
        ((0.5, -0.25, 1.0), "+", "+0.5 (-0.25 to +1)"),
        ((5.0, inf, inf), "", "never (5 to never)"),
        ((-inf, -inf, 3.0), "+", "−never (−never to +3)"),
    ],
)
def test_a_spread_is_median_least_and_greatest(values: tuple[float, ...], sign: str, text: str) -> None:
    assert spread(values, sign) == text
