"""`python -m conformance fuzz`: a right runner passes; what a wrong one fails is made small, saved, replayed first."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from conformance.fuzz import command
from conformance.fuzz.corpus import SHIPPED, entries
from conformance.fuzz.fields import KINDS
from conformance.fuzz.networks import random_network
from spec.exits import Exit, InputError, NotRunError

ROOT = Path(__file__).parents[3]
RIGHT = f"{sys.executable} -m conformance.power.wrong_runner"
#: Turns the images of a batch around in every operator that is named conv1.
WRONG = f"{RIGHT} batch_reversed"
SEED = next(seed for seed in range(100) if random_network(seed).graph[0].name == "conv1")


@pytest.fixture(autouse=True)
def _imports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def fuzz(folder: Path, runner: str, *arguments: str) -> tuple[Exit, dict[str, Any]]:
    words = ["--frameworks", "none", "--runner", f"mine={runner}", "--report", str(folder), *arguments]
    code = command.main(words)
    found: dict[str, Any] = json.loads((folder / "fuzz.json").read_text(encoding="utf-8"))
    return code, found


def test_a_right_runner_passes_networks_and_the_shipped_corpus(tmp_path: Path) -> None:
    code, found = fuzz(tmp_path, RIGHT, "--networks", "12", "--gradients")
    assert (code, found["verdict"], found["failures"]) == (Exit.PASSED, "passed", [])
    assert found["replayed"] == len(entries([SHIPPED])) > 0
    assert found["networks"] + sum(found["vacuous"].values()) == 12
    assert found["networks_per_minute"] > 0
    assert found["operators"].keys() == KINDS.keys()
    assert found["operators"]["conv"]["forward"]["mine"] > 0
    assert found["operators"]["conv"]["gradients"]["mine"] > 0
    text = (tmp_path / "fuzz.md").read_text(encoding="utf-8")
    assert "# Networks at random: passed" in text
    assert "| conv |" in text


def test_a_failure_is_made_small_saved_and_replayed_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none").mkdir()
    chosen = ("--networks", "1", "--seed", str(SEED), "--shrink", "60", "--replay", str(tmp_path / "none"))
    code, found = fuzz(tmp_path, WRONG, *chosen)
    (failure,) = found["failures"]
    assert (code, failure["seed"], failure["first"]["tap"]) == (Exit.DIVERGED, SEED, "conv1")
    assert len(failure["operators"]) < len(random_network(SEED).graph)
    assert failure["path"] in capsys.readouterr().out
    (saved,) = entries([tmp_path / "fuzz"])
    assert str(saved.case) == failure["case"]
    assert [operator.op for operator in saved.network.graph] == failure["operators"]

    code, found = fuzz(tmp_path, WRONG, "--networks", "0")
    assert code == Exit.DIVERGED
    assert str(saved.path) in [again["path"] for again in found["failures"] if again["seed"] is None]
    code, found = fuzz(tmp_path, RIGHT, "--networks", "0", "--replay", str(tmp_path / "fuzz"))
    assert (code, found["replayed"], found["failures"]) == (Exit.PASSED, 1, [])


def test_a_folder_that_is_not_there_ends_with_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder of specs, found none"):
        fuzz(tmp_path, RIGHT, "--replay", str(tmp_path / "none"))


def test_a_runner_that_does_not_start_ends_before_any_network(tmp_path: Path) -> None:
    with pytest.raises(NotRunError, match="mine: not_started"):
        fuzz(tmp_path, "/no/such/program", "--networks", "1")


@pytest.mark.parametrize("number", ["-1", "many", "1e3"])
def test_a_number_of_networks_that_is_none_is_refused(number: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a whole number"):
        fuzz(tmp_path, RIGHT, f"--networks={number}")
