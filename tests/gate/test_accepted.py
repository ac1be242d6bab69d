"""The file of accepted changes: what an entry must say, and its day."""

from datetime import date
from pathlib import Path

import pytest

from gate.accepted import FILE, AcceptedCost, AcceptedDrift, entries
from spec.exits import InputError

TODAY = date(2027, 1, 31)
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
COST = TEXT.replace('taps = ["conv*"]', 'quantities = ["import", "peak memory"]\nat_most = 0.15').replace(
    "drifted", "SLOWER"
)


def written(folder: Path, text: str = TEXT) -> Path:
    path = folder / "accepted.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_with_the_lines_of_its_entries(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT + TEXT)
    assert [own.place for own in entries(TODAY, path)] == [f"{path}:3", f"{path}:16"]
    own = entries(TODAY, path)[0].accepted
    assert isinstance(own, AcceptedDrift)
    assert own.taps == ("conv*",)


def test_an_entry_about_costs_says_which_and_how_far_they_may_grow(tmp_path: Path) -> None:
    (entry,) = entries(TODAY, written(tmp_path, COST))
    own = entry.accepted
    assert isinstance(own, AcceptedCost)
    assert (own.quantities, own.batches, own.at_most) == (("import", "peak memory"), (), 0.15)


@pytest.mark.parametrize(("today", "holds"), [("2027-01-31", True), ("2027-02-01", False), ("2028-01-01", False)])
def test_an_entry_fails_from_its_day_on_with_its_place(tmp_path: Path, today: str, holds: bool) -> None:
    path = written(tmp_path)
    if holds:
        assert entries(date.fromisoformat(today), path)
        return
    with pytest.raises(InputError) as error:
        entries(date.fromisoformat(today), path)
    assert str(error.value).startswith(f"{path}:3: expected an entry that holds on {today}, found one that expired")


@pytest.mark.parametrize(("expires", "holds"), [("2028-02-01", True), ("2028-02-02", False), ("2127-02-01", False)])
def test_an_entry_ends_within_366_days(tmp_path: Path, expires: str, holds: bool) -> None:
    path = written(tmp_path, TEXT.replace("2027-02-01", expires))
    if holds:
        assert entries(TODAY, path)
        return
    with pytest.raises(InputError) as error:
        entries(TODAY, path)
    says = f"{path}:3: expires: expected a day at most 366 days away, 2028-02-01, found {expires}"
    assert str(error.value).startswith(says)


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
    "costs of numbers": ('taps = ["conv*"]', 'taps = ["conv*"]\nat_most = 0.1', ("at_most",)),
    "a verdict of another kind": ('"drifted"', '"SLOWER"', ("quantities", "nothing")),
    "no verdict": ('verdict = "drifted"\n', "", ("verdict", "nothing")),
    "a verdict that is no word": ('"drifted"', '["drifted"]', ("verdict", "drifted")),
}
WRONG_COST: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "an unknown cost": ('"import"', '"energy"', ("quantities.0", "energy")),
    "no cost": ('["import", "peak memory"]', "[]", ("quantities",)),
    "no bound": ("at_most = 0.15\n", "", ("at_most", "nothing")),
    "a bound of nothing": ("0.15", "0.0", ("at_most", "0.0")),
    "a bound that is none": ("0.15", "inf", ("at_most", "inf")),
    "taps of costs": ("at_most = 0.15", 'at_most = 0.15\ntaps = ["conv*"]', ("taps",)),
    "a batch of nothing": ("at_most = 0.15", "at_most = 0.15\nbatches = [0]", ("batches.0",)),
}


@pytest.mark.parametrize(
    ("text", "right", "wrong", "says"),
    [(TEXT, *case) for case in WRONG.values()] + [(COST, *case) for case in WRONG_COST.values()],
    ids=[*WRONG, *WRONG_COST],
)
def test_a_wrong_entry_is_one_line_with_its_place(
    tmp_path: Path, text: str, right: str, wrong: str, says: tuple[str, ...]
) -> None:
    assert right in text
    path = written(tmp_path, text.replace(right, wrong))
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


def test_the_file_that_comes_with_lockstep_holds_and_its_examples_do_too(tmp_path: Path) -> None:
    for own in entries(date.today(), FILE):
        assert len(own.accepted.reason) > 20
        assert own.accepted.link.startswith("https://")
    lines = [line.removeprefix("# ") for line in FILE.read_text(encoding="utf-8").splitlines()]
    start, end = (
        lines.index("[[accepted]]"),
        lines.index("Costs that grew have these in the place of taps and verdict:"),
    )
    drift = "\n".join(lines[start:end]).rstrip("#\n").replace("https://…", "https://example.org")
    of_drift = [line for line in drift.splitlines() if line.startswith(("taps", "verdict"))]
    cost = "\n".join([*(line for line in drift.splitlines() if line not in of_drift), *lines[end + 2 :]])
    first, second = entries(date(2026, 7, 1), written(tmp_path, f"{drift}\n{cost}\n"))
    assert isinstance(first.accepted, AcceptedDrift) and first.accepted.taps == ("conv3", "fc*")
    assert isinstance(second.accepted, AcceptedCost) and second.accepted.at_most == 0.15
