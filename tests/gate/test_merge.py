"""`gate merge`: the reports of cells become one verdict; what does not belong together is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gate.markdown import markdown_text
from gate.matrix import listed
from gate.merge import merged
from gate.report import write
from gate.results import EntryUse, NumericVerdict, SpeedVerdict
from gate.table import headline
from gate.verdict import Report, Run
from spec.exits import Exit, InputError
from tests.gate.findings import SIDES, effect, entry_use, numerics, run, speed

CAFFENET = run(numerics(network="caffenet"), speed(network="caffenet"))
ALEXNET = run(numerics(), speed())
OLDER = replace(SIDES.baseline, label="jax==0.9.1")


def kept(folder: Path, *runs: Run) -> list[Path]:
    """A report a run, each in a folder of its own."""
    return [write(Report((own,)), folder / str(place))[0] for place, own in enumerate(runs)]


def cells(folder: Path, *networks: str) -> Path:
    specs = [word for network in networks for word in ("--spec", network)]
    path = folder / "cells.json"
    path.write_text(json.dumps(listed(["jax==0.9.2", "jax==0.10.2", *specs])), encoding="utf-8")
    return path


def test_the_verdict_of_all_cells_is_that_of_the_worst(tmp_path: Path) -> None:
    undecided = run(speed(effect(SpeedVerdict.UNDECIDED), network="alexnet_owt"))
    assert merged(kept(tmp_path / "a", ALEXNET, CAFFENET)).exit is Exit.PASSED
    assert merged(kept(tmp_path / "b", ALEXNET, undecided)).exit is Exit.UNDECIDED
    drifted = run(numerics(NumericVerdict.DRIFTED, network="caffenet"))
    assert merged(kept(tmp_path / "c", ALEXNET, undecided, drifted)).exit is Exit.DIVERGED


def test_merging_loses_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    whole = merged(kept(tmp_path, ALEXNET, CAFFENET))
    assert whole.runs == (ALEXNET, CAFFENET)
    (once,) = kept(tmp_path / "third", run(numerics(network="alexnet_owt")))
    again = merged([write(whole, tmp_path / "all")[0], once])
    assert [cell.network for cell in again.cells] == ["alexnet", "caffenet", "alexnet_owt"]


def test_numerics_and_speed_of_one_cell_may_be_run_apart(tmp_path: Path) -> None:
    whole = merged(kept(tmp_path, run(numerics()), run(speed()), run(speed(batch=1))))
    assert whole.exit is Exit.PASSED
    (note,) = whole.notes
    assert "within each of the 2 runs that timed, not over all of them" in note
    assert f"Note: {note}." in markdown_text(whole).replace("\\", "")
    assert merged(kept(tmp_path / "once", run(numerics()), run(speed()))).notes == []


def test_the_rows_of_a_cell_that_was_run_in_parts_are_one(tmp_path: Path) -> None:
    whole = merged(kept(tmp_path, run(numerics()), run(speed()), run(speed(batch=1))))
    (cell,) = whole.cells
    assert (cell.numerics, [own.batch for own in cell.speed]) == (numerics(), [16, 1])


@pytest.mark.parametrize("is_first", [True, False])
def test_a_speed_up_is_void_where_another_run_found_another_precision_class(tmp_path: Path, is_first: bool) -> None:
    coarser = run(numerics(NumericVerdict.ACCEPTED, class_after="tf32"))
    parts = (coarser, run(speed(effect(SpeedVerdict.FASTER, estimate=0.6))))
    whole = merged(kept(tmp_path, *(parts if is_first else parts[::-1])))
    ((_, cost),) = whole.cells[0].effects
    assert cost.verdict is SpeedVerdict.VOID
    assert "1 void" in headline(whole)
    same = run(numerics(), speed(effect(SpeedVerdict.FASTER)), sides=replace(SIDES, baseline=OLDER))
    _, ((_, cost),) = (cell.effects for cell in merged(kept(tmp_path / "b", coarser, same)).cells)
    assert cost.verdict is SpeedVerdict.FASTER


def test_an_entry_that_another_cell_needs_is_not_stale(tmp_path: Path) -> None:
    needed = replace_entries(ALEXNET, entry_use(is_needed=True))
    assert merged(kept(tmp_path / "a", needed, replace_entries(CAFFENET, entry_use()))).exit is Exit.PASSED
    whole = merged(kept(tmp_path / "b", ALEXNET, replace_entries(CAFFENET, entry_use())))
    assert (whole.stale, whole.exit) == ([("gate/accepted.toml", "accepted.toml:3: old")], Exit.DIVERGED)


def replace_entries(own: Run, *entries: EntryUse) -> Run:
    return replace(own, finding=replace(own.finding, entries=entries))


def test_the_same_cell_on_another_device_is_another(tmp_path: Path) -> None:
    gpu = replace(numerics(), variant=replace(numerics().variant, device="cuda"))
    assert len(merged(kept(tmp_path, ALEXNET, run(gpu, device="cuda"))).cells) == 2


@pytest.mark.parametrize("other", [run(numerics()), run(speed()), ALEXNET])
def test_a_cell_that_is_there_twice_is_refused_with_both_places(tmp_path: Path, other: Run) -> None:
    first, second = kept(tmp_path, ALEXNET, other)
    with pytest.raises(InputError) as error:
        merged([first, second])
    assert "expected each cell once" in str(error.value)
    assert str(first) in str(error.value)
    assert str(second) in str(error.value)


def test_cells_with_other_packages_are_refused(tmp_path: Path) -> None:
    packages = {**SIDES.candidate.packages, "numpy": "2.3.5"}
    other = run(
        numerics(network="caffenet"),
        sides=replace(SIDES, candidate=replace(SIDES.candidate, packages=packages)),
    )
    with pytest.raises(InputError, match=r"expected the candidate 'jax==0\.10\.2' of .*, found numpy 2\.3\.5"):
        merged(kept(tmp_path, ALEXNET, other))


def test_another_place_of_the_same_environment_is_no_other_side(tmp_path: Path) -> None:
    sides = replace(SIDES, candidate=replace(SIDES.candidate, python="/runner/two/python"))
    assert merged(kept(tmp_path, ALEXNET, replace_sides(CAFFENET, sides))).exit is Exit.PASSED


def replace_sides(own: Run, sides: object) -> Run:
    return replace(own, finding=replace(own.finding, sides=sides))  # type: ignore[arg-type]


def test_a_cell_without_a_report_was_not_run(tmp_path: Path) -> None:
    whole = merged(kept(tmp_path, ALEXNET), cells(tmp_path, "alexnet", "caffenet"))
    assert whole.missing == ("jax==0.9.2 → jax==0.10.2, cpu, caffenet",)
    assert whole.exit is Exit.NOT_RUN


def test_nothing_is_missing_where_every_cell_has_a_report(tmp_path: Path) -> None:
    whole = merged(kept(tmp_path, ALEXNET, CAFFENET), cells(tmp_path, "alexnet", "caffenet"))
    assert (whole.missing, whole.exit) == ((), Exit.PASSED)


def test_a_cell_whose_side_is_an_interpreter_is_found(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    path = tmp_path / "cells.json"
    path.write_text(json.dumps(listed(["--baseline-python", str(python), "jax==0.10.2"])), encoding="utf-8")
    sides = replace(SIDES, baseline=replace(SIDES.baseline, label=str(python)))
    assert merged(kept(tmp_path / "a", replace_sides(ALEXNET, sides)), path).missing == ()
    assert len(merged(kept(tmp_path / "b", ALEXNET), path).missing) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"include": [{"name": 1}]}'])
def test_cells_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "cells.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="expected what `gate list` prints"):
        merged(kept(tmp_path, ALEXNET), path)
