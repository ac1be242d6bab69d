"""The report of a gate: one verdict, what to act on, and three files that are written whole or not at all."""

import json
import tomllib
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

import pytest

from gate import acceptance, accepted
from gate.advice import actions
from gate.junit import junit_text
from gate.markdown import markdown_text
from gate.report import read, write
from gate.results import LayerCost, Numerics, NumericVerdict, Quantity, Speed, SpeedVerdict
from gate.table import rate_text, speed_text
from gate.verdict import Report, title, void
from spec.exits import Exit, InputError, NotRunError
from tests.gate.findings import CALIBRATION, SIDES, effect, entry_use, numerics, report, run, speed, tap

DRIFTED = numerics(NumericVerdict.DRIFTED, bits_after=20.1, noise_after=9.0, change="another algorithm")


# --- The verdict ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((numerics(), speed()), Exit.PASSED),
        ((numerics(NumericVerdict.BENIGN), speed(effect(SpeedVerdict.FASTER))), Exit.PASSED),
        ((numerics(), speed(effect(SpeedVerdict.UNDECIDED))), Exit.UNDECIDED),
        ((numerics(NumericVerdict.ERRORED), speed(effect(SpeedVerdict.UNDECIDED))), Exit.NOT_RUN),
        ((DRIFTED, speed(effect(SpeedVerdict.ERRORED))), Exit.DIVERGED),
        ((numerics(), speed(effect(SpeedVerdict.SLOWER))), Exit.DIVERGED),
    ],
)
def test_one_run_has_the_verdict_of_its_worst_part(parts: tuple[Numerics | Speed, ...], code: Exit) -> None:
    assert report(*parts).exit is code


def test_many_runs_have_the_verdict_of_the_worst() -> None:
    passed, undecided, failed = run(numerics()), run(speed(effect(SpeedVerdict.UNDECIDED))), run(DRIFTED)
    assert Report((passed, undecided)).exit is Exit.UNDECIDED
    assert Report((passed, undecided), missing=("a cell",)).exit is Exit.NOT_RUN
    assert Report((undecided, failed), missing=("a cell",)).exit is Exit.DIVERGED
    assert Report(()).exit is Exit.NOT_RUN


@pytest.mark.parametrize("verdict", [NumericVerdict.DIVERGED, NumericVerdict.PRECISION])
def test_a_speed_up_is_void_where_the_numerics_changed_class(verdict: NumericVerdict) -> None:
    before = speed(effect(SpeedVerdict.FASTER), effect(SpeedVerdict.OK, Quantity.MEMORY))
    (after,) = void([numerics(verdict)], [before])
    assert [own.verdict for own in after.effects] == [SpeedVerdict.VOID, SpeedVerdict.OK]
    assert str(verdict) in after.effects[0].reason


def test_a_speed_up_is_void_where_another_class_was_accepted() -> None:
    changed = numerics(NumericVerdict.ACCEPTED, class_after="tf32")
    (after,) = void([changed], [speed(effect(SpeedVerdict.FASTER))])
    assert after.effects[0].verdict is SpeedVerdict.VOID


def test_a_speed_up_counts_where_another_network_or_order_of_sums_changed() -> None:
    others = [numerics(NumericVerdict.DIVERGED, network="caffenet"), numerics(NumericVerdict.BENIGN)]
    (after,) = void(others, [speed(effect(SpeedVerdict.FASTER))])
    assert after.effects[0].verdict is SpeedVerdict.FASTER


def test_an_upgrade_is_called_by_what_was_asked_for() -> None:
    assert title(SIDES) == "jax 0.9.2 → 0.10.2"


def test_the_speed_of_a_cell_names_what_has_the_worst_verdict() -> None:
    (cell,) = report(speed(effect(), effect(SpeedVerdict.SLOWER, Quantity.IMPORT, estimate=1.4))).cells
    assert speed_text(cell) == "SLOWER: import (forward +0.1% at batch 16)"


# --- What to act on ---------------------------------------------------------------------------------------------------


def test_what_blocks_comes_before_what_is_undecided() -> None:
    slower, open_ = effect(SpeedVerdict.SLOWER, estimate=1.07), effect(SpeedVerdict.UNDECIDED, Quantity.IMPORT)
    found = actions(report(numerics(NumericVerdict.PRECISION), speed(open_, slower), entries=(entry_use(),)))
    assert [action.verdict for action in found] == ["precision class changed", "SLOWER", "stale", "UNDECIDED"]


def test_an_action_begins_with_what_explains_it() -> None:
    said = "conv3: explained by precision: tf32 (noise 4.9e3 → 3.2)."
    found = report(numerics(NumericVerdict.PRECISION, explained=(said,)))
    (action,) = actions(found)
    assert action.what[0] == said
    assert action.what[1].startswith("where: conv3")
    assert json.loads(json.dumps(found.runs[0].finding.fields()))["numerics"][0]["taps"][1]["explained"] == [said]


def test_an_action_says_where_how_far_and_how_to_see_it_again() -> None:
    (action,) = actions(report(DRIFTED))
    assert action.place == "alexnet, jax cpu float32 compiled native"
    assert action.what == (
        "where: conv3 (conv, local): another algorithm; 21.4 → 20.1 bits; 3.4 → 9 noise units",
        "the same bits: 1 of 2 operators",
    )
    says = "nox -s gate -- jax==0.9.2 jax==0.10.2 --spec alexnet --lowering native --numerics-only --part"
    assert action.command == says


def test_a_slower_step_says_which_layers_lost_the_time() -> None:
    layers = (
        LayerCost("conv1", "conv", 0.1, 0.2),
        LayerCost("norm1", "lrn", 0.06, 0.059),
        LayerCost("conv2", "conv", 0.2, 0.5),
        LayerCost("pool2", "max_pool", 0.004, 0.005),
        LayerCost("fc6", "dense", 0.2, 0.07),
    )
    (action,) = actions(report(speed(effect(SpeedVerdict.SLOWER, estimate=1.4, layers=layers))))
    said = "where: conv2 (conv) +150.0%, 200 → 500 ms; conv1 (conv) +100.0%, 100 → 200 ms; each layer alone"
    assert said in action.what
    (action,) = actions(report(speed(effect(SpeedVerdict.SLOWER, estimate=1.4, layers=layers[1:2]))))
    assert "where: in no layer alone, so between them: copies, or fusion" in action.what


def test_the_first_tap_that_moved_is_named_where_another_decides() -> None:
    moved = tap("conv1", NumericVerdict.BENIGN, change="order of summation")
    whole = Numerics("alexnet", DRIFTED.variant, DRIFTED.verdict, moved, (moved, *DRIFTED.taps), 10)
    (action,) = actions(report(whole))
    assert "first that moved: conv1 (conv, local): order of summation; 21.4 → 21.4 bits" in action.what[1]


def test_the_entry_that_is_offered_accepts_the_change_once_a_person_has_filled_it_in(tmp_path: Path) -> None:
    (action,) = actions(report(DRIFTED))
    with pytest.raises(tomllib.TOMLDecodeError):  # nobody accepts without a day
        tomllib.loads(action.accept)
    text = action.accept.replace('reason = ""', 'reason = "known"').replace('link = ""', 'link = "https://example.org"')
    path = tmp_path / "accepted.toml"
    path.write_text(text.replace("expires =  ", "expires = 2027-06-30 "), encoding="utf-8")
    applied = acceptance.of_numerics([DRIFTED], SIDES, accepted.entries(date(2027, 1, 1), path))
    assert [own.verdict for own in applied.found] == [NumericVerdict.ACCEPTED]
    assert [use.is_needed for use in applied.entries] == [True]


def test_the_entry_that_is_offered_for_a_cost_accepts_it_as_far_as_its_limits_go(tmp_path: Path) -> None:
    slower = speed(effect(SpeedVerdict.SLOWER, Quantity.FIRST_CALL, estimate=1.2, high=1.2512))
    (action,) = actions(report(slower))
    text = action.accept.replace('reason = ""', 'reason = "known"').replace('link = ""', 'link = "https://example.org"')
    path = tmp_path / "accepted.toml"
    path.write_text(text.replace("expires =  ", "expires = 2027-06-30 "), encoding="utf-8")
    (entry,) = accepted.entries(date(2027, 1, 1), path)
    assert isinstance(entry.accepted, accepted.AcceptedCost)
    assert (entry.accepted.quantities, entry.accepted.batches, entry.accepted.at_most) == (("first call",), (16,), 0.26)
    (cell,) = acceptance.of_speed([slower], SIDES, [entry]).found
    assert [own.verdict for own in cell.effects] == [SpeedVerdict.ACCEPTED]


def test_a_cost_that_is_undecided_cannot_be_accepted() -> None:
    (action,) = actions(report(speed(effect(SpeedVerdict.UNDECIDED))))
    assert action.accept == ""


def test_the_file_that_an_entry_belongs_in_is_the_one_that_was_asked_for() -> None:
    (action,) = actions(report(DRIFTED))
    assert action.accept_in == "gate/accepted.toml, or a file of your own (--accepted)"
    own, stale = actions(report(DRIFTED, accepted_in="own/known.toml", entries=(entry_use(),)))
    assert (own.accept_in, stale.place) == ("own/known.toml", "own/known.toml")
    assert "to accept it, add to own/known.toml:" in markdown_text(report(DRIFTED, accepted_in="own/known.toml"))


def test_a_worker_that_fails_is_named_once_and_not_for_each_cost() -> None:
    errored = [effect(SpeedVerdict.ERRORED, quantity, reason="candidate: died") for quantity in Quantity]
    (action,) = actions(report(speed(*errored)))
    assert (action.verdict, action.place.rpartition(", ")[2]) == ("errored", "steady state")


# --- Files ------------------------------------------------------------------------------------------------------------


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    whole = Report((run(DRIFTED, speed(), calibration=CALIBRATION, notes=("a note",)),), missing=("a cell",))
    files = write(whole, tmp_path / "new" / "reports")
    assert [path.name for path in files] == ["gate.json", "gate.md", "gate.xml"]
    assert read(files[0]) == whole
    content = json.loads(files[0].read_text(encoding="utf-8"))
    assert (content["format"], content["verdict"], content["exit_code"]) == ("lockstep-gate/1", "failed", 1)


def test_a_report_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    write(report(numerics()), tmp_path)
    before = (tmp_path / "gate.json").read_text(encoding="utf-8")
    (tmp_path / "gate.xml").unlink()
    (tmp_path / "gate.xml").mkdir()
    with pytest.raises(NotRunError, match="expected to write the report"):
        write(report(DRIFTED), tmp_path)
    assert (tmp_path / "gate.json").read_text(encoding="utf-8") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gate.json", "gate.md", "gate.xml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "expected the JSON of a gate's report"),
        ("[" * 100_000, "expected the JSON"),
        ("[]", "JSON without a format"),
        ('{"format": "lockstep-conformance/1"}', "found format 'lockstep-conformance/1'"),
        ('{"format": "lockstep-gate/1"}', "runs: Field required"),
        ('{"format": "lockstep-gate/1", "missing": [], "runs": []}', "expected the report of a run"),
        ('{"format": "lockstep-gate/1", "missing": [], "runs": [{"finding": 1}]}', "runs.0"),
    ],
)
def test_what_is_no_report_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "gate.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        read(path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_summary_says_the_verdict_first() -> None:
    lines = markdown_text(report(DRIFTED, speed())).splitlines()
    assert lines[0] == "# ❌ Gate failed: jax 0.9.2 → 0.10.2"
    assert lines[2] == "numerics: 1 drifted; speed: 1 OK."
    assert "drifted at conv3" in lines[6]
    assert "OK (forward +0.1% at batch 16)" in lines[6]
    assert "| jaxlib | 0.9.2 | 0.10.2 | moved with it |" in lines


def test_a_summary_states_what_speed_could_have_seen_and_the_false_alarms_of_the_runner() -> None:
    text = markdown_text(report(speed()))
    assert "| steady state | OK | +0.1% | -1.0% to +1.2% | +3.4% | 12 (1) |" in text
    assert "A/A rate of this runner: not measured" in text
    assert rate_text(CALIBRATION) == (
        "A/A rate of this runner (a machine; jax on cpu; threads 1; looks 12,20,32): 0 SLOWER and 3 undecided in 60 "
        "verdicts on alexnet_narrow, batch 16; false alarms at most 4.9%, at 95%"
    )


def test_words_of_others_make_no_markup() -> None:
    hostile = numerics(NumericVerdict.DRIFTED, message="<img src=x>\n# a heading | [link](http://x)")
    text = markdown_text(report(hostile))
    assert r"\<img src=x\> # a heading \| \[link\](http://x)" in text
    assert "\n# a heading" not in text


def test_junit_has_a_test_for_every_cell_and_quantity() -> None:
    costs = speed(effect(SpeedVerdict.SLOWER), effect(SpeedVerdict.UNDECIDED, Quantity.IMPORT))
    skipped = effect(SpeedVerdict.SKIPPED, Quantity.MEMORY)
    whole = Report((run(DRIFTED, costs, speed(skipped, batch=1)),), missing=("a cell",))
    root = ElementTree.fromstring(junit_text(whole))
    told = {test.get("name"): [child.tag for child in test] for test in root.iter("testcase")}
    assert told == {
        "numerics": ["failure"],
        "steady state, batch 16": ["failure"],
        "import, batch 16": ["error"],
        "peak memory, batch 1": ["skipped"],
        "a cell": ["error"],
    }
    counts = [(suite.get("tests"), suite.get("failures"), suite.get("errors")) for suite in root]
    assert counts == [("4", "2", "1"), ("1", "0", "1")]
    assert [child.get("type") for child in root.iter("error")] == ["UNDECIDED", "missing"]


def test_junit_has_a_test_for_every_stale_entry() -> None:
    root = ElementTree.fromstring(junit_text(report(numerics(), entries=(entry_use(),))))
    (test,) = root.iterfind("testsuite[@name='accepted.toml']/testcase")
    assert (test.get("name"), [child.get("type") for child in test]) == ("entry 1", ["stale"])
