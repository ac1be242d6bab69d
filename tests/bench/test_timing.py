"""Timing with real workers: the NumPy runner, right and wrong, and a worker that ends."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.machine import Control
from bench.timing import Contender, Plan, Row, time_all
from impls.frameworks import Variant
from spec.load import load

PLAN = Plan("forward", (1, 2), rounds=3, chunk_s=0.02, threads=1, timeout_s=60, seed=1)


def contender(name: str, *program: str, device: str = "cpu") -> Contender:
    variant = Variant(name, device, "float32", "eager", "native")  # type: ignore[arg-type]
    return Contender(variant, (sys.executable, *program), Path())


def numpy_runner(name: str, *fault: str, device: str = "cpu") -> Contender:
    return contender(name, "-m", "conformance.power.wrong_runner", *fault, device=device)


def timed(contenders: Sequence[Contender], plan: Plan = PLAN) -> dict[tuple[str, int], Row]:
    told: list[str] = []
    rows = time_all(load("alexnet_narrow"), contenders, plan, Control(1), told.append)
    return {(row.variant.framework, row.batch): row for row in rows}


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, int], Row]:
    return timed(
        [
            numpy_runner("right"),
            numpy_runner("wrong", "constant_output"),
            numpy_runner("gpu", device="cuda"),
            contender("broken", "-c", "raise SystemExit('it ended')"),
        ]
    )


@pytest.mark.parametrize("batch", PLAN.batches)
def test_right_variant_is_timed_in_every_round(rows: dict[tuple[str, int], Row], batch: int) -> None:
    row = rows["right", batch]
    assert row.outcome == "timed", row.message
    assert len(row.rounds) == len(row.control_s) == PLAN.rounds
    assert row.median_s is not None
    assert row.first_call_s is not None
    assert row.relative_rms is not None
    assert 0 < row.relative_rms < 1e-5


def test_worker_has_as_many_processors_as_threads(rows: dict[tuple[str, int], Row]) -> None:
    assert len(rows["right", 1].cpus) == PLAN.threads
    assert rows["right", 1].busy_threads is not None
    assert rows["right", 1].busy_threads < PLAN.threads + 0.2


@pytest.mark.parametrize("batch", PLAN.batches)
def test_variant_that_computes_something_else_gets_no_number(rows: dict[tuple[str, int], Row], batch: int) -> None:
    row = rows["wrong", batch]
    assert row.outcome == "nonconforming"
    assert row.median_s is None
    assert "no time is reported" in row.message


def test_missing_device_is_a_skipped_row_by_name(rows: dict[tuple[str, int], Row]) -> None:
    assert {rows["gpu", batch].outcome for batch in PLAN.batches} == {"skipped"}
    assert "no cuda device" in rows["gpu", 1].message


def test_worker_that_ends_is_an_errored_row_with_its_cause_and_others_stand(rows: dict[tuple[str, int], Row]) -> None:
    assert {rows["broken", batch].outcome for batch in PLAN.batches} == {"errored"}
    assert "it ended" in rows["broken", 1].message
    assert rows["right", 2].outcome == "timed"


def test_interrupted_run_keeps_what_was_measured() -> None:
    told: list[str] = []

    def stop_in_round_2(text: str) -> None:
        told.append(text)
        if "batch 1: round 2" in text:
            raise KeyboardInterrupt

    (row, later) = time_all(load("alexnet_narrow"), [numpy_runner("right")], PLAN, Control(1), stop_in_round_2)
    assert (row.outcome, len(row.rounds)) == ("incomplete", 1)
    assert row.message == "interrupted after 1 of 3 rounds"
    assert row.median_s is not None
    assert later.rounds == []
    json.dumps(row.samples)
