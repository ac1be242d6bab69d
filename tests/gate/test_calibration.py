"""Calibrations: measured with workers that only say how long they took, stored, and read again on the right machine."""

import dataclasses
import json
from pathlib import Path

import pytest

from gate import calibration
from gate.calibration import calibrate, machine_of, read, store
from gate.results import Calibration
from gate.statistics import rate_upper_bound
from spec.exits import InputError, NotRunError
from tests.gate.paced import PLAN, SIDES, cell, paced

CELLS = (cell("native"), cell("fast"))
STORED = Calibration("this one", 60, 1, 2, 0.0763)


def measured(after: tuple[str, ...], verdicts: int = 3) -> Calibration:
    plan = dataclasses.replace(PLAN, shared=True)
    return calibrate("onnx", SIDES.baseline, CELLS, plan, verdicts, lambda _: None, None, (paced(), after))


def test_calibration_counts_verdicts_without_a_difference() -> None:
    found = measured(paced())
    assert (found.verdicts, found.slower, found.undecided) == (4, 0, 0)  # whole runs of two cells
    assert found.upper_bound == rate_upper_bound(0, 4)
    assert found.machine == machine_of(PLAN.threads)


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


def test_stored_calibration_is_read_again_on_its_machine(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "calibration.json"
    store(STORED, path)
    found = read("this one", path)
    assert found.calibration == STORED
    assert found.note == "on this runner 1 SLOWER in 60 verdicts without a difference: at most 7.6% at 95% confidence"
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_calibration_of_another_machine_is_named_and_not_used(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    store(STORED, path)
    found = read("that one", path)
    assert found.calibration is None
    assert "another machine" in found.note
    assert "this one" in found.note and "that one" in found.note


def test_missing_calibration_says_how_to_get_one(tmp_path: Path) -> None:
    found = read("this one", tmp_path / "none.json")
    assert found.calibration is None
    assert "--calibrate" in found.note


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        json.dumps({"format": "lockstep-calibration/2", **dataclasses.asdict(STORED)}),
        json.dumps({"format": calibration.FORMAT, "machine": "this one"}),
        json.dumps({"format": calibration.FORMAT, **dataclasses.asdict(STORED), "slower": "none"}),
        "\udcff",
    ],
)
def test_file_that_is_no_calibration_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match="expected a calibration"):
        read("this one", path)


def test_calibration_that_cannot_be_kept_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotRunError, match="expected to keep a calibration there"):
        store(STORED, tmp_path / "file" / "calibration.json")
