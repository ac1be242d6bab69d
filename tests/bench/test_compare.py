"""Two reports side by side: ratios, and reports that cannot be compared."""

import json
from pathlib import Path

import pytest

from bench.compare import compare
from bench.report import Report, write
from spec.exits import InputError
from tests.bench.synthetic import report, row, variant


def written(folder: Path, name: str, made: Report) -> Path:
    (path,) = write(made, folder / name, {})
    return path


def rounds(duration_s: float) -> list[tuple[float, ...]]:
    return [(duration_s * (1 + 0.001 * number), duration_s) for number in range(6)]


def test_slower_faster_and_missing_rows_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = report(row(variant(), 1, rounds(0.02)), row(variant("jax"), 1, rounds(0.02)))
    after = report(row(variant(), 1, rounds(0.03)), row(variant("onnx"), 1, rounds(0.02)))
    compare(written(tmp_path, "a", before), written(tmp_path, "b", after))
    out = capsys.readouterr().out
    assert "1.500" in out
    assert "slower" in out
    assert out.count("only in") == 2


def test_equal_reports_show_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = report(row(variant(), 1, rounds(0.02)))
    compare(written(tmp_path, "a", same), written(tmp_path, "b", same))
    assert "no difference seen" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ("[]", "expected a report of format lockstep-bench/1, found None"),
        ('{"lockstep": {"format": "lockstep-bench/9"}}', "found 'lockstep-bench/9'"),
    ],
)
def test_report_of_another_format_is_refused(tmp_path: Path, content: str, message: str) -> None:
    good = written(tmp_path, "a", report(row(variant(), 1, rounds(0.02))))
    bad = tmp_path / "bad.json"
    bad.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        compare(good, bad)


def test_report_of_another_network_is_refused(tmp_path: Path) -> None:
    good = written(tmp_path, "a", report(row(variant(), 1, rounds(0.02))))
    content = json.loads(good.read_text(encoding="utf-8"))
    content["lockstep"]["network"]["name"] = "other"
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match=r"expected the network of .*alexnet_narrow.*, found other"):
        compare(good, other)


def test_missing_report_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a readable report"):
        compare(tmp_path / "none.json", tmp_path / "none.json")
