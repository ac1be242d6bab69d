"""A diagnosis as every report says it."""

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.diagnosis.words import sentences
from conformance.report import Report
from conformance.results import Check, Explanation, Outcome, Result, Script
from conformance.terminal import show
from tests.conformance.synthetic import column, narrow, result

MEAN = Explanation(
    "alpha_convention: mean", 5.1e5, 3.2, "noise units", "In torch, LocalResponseNorm divides alpha by size."
)
SAID = (
    "norm1: explained by alpha_convention: mean (noise 5.1e5 → 3.2). In torch, LocalResponseNorm divides alpha by size."
)
FAILED = replace(result("norm1", Outcome.FAILED, message="at [0] …"), tried=40)


def test_the_best_explanation_is_said_first_and_the_report_has_all() -> None:
    others = [Explanation(f"n: {n}", float("inf"), 0.25, "ULP") for n in (3, 7, 9)]
    fields = replace(FAILED, explanations=(MEAN, *others)).fields()
    assert sentences(fields) == [
        SAID,
        "norm1: or by n: 3 (noise ∞ → 0.25 ULP).",
        "norm1: or by n: 7 (noise ∞ → 0.25 ULP).",
    ]
    assert [each["change"] for each in fields["explanations"]] == ["alpha_convention: mean", "n: 3", "n: 7", "n: 9"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(FAILED, tried=None), []),
        (
            replace(FAILED, tried=None, check=Check.PERMUTED_BATCH),
            ["norm1: not diagnosed: the variant disagrees with itself, and not with what should be"],
        ),
        (FAILED, ["norm1: none of 40 changes explains it"]),
        (
            replace(FAILED, reproduction=Script("torch_norm1.py", "")),
            ["norm1: none of 40 changes explains it; reproductions/torch_norm1.py shows the difference"],
        ),
    ],
    ids=["nobody looked", "an invariant", "nothing explains it", "a script shows it"],
)
def test_where_nothing_explains_it_that_is_said_and_else_nothing(found: Result, said: list[str]) -> None:
    assert sentences(found.fields()) == said


def test_every_report_has_the_explanation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(narrow(), [column(replace(FAILED, explanations=(MEAN,)))], 2)
    show(report.fields(), narrow(), report.write(tmp_path))
    assert SAID in capsys.readouterr().out
    assert "explained by alpha" in (tmp_path / "conformance.md").read_text(encoding="utf-8")
    (failure,) = ElementTree.fromstring((tmp_path / "conformance.xml").read_text(encoding="utf-8")).iter("failure")
    assert failure.text == SAID
