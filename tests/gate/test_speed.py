"""Verdicts on speed, with real processes that only say how long they took."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from gate.results import Quantity, SpeedVerdict
from gate.speed import judge
from spec.exits import NotRunError
from tests.gate.paced import PLAN, SIDES, cell, effect, judged, paced

BOTH = (cell("native"), cell("fast"))


def test_no_change_is_ok_in_every_quantity() -> None:
    (speed,) = judged(paced())
    assert [found.quantity for found in speed.effects] == list(Quantity)
    assert {found.verdict for found in speed.effects} == {SpeedVerdict.OK}
    assert effect(speed).estimate == pytest.approx(1.0, abs=0.01)
    assert effect(speed).blocks == PLAN.looks[0]


def test_slow_down_is_slower_once_a_fresh_repetition_says_so() -> None:
    (speed,) = judged(paced(1.3))
    for found in speed.effects:
        assert found.verdict is SpeedVerdict.SLOWER, found
        assert found.estimate == pytest.approx(1.3, rel=0.02)
        assert found.low is not None and found.low > 1.0
        assert found.reason.startswith("confirmed: first +")
        assert found.p_slower is not None and found.p_slower < 0.01
        assert bool(found.layers) is (found.quantity is Quantity.STEADY)
    costs = {own.layer: own.after_s / own.before_s for own in effect(speed).layers}
    assert {"conv1", "norm1", "pool5", "fc8"} < costs.keys()
    assert list(costs.values()) == [pytest.approx(1.3, rel=0.05)] * len(costs)


@pytest.mark.parametrize(
    ("how", "quantity"),
    [
        ("import", Quantity.IMPORT),
        ("build", Quantity.BUILD),
        ("first_call", Quantity.FIRST_CALL),
        ("memory", Quantity.MEMORY),
    ],
)
def test_slow_down_of_one_quantity_alone_is_confirmed_without_timing_steps(how: str, quantity: Quantity) -> None:
    (speed,) = judged(paced(1.5, 0.002, f"only_{how}"))
    found = {each.quantity: each.verdict for each in speed.effects}
    assert found.pop(quantity) is SpeedVerdict.SLOWER
    assert set(found.values()) == {SpeedVerdict.OK}


def test_slow_down_that_a_repetition_does_not_show_is_undecided(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text(str(PLAN.looks[0] + 1))  # the blocks of the first look, and the one before them
    (speed,) = judged(paced(1.3, 0.002, "at_first", str(count)))
    found = effect(speed)
    assert found.verdict is SpeedVerdict.UNDECIDED
    assert re.match(r"not confirmed: first \+(29|30)\.\d%, in a fresh repetition [+-]0\.\d%", found.reason)


def test_quicker_candidate_is_faster() -> None:
    (speed,) = judged(paced(0.8))
    assert effect(speed).verdict is SpeedVerdict.FASTER
    assert effect(speed).reason == ""


def test_noise_that_hides_a_change_is_undecided_after_the_last_look(tmp_path: Path) -> None:
    count = tmp_path / "count"
    count.write_text("0")
    (speed,) = judged(paced(2.0, 0.002, "sways", str(count)))
    found = effect(speed)
    assert found.verdict is SpeedVerdict.UNDECIDED
    assert found.blocks == PLAN.looks[-1]
    assert found.smallest_effect is None or found.smallest_effect > 0.1
    assert found.reason


@pytest.mark.parametrize("how", ["refuses", "ends", "not_finite"])
@pytest.mark.parametrize("shared", [True, False])
def test_cell_that_fails_is_errored_with_its_cause_and_others_stand(how: str, shared: bool) -> None:
    plan = dataclasses.replace(PLAN, shared=shared)
    causes = {"refuses": "fast is broken", "ends": "exit code 7; it ended", "not_finite": "finite"}
    for cells in (BOTH, BOTH[::-1]):
        found = {speed.variant.lowering: speed for speed in judged(paced(1.0, 0.002, how), cells=cells, plan=plan)}
        errored = effect(found["fast"])
        assert errored.verdict is SpeedVerdict.ERRORED
        assert errored.reason.startswith("candidate: ")
        assert causes[how] in errored.reason
        assert effect(found["native"]).verdict is SpeedVerdict.OK


def test_worker_that_cannot_be_started_is_errored() -> None:
    (speed,) = judged(("/does/not/exist",))
    assert {found.verdict for found in speed.effects} == {SpeedVerdict.ERRORED}
    assert "not_started" in effect(speed).reason


def test_device_that_the_baseline_lacks_is_skipped_and_one_that_the_candidate_lacks_is_errored() -> None:
    lacking = paced(1.0, 0.002, "no_device")
    (_, skipped) = judged(paced(), lacking, BOTH)
    (_, errored) = judged(lacking, paced(), BOTH)
    assert effect(skipped).verdict is SpeedVerdict.SKIPPED
    assert effect(errored).verdict is SpeedVerdict.ERRORED


def test_process_on_other_processors_than_its_peer_is_errored() -> None:
    (speed,) = judged(paced(1.0, 0.002, "moved"))
    assert effect(speed).verdict is SpeedVerdict.ERRORED
    assert "expected to run on processors" in effect(speed).reason


def test_quantity_that_a_worker_does_not_tell_is_skipped() -> None:
    (speed,) = judged(paced(1.0, 0.002, "no_import"), paced(1.0, 0.002, "no_import"))
    assert effect(speed, Quantity.IMPORT).verdict is SpeedVerdict.SKIPPED
    assert effect(speed).verdict is SpeedVerdict.OK


def test_stopped_run_goes_on_from_its_finished_blocks(tmp_path: Path) -> None:
    journal = tmp_path / "blocks.jsonl"

    def stop(text: str) -> None:
        if "block 5" in text:
            raise KeyboardInterrupt

    commands = (paced(), paced())
    with pytest.raises(KeyboardInterrupt):
        judge(SIDES, BOTH[:1], PLAN, stop, journal, commands)
    first = journal.read_text().splitlines()
    assert len(first) == 5  # the one before those that count, and four
    journal.write_text("\n".join([*first, '{"run": "torn']))
    (speed,) = judge(SIDES, BOTH[:1], PLAN, lambda _: None, journal, commands)
    assert effect(speed).verdict is SpeedVerdict.OK
    lines = journal.read_text().splitlines()
    assert lines[:5] == first
    names = [json.loads(line)["name"] for line in lines if not line.endswith("torn")]
    assert names == [f"measure {number} 0" for number in range(PLAN.looks[0] + 1)]
    before = journal.read_bytes()
    assert judge(SIDES, BOTH[:1], PLAN, lambda _: None, journal, commands) == (speed,)
    assert journal.read_bytes() == before


def test_blocks_of_another_plan_are_not_read_again(tmp_path: Path) -> None:
    journal = tmp_path / "blocks.jsonl"
    judged(paced(), journal=journal)
    once = len(journal.read_text().splitlines())
    judged(paced(), journal=journal, plan=dataclasses.replace(PLAN, seed=2))
    assert len(journal.read_text().splitlines()) == 2 * once


def test_blocks_of_another_lockstep_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = tmp_path / "blocks.jsonl"
    judged(paced(), journal=journal)
    once = len(journal.read_text().splitlines())
    monkeypatch.setattr("gate.speed.own_digest", lambda: "another")
    judged(paced(), journal=journal)
    assert len(journal.read_text().splitlines()) == 2 * once


def test_journal_keeps_every_duration(tmp_path: Path) -> None:
    journal = tmp_path / "blocks.jsonl"
    judged(paced(), journal=journal)
    entry = json.loads(journal.read_text().splitlines()[-1])["entry"]["0"]
    assert len(entry["sample"]["turns"]) == entry["pace"]["turns"] == PLAN.turns
    assert {len(chunk) for turn in entry["sample"]["turns"] for chunk in turn} == {entry["pace"]["calls"]}
    assert len(entry["sample"]["control_s"]) == PLAN.turns


def test_journal_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotRunError, match="expected a journal of results"):
        judged(paced(), journal=tmp_path / "file" / "blocks.jsonl")
