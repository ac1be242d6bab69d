"""A journal gives back what was put into it; what is damaged it does not believe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from spec.journal import Journal

RUN = {"code": "a1", "versions": {"torch": "2"}}
ENTRIES: Mapping[str, Any] = {
    "drop6 torch": {"first": None, "s": 0.1},
    "drop7 torch": {"alarm": "", "rejected_by": {"taps": True}},
    "0": [1, 2.5, "é"],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    kept = Journal(tmp_path / "some.jsonl", RUN)
    for name, entry in ENTRIES.items():
        kept.put(name, entry)
    return tmp_path / "some.jsonl"


def read(path: Path) -> dict[str, Any]:
    kept = Journal(path, RUN)
    return {name: kept.get(name) for name in ENTRIES}


def test_what_was_put_is_read_again_by_the_same_run_alone(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert read(path) == ENTRIES
    assert Journal(path, {"code": "b2"}).get("0") is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("first", [0, 3])
def test_no_flipped_bit_is_believed(path: Path, first: int) -> None:
    """At every byte: at most two lines are lost (a line end that is none any more), and nothing else is read."""
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << (first + place) % 8]) + whole[place + 1 :])
        found = read(path)
        wrong = {name: entry for name, entry in found.items() if entry not in (None, ENTRIES[name])}
        assert not wrong, (place, wrong)
        assert sum(entry is None for entry in found.values()) <= 2, place


def test_what_is_damaged_is_said_once_and_kept_anew(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = path.read_text().replace("alarm", "alarl") + '{"run": "cut'
    path.write_text(text)
    assert read(path) == dict(ENTRIES) | {"drop7 torch": None}
    assert "2 lines that are cut off or damaged" in capsys.readouterr().err
    Journal(path, RUN).put("drop7 torch", ENTRIES["drop7 torch"])
    assert read(path) == ENTRIES
    assert capsys.readouterr().err == ""
