"""What a stopped run leaves is found by the same comparison alone; what a finished one leaves, by none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gate import finished
from gate.finished import KEPT, Finished
from gate.numerics import Cases
from gate.plan import Plan
from gate.results import NumericVerdict
from tests.gate.findings import MACHINE, SIDES, numerics

SAME: dict[str, Any] = {
    "sides": SIDES,
    "cases": {"alexnet": Cases("alexnet")},
    "plan": Plan(),
    "cells": (),
    "baseline_report": None,
    "machine": MACHINE,
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKSTEP_RUNS", str(tmp_path))
    return tmp_path


def test_the_same_comparison_finds_what_is_finished_and_says_so() -> None:
    Finished.of(**SAME).keep("alexnet", [numerics(NumericVerdict.DRIFTED)])
    again = Finished.of(**SAME)
    assert again.numerics("alexnet") == [numerics(NumericVerdict.DRIFTED)]
    assert again.numerics("caffenet") is None
    assert len(again.notes) == 1


@pytest.mark.parametrize(
    "other",
    [
        {"sides": replace(SIDES, candidate=replace(SIDES.candidate, packages={"jax": "0.10.3"}))},
        {"cases": {"alexnet": Cases("alexnet", seeds=6)}},
        {"cases": {"alexnet": Cases("caffenet")}},
        {"plan": Plan(looks=(12, 20))},
        {"machine": {**MACHINE, "processor": "another"}},
        {"baseline_report": Path(__file__)},
    ],
)
def test_any_other_comparison_starts_anew(other: dict[str, Any]) -> None:
    Finished.of(**SAME).keep("alexnet", [numerics()])
    assert Finished.of(**SAME | other).numerics("alexnet") is None


def test_another_lockstep_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    Finished.of(**SAME).keep("alexnet", [numerics()])
    monkeypatch.setattr(finished, "own_digest", lambda: "another")
    assert Finished.of(**SAME).numerics("alexnet") is None


def test_a_finished_run_is_kept_and_not_gone_on_from(place: Path) -> None:
    own = Finished.of(**SAME)
    own.keep("alexnet", [numerics()])
    own.close()
    assert Finished.of(**SAME).numerics("alexnet") is None
    assert [path.name for path in place.iterdir()] == [f"{own.key}.finished"]


def test_the_oldest_finished_runs_go(place: Path) -> None:
    keys = []
    for seeds in range(5, 5 + KEPT + 2):
        own = Finished.of(**SAME | {"cases": {"alexnet": Cases("alexnet", seeds=seeds)}})
        own.keep("alexnet", [numerics()])
        own.close()
        keys.append(own.key)
    assert len(list(place.iterdir())) == KEPT
    assert (place / f"{keys[-1]}.finished").is_dir()


def test_a_damaged_entry_is_made_again() -> None:
    own = Finished.of(**SAME)
    own.keep("alexnet", [numerics()])
    path = own.folder / "numerics.jsonl"
    path.write_text(path.read_text(encoding="utf-8").replace("identical", "splendid"), encoding="utf-8")
    assert Finished.of(**SAME).numerics("alexnet") is None


def test_a_fresh_start_forgets(place: Path) -> None:
    own = Finished.of(**SAME)
    own.keep("alexnet", [numerics()])
    own.forget()
    own.forget()
    assert list(place.iterdir()) == []
