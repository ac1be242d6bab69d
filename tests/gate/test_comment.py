"""A report that is too long for a comment is cut between lines, and reads as well as a whole one."""

import subprocess
import sys
from pathlib import Path

import pytest

from gate.comment import CUT, MOST, fitted, main
from gate.markdown import markdown_text
from gate.results import NumericVerdict
from gate.verdict import Report
from spec.exits import InputError
from tests.gate.findings import numerics, run

ROOT = Path(__file__).parents[2]


def test_a_report_that_fits_stays_as_it_is() -> None:
    text = "# ✅\n" + "→" * (MOST - 4)
    assert len(text) == MOST
    assert fitted(text) == text


def test_a_table_is_cut_between_rows_and_characters_stay_whole() -> None:
    row = "| conv1 → conv2 | 21.4 |\n"
    text = "# ✅\n\n| tap | bits |\n|---|---|\n" + 4000 * row
    found = fitted(text)
    assert MOST - 2 * len(row) < len(found) <= MOST
    *rows, blank, cut = found.splitlines()
    assert (blank, cut) == ("", CUT)
    assert set(rows[4:]) == {row.strip()}
    assert text.startswith("\n".join(rows))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<details><summary>Taps</summary>\n\n| a |\n", ["</details>", "", CUT]),
        ("- to accept it:\n\n    ```toml\n    [[accepted]]\n", ["    ```", "", CUT]),
        ("```\n<details>\n", ["```", "", CUT]),
        ("<details>\n\n```\nx\n```\n\n</details>\n", ["", CUT]),
    ],
)
def test_what_is_open_at_the_cut_is_closed(before: str, after: list[str]) -> None:
    found = fitted(before + 300 * "| a row |\n", most=1000)
    assert len(found) <= 1000
    assert found.splitlines()[-len(after) :] == after
    assert found.splitlines()[-len(after) - 1] == "| a row |"


def test_a_line_that_is_longer_than_any_comment_leaves_the_word_that_it_was_cut() -> None:
    assert fitted(2 * MOST * "x").split() == CUT.split()


def test_a_report_of_many_cells_fits_with_its_verdict_first() -> None:
    cells = [run(numerics(NumericVerdict.DRIFTED, network=f"network{number}")) for number in range(100)]
    whole = markdown_text(Report(tuple(cells)))
    assert len(whole) > MOST
    found = fitted(whole)
    assert found.startswith("# ❌ Gate failed")
    assert found.count("<details>") == found.count("</details>")
    assert found.count("```") % 2 == 0


def test_it_runs_as_a_program(tmp_path: Path) -> None:
    (tmp_path / "gate.md").write_text("| table |\n", encoding="utf-8")
    command = [sys.executable, "-m", "gate.comment", str(tmp_path / "gate.md")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "| table |\n")


def test_what_is_no_report_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.md: expected a report, found: No such file"):
        main([str(tmp_path / "none.md")])
    (tmp_path / "bytes.md").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"bytes\.md: expected UTF-8"):
        main([str(tmp_path / "bytes.md")])
