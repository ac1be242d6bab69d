"""Calibrations: measured with workers that only say how long they took, stored, and read again on the right machine."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from conformance.rates import rate_upper_bound
from gate import calibration
from gate.calibration import calibrate, conditions_of, machine_of, read, store
from gate.options import calibrating, parsed, plan_of
from gate.plan import Plan
from gate.results import Calibration
from spec.exits import InputError, NotRunError
from tests.gate.findings import CALIBRATION
from tests.gate.paced import PLAN, SIDES, cell, paced

CELLS = (cell("native"), cell("fast"))


def measured(after: tuple[str, ...], verdicts: int = 3) -> Calibration:
    plan = dataclasses.replace(PLAN, shared=True)
    return calibrate("onnx", SIDES.baseline, CELLS, plan, verdicts, lambda _: None, None, (paced(), after))


def test_calibration_counts_verdicts_without_a_difference() -> None:
    found = measured(paced())
    assert (found.verdicts, found.slower, found.undecided) == (4, 0, 0)  # whole runs of two cells
    assert found.upper_bound == rate_upper_bound(0, 4)
    assert found.conditions == conditions_of("onnx", "cpu", dataclasses.replace(PLAN, shared=True))
    assert found.cells == tuple(map(str, CELLS))


def test_false_alarms_count() -> None:
    found = measured(paced(1.3), 2)
    assert (found.verdicts, found.slower) == (2, 2)
    assert found.upper_bound == 1.0


def test_calibration_with_a_cell_that_fails_is_not_run() -> None:
    with pytest.raises(NotRunError, match="fast is broken"):
        measured(paced(1.0, 0.002, "refuses"))
    with pytest.raises(NotRunError, match="no such device"):
        calibrate("onnx", SIDES.baseline, CELLS, PLAN, 2, lambda _: None, None, (paced(1.0, 0.0, "no_device"), paced()))


def test_machine_is_one_line_that_names_processor_and_threads() -> None:
    assert "\n" not in machine_of(3)
    assert machine_of(3).endswith("threads 3")
    assert machine_of(3) != machine_of(2)


def test_stored_calibration_is_read_again_under_its_conditions(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "calibration.json"
    store(CALIBRATION, path)
    assert read(CALIBRATION.conditions, path) == CALIBRATION
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_variable_names_the_file_of_calibrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_CALIBRATIONS", str(tmp_path / "kept" / "own.json"))
    assert read(CALIBRATION.conditions) is None
    store(CALIBRATION)
    assert read(CALIBRATION.conditions) == read(CALIBRATION.conditions, tmp_path / "kept" / "own.json") == CALIBRATION


@pytest.mark.parametrize("changed", ["machine", "framework", "device", "plan"])
def test_calibration_under_other_conditions_is_not_used_and_stays(tmp_path: Path, changed: str) -> None:
    path = tmp_path / "calibration.json"
    other = dataclasses.replace(CALIBRATION.conditions, **{changed: "another"})
    store(CALIBRATION, path)
    assert read(other, path) is None
    store(dataclasses.replace(CALIBRATION, conditions=other, slower=2), path)
    store(dataclasses.replace(CALIBRATION, conditions=other, slower=1), path)
    assert read(CALIBRATION.conditions, path) == CALIBRATION
    found = read(other, path)
    assert found is not None and found.slower == 1
    assert len(json.loads(path.read_text(encoding="utf-8"))["calibrations"]) == 2


@pytest.mark.parametrize(
    ("changes", "is_same"),
    [
        ({"seed": 7}, True),
        ({"timeout_s": 1.0}, True),
        ({"looks": (6, 12)}, False),
        ({"chunk_s": 0.1}, False),
        ({"turns": 3}, False),
        ({"threads": 2}, False),
    ],
    ids=str,
)
def test_blocks_chunks_and_threads_are_among_the_conditions(changes: dict[str, Any], is_same: bool) -> None:
    own, other = Plan(), dataclasses.replace(Plan(), **changes)
    assert (conditions_of("jax", "cpu", own) == conditions_of("jax", "cpu", other)) is is_same


def test_the_command_that_measures_a_rate_gives_the_conditions_of_the_gate() -> None:
    own = parsed([*"jax==0.9.2 jax==0.10.2 --looks 6,12 --threads 2 --batch 4 --timeout 9 --device cuda".split()])
    words = calibrating(own, "jax")
    assert words == "--calibrate --framework jax --device cuda --looks 6,12 --threads 2".split()
    again = parsed(words)
    conditions = conditions_of("jax", own.device, plan_of(own))
    assert conditions_of(again.framework, again.device, plan_of(again)) == conditions


def test_without_a_file_there_is_no_calibration(tmp_path: Path) -> None:
    assert read(CALIBRATION.conditions, tmp_path / "none.json") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        json.dumps({"format": "lockstep-calibration/1", "machine": "this one", "verdicts": 20}),
        json.dumps({"format": calibration.FORMAT}),
        json.dumps(
            {"format": calibration.FORMAT, "calibrations": [dataclasses.asdict(CALIBRATION) | {"slower": "no"}]}
        ),
        "\udcff",
    ],
)
def test_file_that_is_no_calibration_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"calibration\.json: expected .*calibrations.*; remove the file") as error:
        read(CALIBRATION.conditions, path)
    assert "\n" not in str(error.value)
    with pytest.raises(InputError):
        store(CALIBRATION, path)
    assert path.read_bytes() == text.encode("utf-8", "surrogateescape")


def test_calibration_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotRunError, match="expected to keep a calibration there"):
        store(CALIBRATION, tmp_path / "file" / "calibration.json")
