"""docs/operators.md: what the code says, and what everyone can see in it."""

from pathlib import Path

import pytest

from conformance import operator_table
from impls.frameworks import FRAMEWORKS
from spec.exits import Exit
from spec.operators import OPERATORS


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the table under a heading, by operator."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.splitlines() if "|" in line]
    return {cell[0].strip("`"): cell[1:] for cell in cells[2:]}


def test_the_committed_table_is_that_of_the_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert operator_table.main(["--check"]) is Exit.PASSED, capsys.readouterr().out


def test_every_operator_has_what_each_framework_is_asked_for() -> None:
    native = rows(operator_table.text(), "Lowering `native`")
    assert len(native) == len(OPERATORS)
    assert all(len(cells) == len(FRAMEWORKS) and all(cells) for cells in native.values())
    assert native["conv"] == ["`nn.Conv2d`", "`lax.conv_general_dilated`", "`tf.nn.conv2d`, `tf.nn.bias_add`", "`Conv`"]
    assert native["lrn"][-1] == "`LRN`"
    assert rows(operator_table.text(), "Lowering `fast`")["lrn"][-1] == "`Mul`, `Conv`, `Sqrt`, `Div`"


def test_every_operator_has_the_caps_of_its_rules() -> None:
    judged = rows(operator_table.text(), "What is computed, and how far off it may be")
    assert {op: cells[1] for op, cells in judged.items() if cells[1] == "exact"}.keys() == {
        "relu",
        "max_pool",
        "flatten",
        "concat",
    }
    assert judged["conv"][1:] == ["noise: RMS 64, max 512"] * 2


def test_a_table_that_drifted_is_shown_and_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operator_table, "FILE", tmp_path / "operators.md")
    assert operator_table.main(["--check"]) is Exit.DIVERGED
    assert operator_table.main([]) is Exit.PASSED
    assert operator_table.main(["--check"]) is Exit.PASSED
    operator_table.FILE.write_text(operator_table.FILE.read_text(encoding="utf-8").replace("RMS 64", "RMS 65", 1))
    capsys.readouterr()
    assert operator_table.main(["--check"]) is Exit.DIVERGED
    assert "RMS 65" in capsys.readouterr().out
