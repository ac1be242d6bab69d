"""`python -m conformance fuzz`: a right runner passes; what a wrong one fails is made small, saved, replayed first."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conformance.fuzz import cases, command
from conformance.fuzz.cases import OracleError
from conformance.fuzz.corpus import SHIPPED, entries
from conformance.fuzz.fields import KINDS
from conformance.fuzz.networks import random_network
from conformance.results import Case, Check, Outcome, Result
from impls.frameworks import Variant
from spec.exits import Exit, InputError, NotRunError
from spec.network import Network

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


def spoiled(error: str, times: int, monkeypatch: pytest.MonkeyPatch) -> list[Result]:
    """The first result of the first so many networks says that the runner failed; which ones do."""
    real, errored = cases.check, list[Result]()

    def check(*given: Any) -> list[list[Result]]:
        (results,) = real(*given)
        if len(errored) < times:
            results[0] = replace(results[0], outcome=Outcome.ERRORED, error=error, message="no such operator here")
            errored.append(results[0])
        return [results]

    monkeypatch.setattr(command, "check", check)
    return errored


NOTHING = ("--networks", "3", "--seed", str(SEED), "--replay")


def test_what_a_framework_cannot_do_is_counted_and_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    errored = spoiled("unsupported", 2, monkeypatch)
    code, found = fuzz(tmp_path, RIGHT, *NOTHING, str(tmp_path / "none"))
    assert (code, found["failures"], len(errored)) == (Exit.PASSED, [], 2)
    assert found["unsupported"] == {"mine: no such operator here": 2}
    assert found["outcomes"]["skipped"] >= 2
    assert "- cannot be run, in 2 networks: mine: no such operator here" in (tmp_path / "fuzz.md").read_text()
    assert not (tmp_path / "fuzz").exists()


def test_a_worker_that_is_lost_once_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    errored = spoiled("crashed", 1, monkeypatch)
    code, found = fuzz(tmp_path, RIGHT, *NOTHING, str(tmp_path / "none"))
    assert (code, found["failures"], len(errored)) == (Exit.PASSED, [], 1)


def test_an_interrupted_run_reports_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "none").mkdir()
    real = random_network

    def interrupted(seed: int) -> Network:
        if seed == SEED + 2:
            raise KeyboardInterrupt
        return real(seed)

    monkeypatch.setattr(command, "random_network", interrupted)
    code, found = fuzz(tmp_path, RIGHT, *NOTHING, str(tmp_path / "none"))
    assert (code, found["verdict"], found["is_whole"]) == (Exit.NOT_RUN, "interrupted", False)
    assert found["networks"] + sum(found["vacuous"].values()) == 2


def test_an_answer_of_the_oracle_that_its_own_checks_reject_is_a_failure_of_that_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    real, calls = cases.showing_case, iter(range(100))

    def rejected(network: Network, case: Case, *more: Any) -> tuple[Case, str]:
        if next(calls) == 0:
            variant = Variant("oracle", "cpu", "float32", "eager", "native")
            failed = Result("net", variant, "0", str(case), "conv1", Check.LOCAL, Outcome.FAILED, message="off")
            raise OracleError(failed)
        return real(network, case, *more)

    monkeypatch.setattr(command, "showing_case", rejected)
    code, found = fuzz(tmp_path, RIGHT, *NOTHING, str(tmp_path / "none"))
    (failure,) = found["failures"]
    assert (code, failure["seed"], failure["first"]["framework"]) == (Exit.DIVERGED, SEED, "oracle")
    assert found["networks"] + sum(found["vacuous"].values()) == 2


def test_a_spec_that_needs_more_memory_than_there_is_is_refused_before_any_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=10 * 2**20))
    with pytest.raises(InputError, match="mean_of_65536 needs about"):
        fuzz(tmp_path, RIGHT, "--networks", "0")


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
