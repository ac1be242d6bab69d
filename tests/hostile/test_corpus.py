"""Every hostile case ends with exit code 2 and one line, soon and with little memory; nothing of it is executed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.hostile.case import CANARY, Hostile
from tests.hostile.corpus import CORPUS
from tests.hostile.sandbox import Ended

ROOT = Path(__file__).parents[2]

MOST_S = 2.0
MOST_BYTES = 500 * 2**20

Sandbox = Callable[[Path, Hostile], Ended]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with sandbox_of(sys.executable) as run:
        yield run


@contextmanager
def sandbox_of(python: str) -> Iterator[Sandbox]:
    """Runs a case in a child of a process of `python` that has imported the programs."""
    # One thread: a process that forks should have no other.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "tests.hostile.sandbox"]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        requests, answers = process.stdin, process.stdout
        assert requests is not None and answers is not None

        def run(folder: Path, case: Hostile) -> Ended:
            print(json.dumps([str(folder), case.program, case.arguments]), file=requests, flush=True)
            return Ended(**json.loads(answers.readline()))

        yield run
        requests.close()


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("case", CORPUS.values(), ids=CORPUS.keys())
def test_a_hostile_case_ends_with_one_line_soon_and_with_little_memory(
    sandbox: Sandbox, tmp_path: Path, case: Hostile
) -> None:
    assert_ends_with_one_line(sandbox, tmp_path, case)


def assert_ends_with_one_line(sandbox: Sandbox, tmp_path: Path, case: Hostile) -> None:
    case.leaves(tmp_path)
    before = files(tmp_path)
    ended = sandbox(tmp_path, case)
    assert (ended.code, ended.stdout) == (2, ""), ended.stderr
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert ended.stderr.startswith("error: ")
    assert ended.stderr[:-1].isprintable()
    assert case.says in ended.stderr
    assert len(ended.stderr) < 1000
    assert ended.cpu_s < MOST_S
    assert ended.peak_bytes < MOST_BYTES
    assert CANARY not in before
    assert files(tmp_path) == before
