"""Training in each framework, in the environment of its pins: stopped and resumed it ends with the same bits."""

from pathlib import Path

import pytest

from conformance.lane import OUT_OF_SCOPE
from conformance.train import command
from impls.environments import interpreter
from impls.frameworks import FRAMEWORKS
from spec.exits import Exit
from tests.conformance.train.specs import TINY
from tests.conformance.train.test_command import assert_bit_identical


@pytest.mark.parametrize("framework", [name for name in FRAMEWORKS if name not in OUT_OF_SCOPE])
def test_a_framework_that_is_stopped_and_resumed_ends_with_the_same_bits(
    framework: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(TINY, encoding="utf-8")
    python = f"{framework}={interpreter(framework, print)}"
    options = ["--spec", "tiny.yaml", "--frameworks", framework, "--python", python, "--at-most", "50"]
    checkpoint = Path("checkpoints", f"tiny-{framework}.safetensors")
    assert command.main([*options, "--report", "whole"]) is Exit.PASSED
    assert command.main([*options, "--report", "stopped", "--epochs", "2"]) is Exit.PASSED
    assert command.main([*options, "--report", "stopped", "--resume"]) is Exit.PASSED
    assert_bit_identical("whole" / checkpoint, "stopped" / checkpoint)
