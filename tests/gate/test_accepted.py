"""Changes accepted on purpose: what an entry accepts, that it does not outlive what it accepts, and its day."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from gate.accepted import FILE, Accepted, Applied, Entry, apply, entries
from gate.drift import judge
from gate.results import Finding, Numerics, NumericVerdict, Side, Sides
from spec.exits import Exit, InputError
from tests.gate.reports import Change, at, both, noisier, reported

TODAY = date(2027, 1, 31)
SIDES = Sides(
    "jax",
    Side("baseline", "jax==0.9.2", "", {"jax": "0.9.2", "jaxlib": "0.9.2"}),
    Side("candidate", "jax==0.10.2", "", {"jax": "0.10.2", "jaxlib": "0.10.2"}),
    (),
)
TEXT = """# What we know.

[[accepted]]
framework = "jax"
package = "jax"
before = ">=0.9,<0.10"
after = ">=0.10,<0.11"
networks = ["small"]
taps = ["conv*"]
verdict = "drifted"
reason = "XLA sums in one sequence there, and says so"
link = "https://example.org/1"
expires = 2027-02-01
"""


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "accepted.toml"
    path.write_text(text, encoding="utf-8")
    return path


def entry(**changes: Any) -> Entry:
    values = {
        "framework": "jax", "package": "jax", "before": ">=0.9,<0.10", "after": ">=0.10,<0.11", "taps": ["conv*"],
        "verdict": "drifted", "reason": "known", "link": "https://example.org/1", "expires": date(2027, 2, 1),
    }  # fmt: skip
    return Entry(Accepted.model_validate(values | changes), "accepted.toml:3")


@pytest.fixture
def drift(tmp_path: Path) -> Any:
    def judged(change: Change) -> list[Numerics]:
        return judge(reported(tmp_path, name="before.json"), reported(tmp_path, change, "after.json"))

    return judged


DRIFTED = noisier("conv1", 2.0)
DIVERGED = at("norm1", outcome="failed", rms=1e5, worst=1e6, effective_bits=3.0, message="at [0] …")


def verdict(applied: Applied) -> str:
    (numerics,) = applied.numerics
    return str(numerics.verdict)


# --- What an entry accepts -------------------------------------------------------------------------------------------


def test_a_drift_that_is_accepted_is_called_that_and_says_why_and_until_when(drift: Any) -> None:
    applied = apply(drift(DRIFTED), SIDES, [entry()])
    (numerics,) = applied.numerics
    assert (numerics.verdict, applied.stale) == (NumericVerdict.ACCEPTED, ())
    assert numerics.taps[0].message == "drifted, accepted until 2027-02-01: known (https://example.org/1)"
    assert "accepted until 2027-02-01: known (https://example.org/1)" in numerics.reason
    assert Finding(SIDES, applied.numerics, (), None, {}).exit is Exit.PASSED


def test_what_else_is_wrong_stays_so(drift: Any) -> None:
    applied = apply(drift(both(DRIFTED, DIVERGED)), SIDES, [entry()])
    (numerics,) = applied.numerics
    assert numerics.verdict is NumericVerdict.DIVERGED
    assert [tap.verdict for tap in numerics.taps[:2]] == [NumericVerdict.ACCEPTED, NumericVerdict.DIVERGED]


def test_two_entries_accept_what_each_is_about(drift: Any) -> None:
    applied = apply(drift(both(DRIFTED, DIVERGED)), SIDES, [entry(), entry(taps=["norm1"], verdict="diverged")])
    (numerics,) = applied.numerics
    assert (numerics.verdict, applied.stale) == (NumericVerdict.ACCEPTED, ())
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
    applied = apply(drift(DRIFTED), SIDES, [entry(**changes)])
    assert (verdict(applied), applied.stale) == ("drifted", ())


# --- What accepts nothing any more -----------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [{"taps": ["norm*"]}, {"verdict": "diverged"}], ids=str)
def test_an_entry_about_this_upgrade_that_accepts_nothing_is_stale_and_fails_the_gate(
    drift: Any, changes: dict[str, Any]
) -> None:
    applied = apply(drift(noisier("conv1", 1.1)), SIDES, [entry(**changes)])
    (line,) = applied.stale
    assert line.startswith("accepted.toml:3: expected ")
    assert "from jax 0.9.2 to 0.10.2, found none; remove the entry" in line
    assert verdict(applied) == "benign"
    assert Finding(SIDES, applied.numerics, (), None, {}, applied.stale).exit is Exit.DIVERGED


def test_an_entry_is_not_stale_where_only_one_of_the_networks_shows_the_change(drift: Any) -> None:
    (shows,), (same,) = drift(DRIFTED), drift(noisier("conv1", 1.1))
    applied = apply([shows, same], SIDES, [entry()])
    assert ([str(own.verdict) for own in applied.numerics], applied.stale) == (["accepted", "benign"], ())


def test_an_entry_is_not_stale_where_a_side_could_not_be_run(drift: Any) -> None:
    (numerics,) = drift(DRIFTED)
    errored = replace(numerics, verdict=NumericVerdict.ERRORED, taps=(), first_moved=None)
    assert apply([errored], SIDES, [entry()]) == Applied((errored,), ())


# --- The file --------------------------------------------------------------------------------------------------------


def test_a_file_is_read_with_the_lines_of_its_entries(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT + TEXT)
    assert [own.place for own in entries(TODAY, path)] == [f"{path}:3", f"{path}:16"]
    assert entries(TODAY, path)[0].accepted.taps == ("conv*",)


@pytest.mark.parametrize(("today", "holds"), [("2027-01-31", True), ("2027-02-01", False), ("2028-01-01", False)])
def test_an_entry_fails_from_its_day_on_with_its_place(tmp_path: Path, today: str, holds: bool) -> None:
    path = written(tmp_path)
    if holds:
        assert entries(date.fromisoformat(today), path)
        return
    with pytest.raises(InputError) as error:
        entries(date.fromisoformat(today), path)
    assert str(error.value).startswith(f"{path}:3: expected an entry that holds on {today}, found one that expired")


#: What stands in place of what, and what the one line says beside the entry's place.
WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "no reason": ('reason = "XLA sums in one sequence there, and says so"\n', "", ("reason", "nothing")),
    "no link": ('link = "https://example.org/1"\n', "", ("link", "nothing")),
    "no expiry": ("expires = 2027-02-01\n", "", ("expires", "nothing")),
    "a link that is none": ('"https://example.org/1"', '"see chat"', ("link", "see chat")),
    "an expiry that is no day": ("2027-02-01", '"next year"', ("expires", "next year")),
    "an unknown key": ('package = "jax"', 'package = "jax"\ntolerance = 1', ("tolerance",)),
    "an unknown framework": ('framework = "jax"', 'framework = "mxnet"', ("framework", "mxnet")),
    "a verdict that needs no acceptance": ('"drifted"', '"benign"', ("verdict", "benign")),
    "a bound that is none": ('">=0.9,<0.10"', '"0.9"', ("before", "0.9")),
    "a bound that all versions satisfy": ('">=0.9,<0.10"', '""', ("before", "every version")),
    "no taps": ('["conv*"]', "[]", ("taps",)),
}


@pytest.mark.parametrize(("right", "wrong", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_entry_is_one_line_with_its_place(
    tmp_path: Path, right: str, wrong: str, says: tuple[str, ...]
) -> None:
    assert right in TEXT
    path = written(tmp_path, TEXT.replace(right, wrong))
    with pytest.raises(InputError) as error:
        entries(TODAY, path)
    for part in (f"{path}:3: ", *says):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [("[[accepted]\n", "expected TOML"), ("[[acepted]]\n", "'acepted'"), ("accepted = 1\n", "'accepted'")],
)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        entries(TODAY, written(tmp_path, text))
    with pytest.raises(InputError, match="No such file"):
        entries(TODAY, tmp_path / "none.toml")


def test_the_file_that_comes_with_lockstep_is_right_and_its_example_too(tmp_path: Path) -> None:
    for own in entries(date.min, FILE):
        assert len(own.accepted.reason) > 20
        assert own.accepted.link.startswith("https://")
    lines = FILE.read_text(encoding="utf-8").splitlines()
    start = lines.index("# [[accepted]]")
    example = "\n".join(line.removeprefix("# ") for line in lines[start:])
    (found,) = entries(date(2026, 1, 1), written(tmp_path, example.replace("https://…", "https://example.org")))
    assert found.accepted.taps == ("conv3", "fc*")
