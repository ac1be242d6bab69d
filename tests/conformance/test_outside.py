"""The lane of networks that nobody here wrote: what it asks the suite for. It runs by `nox -s outside` alone."""

import os
import sys
from pathlib import Path

import pytest

from conformance.outside import __main__ as outside
from spec.exits import Exit, InputError
from spec.load import shipped

ROOT = Path(__file__).parents[2]


def test_every_runner_is_a_program_for_a_shipped_network() -> None:
    assert outside.RUNNERS.keys() <= shipped().keys()
    for programs in outside.RUNNERS.values():
        for program in programs.values():
            assert (ROOT / program.split()[0].replace(".", "/")).with_suffix(".py").is_file()


def test_each_network_has_its_runners_and_the_worst_exit_code_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[list[str]] = []

    def conform(arguments: list[str]) -> Exit:
        asked.append(arguments)
        return Exit.DIVERGED if "alexnet" in arguments else Exit.PASSED

    monkeypatch.setattr(outside, "conform", conform)
    words = ["--networks", "alexnet,vgg11", "--outside-python", sys.executable, "--report", str(tmp_path)]
    assert outside.main([*words, "--batch", "3"]) is Exit.DIVERGED
    first, second = asked
    assert [word.partition("=")[2].split()[0].split("=")[0] for word in first if word.startswith("--runner")] == [
        "keras_torch",
        "keras_jax",
        "keras_tensorflow",
    ]
    assert f"--runner=torchvision={sys.executable} -m conformance.outside.run_torchvision" in second
    assert second[-4:] == ["--report", str(tmp_path / "vgg11"), "--batch", "3"]


def test_an_interpreter_that_is_none_is_named() -> None:
    with pytest.raises(InputError, match="--outside-python: expected an interpreter, found none at '/no/such'"):
        outside.main(["--outside-python", "/no/such"])


def test_wheels_of_one_machine_are_left_aside_while_the_environment_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    monkeypatch.setattr(outside, "make", lambda *_: Path(os.environ.get("PIP_FIND_LINKS", "none")))
    assert outside._made() == "none"
    assert os.environ["PIP_FIND_LINKS"] == "wheels"
