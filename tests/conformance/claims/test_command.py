"""`python -m conformance claims` as users run it, on a worker that trains in NumPy."""

import json
from pathlib import Path

import pytest

from conformance.claims import command, speed
from spec.exits import Exit, InputError
from tests.conformance.train.specs import TINY, changed
from tests.conformance.train.test_command import stand_in

LRN = "{name: norm1, op: lrn, n: 3, k: 2.0, alpha: 1.0e-4, alpha_convention: sum, beta: 0.75, scope: whole}"
POOL = "{name: pool1, op: max_pool, kernel: 3, stride: 2, pads: 0, rounding: floor}"
#: The tiny network with everything that a claim is about.
WHOLE = changed(
    ("shape: [1, 7, 7]", "shape: [1, 11, 11]"),
    ("  - {name: flatten,", f"  - {LRN}\n  - {POOL}\n  - {{name: flatten,"),
    ("in_features: 36", "in_features: 16"),
    ("conv1: [4, 3, 3]", "conv1: [4, 5, 5]"),
    ("relu1: [4, 3, 3]", "relu1: [4, 5, 5]\n    norm1: [4, 5, 5]\n    pool1: [4, 2, 2]"),
    ("flatten: [36]", "flatten: [16]"),
    ("parameters: 1178", "parameters: 698"),
    ("macs: 1428", "macs: 1524"),
    ("neurons: 70", "neurons: 134"),
    ("shorter_side: 8", "shorter_side: 12"),
    ("centre_crop: 8", "centre_crop: 12"),
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "whole.yaml").write_text(WHOLE, encoding="utf-8")
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCKSTEP_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_every_claim_is_reported_with_a_pair_a_seed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "RATE_FACTORS", (1.0,))
    monkeypatch.setattr(speed, "FIRST_FACTORS", (1.0,))
    monkeypatch.setattr(speed, "TARGET_PERCENT", 60.0)
    options = ["--spec", "whole.yaml", "--seeds", "1", "--epochs", "2", "--docs", "docs/claims.md", *stand_in()]
    assert command.main(options) is Exit.PASSED
    report = json.loads(Path("reports", "claims.json").read_text(encoding="utf-8"))
    assert (report["format"], report["seeds"], report["epochs"]) == ("lockstep-claims/1", [0], 2)
    measures = [(finding["section"], finding["measure"]) for finding in report["findings"]]
    errors = [(section, measure) for section in ("§3.3", "§3.4", "§4.2") for measure in ("test error, %", "test loss")]
    assert measures == [*errors, ("§3.1", "steps to 60% training error")]
    assert all(len(finding["papers"]) == len(finding["others"]) == 1 for finding in report["findings"])
    # A side is not compared with itself: every other network has a loss of its own.
    assert all(finding["differences"] != [0.0] for finding in report["findings"] if finding["measure"] == "test loss")
    text = Path("reports", "claims.md").read_text(encoding="utf-8")
    assert text == Path("docs", "claims.md").read_text(encoding="utf-8")
    assert "Made by `python -m conformance claims --spec whole.yaml --seeds 1 --epochs 2`" in text


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--framework", "onnx"], "'onnx'"),
        (["--seeds", "0"], "found '0'"),
        (["--spec", "tiny.yaml", *stand_in()], "tiny: expected an operator 'lrn', found none"),
        ([*stand_in(), *stand_in(name="other")], "--runner: expected one, found 2"),
    ],
)
def test_wrong_options_are_refused(place: Path, options: list[str], says: str) -> None:
    with pytest.raises(InputError) as raised:
        command.main(options)
    assert says in str(raised.value)
    assert not Path("reports").exists()
