"""What accepted changes make of verdicts: what an entry accepts, and that it does not outlive what it accepts."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gate.acceptance import Applied, of_numerics, of_speed
from gate.accepted import AcceptedCost, AcceptedDrift, Entry
from gate.drift import judge
from gate.results import Finding, Numerics, NumericVerdict, Quantity, Side, Sides, Speed, SpeedVerdict
from gate.verdict import Report, Run
from spec.exits import Exit
from tests.gate.findings import effect, speed
from tests.gate.reports import Change, at, both, noisier, reported

SIDES = Sides(
    "jax",
    Side("baseline", "jax==0.9.2", "", {"jax": "0.9.2", "jaxlib": "0.9.2"}),
    Side("candidate", "jax==0.10.2", "", {"jax": "0.10.2", "jaxlib": "0.10.2"}),
    (),
)
#: What entries of both kinds say.
SHARED = {
    "framework": "jax", "package": "jax", "before": ">=0.9,<0.10", "after": ">=0.10,<0.11", "reason": "known",
    "link": "https://example.org/1", "expires": date(2027, 2, 1),
}  # fmt: skip


def entry(**changes: Any) -> Entry:
    own = {"verdict": "drifted", "taps": ["conv*"]}
    return Entry(AcceptedDrift.model_validate(SHARED | own | changes), "accepted.toml:3")


def cost(**changes: Any) -> Entry:
    own = {"verdict": "SLOWER", "quantities": ["import"], "at_most": 0.15}
    return Entry(AcceptedCost.model_validate(SHARED | own | changes), "accepted.toml:3")


@pytest.fixture
def drift(tmp_path: Path) -> Any:
    def judged(change: Change) -> list[Numerics]:
        return judge(reported(tmp_path, name="before.json"), reported(tmp_path, change, "after.json"))

    return judged


DRIFTED = noisier("conv1", 2.0)
DIVERGED = at("norm1", outcome="failed", rms=1e5, worst=1e6, effective_bits=3.0, message="at [0] …")


def verdict(applied: Applied[Numerics]) -> str:
    (numerics,) = applied.found
    return str(numerics.verdict)


def whole(*applied: Applied[Any], is_part: bool = False) -> Report:
    """The report of cells that were run apart."""
    runs = []
    for own in applied:
        numbers = tuple(one for one in own.found if isinstance(one, Numerics))
        costs = tuple(one for one in own.found if isinstance(one, Speed))
        finding = Finding(SIDES, numbers, costs, None, {}, own.entries)
        runs.append(Run(finding, (), {}, "cpu", is_part=is_part))
    return Report(tuple(runs))


def stale(*applied: Applied[Any], is_part: bool = False) -> tuple[str, ...]:
    """What is stale of all of it."""
    return tuple(line for _, line in whole(*applied, is_part=is_part).stale)


# --- What an entry accepts -------------------------------------------------------------------------------------------


def test_a_drift_that_is_accepted_is_called_that_and_says_why_and_until_when(drift: Any) -> None:
    applied = of_numerics(drift(DRIFTED), SIDES, [entry()])
    (numerics,) = applied.found
    assert (numerics.verdict, stale(applied)) == (NumericVerdict.ACCEPTED, ())
    assert numerics.taps[0].message == "drifted, accepted until 2027-02-01: known (https://example.org/1)"
    assert "accepted until 2027-02-01: known (https://example.org/1)" in numerics.reason
    assert Finding(SIDES, applied.found, (), None, {}).exit is Exit.PASSED


def test_what_else_is_wrong_stays_so(drift: Any) -> None:
    applied = of_numerics(drift(both(DRIFTED, DIVERGED)), SIDES, [entry()])
    (numerics,) = applied.found
    assert numerics.verdict is NumericVerdict.DIVERGED
    assert [tap.verdict for tap in numerics.taps[:2]] == [NumericVerdict.ACCEPTED, NumericVerdict.DIVERGED]


def test_two_entries_accept_what_each_is_about(drift: Any) -> None:
    applied = of_numerics(drift(both(DRIFTED, DIVERGED)), SIDES, [entry(), entry(taps=["norm1"], verdict="diverged")])
    (numerics,) = applied.found
    assert (numerics.verdict, stale(applied)) == (NumericVerdict.ACCEPTED, ())
    assert [str(tap.verdict) for tap in numerics.taps[:3]] == ["accepted", "accepted", "identical"]
    assert numerics.taps[1].message.startswith("diverged, accepted until 2027-02-01: known")
    assert "at [0] …" in numerics.taps[1].message


@pytest.mark.parametrize(
    "changes",
    [
        {"framework": "torch"},
        {"package": "numpy"},
        {"before": "<0.9"},
        {"after": ">=0.11"},
        {"networks": ["alexnet"]},
        {"lowerings": ["fast"]},
    ],
    ids=str,
)
def test_an_entry_about_another_upgrade_accepts_nothing_and_is_not_stale(drift: Any, changes: dict[str, Any]) -> None:
    applied = of_numerics(drift(DRIFTED), SIDES, [entry(**changes)])
    assert (verdict(applied), stale(applied)) == ("drifted", ())


# --- What accepts nothing any more -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"taps": ["norm*"]}, {"verdict": "diverged"}], ids=str)
def test_an_entry_about_this_upgrade_that_accepts_nothing_is_stale_and_fails_the_gate(
    drift: Any, changes: dict[str, Any]
) -> None:
    applied = of_numerics(drift(noisier("conv1", 1.1)), SIDES, [entry(**changes)])
    (line,) = stale(applied)
    assert line.startswith("accepted.toml:3: expected ")
    assert "from jax 0.9.2 to 0.10.2, found none; remove the entry" in line
    assert verdict(applied) == "benign"
    assert whole(applied).exit is Exit.DIVERGED


def test_an_entry_is_not_stale_where_only_one_of_the_networks_shows_the_change(drift: Any) -> None:
    (shows,), (same,) = drift(DRIFTED), drift(noisier("conv1", 1.1))
    applied = of_numerics([shows, same], SIDES, [entry()])
    assert ([str(own.verdict) for own in applied.found], stale(applied)) == (["accepted", "benign"], ())


def test_an_entry_is_not_stale_where_a_side_could_not_be_run(drift: Any) -> None:
    (numerics,) = drift(DRIFTED)
    errored = replace(numerics, verdict=NumericVerdict.ERRORED, taps=(), first_moved=None)
    applied = of_numerics([errored], SIDES, [entry()])
    assert (applied.found, stale(applied)) == ((errored,), ())
    (same,) = drift(noisier("conv1", 1.1))
    assert stale(of_numerics([errored, same], SIDES, [entry()])) == ()


# --- Of cells that were run apart ------------------------------------------------------------------------------------


def test_an_entry_that_one_cell_needs_is_not_stale_because_another_does_not(drift: Any) -> None:
    shows = of_numerics(drift(DRIFTED), SIDES, [entry()])
    same = of_numerics([replace(drift(noisier("conv1", 1.1))[0], network="another")], SIDES, [entry()])
    assert (stale(shows, same), whole(shows, same).exit) == ((), Exit.PASSED)
    slower, fine = (of_speed([imported(own)], SIDES, [cost()]) for own in (SpeedVerdict.SLOWER, SpeedVerdict.OK))
    assert (stale(slower, fine), whole(slower, fine).exit) == ((), Exit.PASSED)


def test_an_entry_that_no_cell_needs_is_stale_once_all_are_there(drift: Any) -> None:
    same = of_numerics(drift(noisier("conv1", 1.1)), SIDES, [entry()])
    another = replace(same, found=(replace(same.found[0], network="another"),))
    assert len(stale(same, another)) == 1
    assert (stale(same, is_part=True), whole(same, is_part=True).exit) == ((), Exit.PASSED)
    assert len(stale(same, another, is_part=True)) == 1
    incomplete = replace(whole(same, another), missing=("a third",))
    assert (incomplete.stale, incomplete.exit) == ([], Exit.NOT_RUN)


def test_a_run_without_a_network_that_an_entry_names_cannot_call_it_stale(drift: Any) -> None:
    same = drift(noisier("conv1", 1.1))
    assert len(stale(of_numerics(same, SIDES, [entry(networks=["small"])]))) == 1
    assert stale(of_numerics(same, SIDES, [entry(networks=["small", "another"])])) == ()


# --- Costs -----------------------------------------------------------------------------------------------------------


def imported(verdict: SpeedVerdict = SpeedVerdict.SLOWER, estimate: float = 1.12, batch: int = 16) -> Speed:
    """A cell whose import has the verdict, and whose steady state is as it was."""
    own = effect(verdict, Quantity.IMPORT, estimate=estimate, reason="confirmed: twice")
    return speed(effect(), own, batch=batch)


def costs(*speed: Speed, entries: tuple[Entry, ...]) -> tuple[list[list[str]], tuple[str, ...]]:
    """The verdicts of each cell, and what is stale."""
    applied = of_speed(speed, SIDES, entries)
    return [[str(own.verdict) for own in cell.effects] for cell in applied.found], stale(applied)


def test_a_cost_that_is_accepted_is_called_that_and_says_why_until_when_and_how_far() -> None:
    applied = of_speed([imported()], SIDES, [cost()])
    (cell,) = applied.found
    assert [own.verdict for own in cell.effects] == [SpeedVerdict.OK, SpeedVerdict.ACCEPTED]
    says = "SLOWER, up to +15.0% accepted until 2027-02-01: known (https://example.org/1); confirmed: twice"
    assert cell.effects[1].reason == says
    assert Finding(SIDES, (), applied.found, None, {}).exit is Exit.PASSED


def test_a_cost_that_grew_further_than_is_accepted_is_slower() -> None:
    applied = of_speed([imported(estimate=1.16)], SIDES, [cost()])
    (cell,) = applied.found
    assert (cell.effects[1].verdict, stale(applied)) == (SpeedVerdict.SLOWER, ())
    assert cell.effects[1].reason == "more than the +15.0% that accepted.toml:3 accepts; confirmed: twice"
    assert Finding(SIDES, (), applied.found, None, {}).exit is Exit.DIVERGED


@pytest.mark.parametrize(
    "changes",
    [
        {"quantities": ["steady state"], "batches": [1]},
        {"batches": [1]},
        {"networks": ["caffenet"]},
        {"after": "<0.10"},
    ],
    ids=str,
)
def test_an_entry_about_another_cost_accepts_nothing_and_is_not_stale(changes: dict[str, Any]) -> None:
    assert costs(imported(), entries=(cost(**changes),)) == ([["OK", "SLOWER"]], ())


@pytest.mark.parametrize("verdict", [SpeedVerdict.OK, SpeedVerdict.FASTER, SpeedVerdict.VOID])
def test_an_entry_about_a_cost_that_is_known_not_to_have_grown_is_stale(verdict: SpeedVerdict) -> None:
    applied = of_speed([imported(verdict)], SIDES, [cost()])
    line = "accepted.toml:3: expected SLOWER at import from jax 0.9.2 to 0.10.2, found none; remove the entry"
    assert stale(applied) == (line,)
    assert whole(applied).exit is Exit.DIVERGED


@pytest.mark.parametrize("verdict", [SpeedVerdict.UNDECIDED, SpeedVerdict.ERRORED, SpeedVerdict.SKIPPED])
def test_an_entry_about_a_cost_that_nobody_knows_is_not_stale(verdict: SpeedVerdict) -> None:
    assert costs(imported(verdict), entries=(cost(),)) == ([["OK", str(verdict)]], ())


def test_an_entry_is_not_stale_where_only_one_batch_is_slower() -> None:
    found = costs(imported(SpeedVerdict.OK), imported(batch=1), entries=(cost(),))
    assert found == ([["OK", "OK"], ["OK", "accepted"]], ())


def test_entries_of_one_kind_leave_the_other_alone(drift: Any) -> None:
    assert costs(imported(), entries=(entry(),)) == ([["OK", "SLOWER"]], ())
    assert verdict(of_numerics(drift(DRIFTED), SIDES, [cost()])) == "drifted"
