"""bench.json is pytest-benchmark's, and says what became of every row."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.markdown import markdown_text
from bench.pictures import pictures
from bench.report import write
from bench.table import cells, remarks
from spec.exits import Exit, NotRunError
from tests.bench.synthetic import report, row, variant

TIMED = report(
    row(variant(), 1, [(0.02, 0.021), (0.019, 0.02)]),
    row(variant(lowering="fast"), 1, [(0.01, 0.0105), (0.0095, 0.01)]),
)


def test_pytest_benchmark_reads_the_report(tmp_path: Path) -> None:
    for name in ("0001_before", "0002_after"):
        (path,) = write(TIMED, tmp_path, {})
        path.rename(tmp_path / f"{name}.json")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", *map(str, sorted(tmp_path.glob("*.json")))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "alexnet_narrow-torch-cpu-float32-eager-fast-1" in done.stdout


def test_report_holds_every_sample_with_its_round() -> None:
    benchmark = TIMED.fields()["benchmarks"][0]
    assert benchmark["stats"]["data"] == [0.02, 0.021, 0.019, 0.02]
    assert benchmark["extra_info"]["block"] == [0, 0, 1, 1]
    assert benchmark["stats"]["median"] == pytest.approx(0.02)
    json.dumps(TIMED.fields(), allow_nan=False)


def test_fast_row_says_how_many_times_faster_than_native_it_is() -> None:
    assert cells(TIMED, TIMED.rows[1])[8] == "2.00"
    assert cells(TIMED, TIMED.rows[0])[8] == ""


def test_row_that_does_not_conform_gets_no_number() -> None:
    wrong = report(row(variant(), 1, [(0.02,)], "nonconforming", "relative RMS error 1, cap 1e-06"))
    assert wrong.fields()["benchmarks"] == []
    assert wrong.fields()["lockstep"]["rows"][0]["median_s"] is None
    assert cells(wrong, wrong.rows[0])[2] == "nonconforming"
    assert any("relative RMS error 1" in remark for remark in remarks(wrong))
    assert wrong.exit is Exit.DIVERGED


def test_row_of_a_missing_device_is_skipped_by_name_and_others_stand() -> None:
    mixed = report(TIMED.rows[0], row(variant("jax"), 1, [], "skipped", "missing_device: no cuda device for jax"))
    assert cells(mixed, mixed.rows[1])[:3] == ("jax cpu float32 eager native", "1", "skipped")
    assert "no cuda device for jax" in "\n".join(remarks(mixed))
    assert mixed.exit is Exit.PASSED


def test_row_that_ran_out_of_memory_is_errored_and_others_stand() -> None:
    mixed = report(TIMED.rows[0], row(variant("jax"), 64, [], "errored", "out of memory: time: no room"))
    assert mixed.exit is Exit.NOT_RUN
    assert len(mixed.fields()["benchmarks"]) == 1


def test_interrupted_run_keeps_its_samples_and_says_so() -> None:
    stopped = report(row(variant(), 1, [(0.02,)], "incomplete", "interrupted after 1 of 5 rounds"))
    assert stopped.fields()["lockstep"]["complete"] is False
    assert stopped.fields()["benchmarks"][0]["stats"]["data"] == [0.02]
    assert stopped.exit is Exit.NOT_RUN


def test_noisy_machine_is_said_to_be_noisy() -> None:
    noisy = report(TIMED.rows[0], control_spread=0.4)
    assert any(remark.startswith("NOISY") and "40%" in remark for remark in remarks(noisy))


def test_pictures_and_markdown_are_made_of_the_rows() -> None:
    drawn = pictures(TIMED)
    assert set(drawn) == {"bench-throughput-cpu.svg"}
    assert drawn["bench-throughput-cpu.svg"].lstrip().startswith("<?xml")
    assert drawn == pictures(TIMED)
    text = markdown_text(TIMED, list(drawn))
    assert "| torch cpu float32 eager fast | 1 |" in text
    assert "![bench-throughput-cpu](bench-throughput-cpu.svg)" in text


def test_report_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "file"
    folder.write_text("", encoding="utf-8")
    with pytest.raises(NotRunError, match="expected to write the report"):
        write(TIMED, folder, {})
