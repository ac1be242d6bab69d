"""Hostile ONNX files: one line and exit code 2, soon and with little memory, in the environment of onnx."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from impls.environments import interpreter
from tests.hostile import onnx_cases
from tests.hostile.case import Hostile
from tests.hostile.test_corpus import Sandbox, assert_ends_with_one_line, sandbox_of


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandbox_of(str(interpreter("onnx", print))) as run:
        yield run


@pytest.mark.parametrize("case", onnx_cases.CASES.values(), ids=onnx_cases.CASES.keys())
def test_a_hostile_model_ends_with_one_line_soon_and_with_little_memory(
    sandbox: Sandbox, tmp_path: Path, case: Hostile
) -> None:
    assert_ends_with_one_line(sandbox, tmp_path, case)


def test_a_model_written_so_is_read_where_nothing_is_wrong(sandbox: Sandbox, tmp_path: Path) -> None:
    """What is hostile in a case is its one lie, not how it was written."""
    right = onnx_cases.content(onnx_cases.RIGHT, "")
    right.leaves(tmp_path)
    ended = sandbox(tmp_path, right)
    assert (ended.code, ended.stderr) == (0, "")
