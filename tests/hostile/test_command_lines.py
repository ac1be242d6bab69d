"""The dearest of the hostile cases, and those with code in them, through every program's real command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hostile.case import Hostile
from tests.hostile.corpus import CORPUS
from tests.hostile.test_corpus import MOST_BYTES, MOST_S

ROOT = Path(__file__).parents[2]
#: Processors that other tests share compute slower; alone every one of these ends within MOST_S, imports included.
BUSY_S = 1.0

_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024

#: A case, the program, and the words before the spec.
DEAREST: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("yaml: 45,000 unknown keys", "spec", ("check",)),
    ("yaml: a flow of mappings", "spec", ("show",)),
    ("yaml: billion laughs", "bench", ("--spec",)),
    ("yaml: tag that calls a function", "impls.generate", ()),
    ("name: end of a docstring", "impls.generate", ()),
    ("value: cycle of 4,096", "gate", ("jax==0.9.2", "jax==0.10.2", "--spec")),
    ("yaml: 4,000 operators with ten unknown keys", "conformance", ("--spec",)),
    ("yaml: 4,000 operators with ten unknown keys", "conformance", ("train", "--spec")),
    ("yaml: 45,000 unknown keys", "conformance", ("claims", "--spec")),
    ("yaml: billion laughs", "conformance", ("fuzz", "--networks", "0", "--replay")),
)


#: Starts the command from a small process: the system counts what a process held before it became another program.
LAUNCHER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, used = os.wait4(child, 0)
with open("used", "w") as file:
    print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, file=file)
"""


def measured(folder: Path, command: list[str]) -> tuple[int, str, str, float, int]:
    """Exit code, standard output, standard error, processor time in seconds and peak memory in bytes of a command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "LOCKSTEP_CACHE": str(folder / "cache")}
    with (folder / "out").open("w+") as out, (folder / "err").open("w+") as err:
        launcher = [sys.executable, "-I", "-S", "-c", LAUNCHER, *command]
        subprocess.run(
            launcher, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err, check=True
        )
    said, complained = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
    code, cpu_s, peak = (folder / "used").read_text(encoding="utf-8").split()
    return int(code), said, complained, float(cpu_s), int(peak) * _MAXRSS_BYTES


@pytest.mark.parametrize(("name", "program", "words"), DEAREST)
def test_every_program_ends_with_one_line_in_time(
    name: str, program: str, words: tuple[str, ...], tmp_path: Path
) -> None:
    case: Hostile = CORPUS[name]
    case.leaves(tmp_path)
    spec = "." if "--replay" in words else "spec.yaml"
    code, out, err, cpu_s, peak_bytes = measured(tmp_path, [sys.executable, "-m", program, *words, spec])
    assert (code, out) == (2, ""), err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert case.says in err
    assert cpu_s < MOST_S + BUSY_S
    assert peak_bytes < MOST_BYTES


def test_a_hostile_checkpoint_is_refused_in_time(tmp_path: Path) -> None:
    case = CORPUS["weights: header of 4 MiB of nothing"]
    case.leaves(tmp_path)
    command = [sys.executable, "-m", case.program, *case.arguments]
    code, out, err, cpu_s, peak_bytes = measured(tmp_path, command)
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert cpu_s < MOST_S + BUSY_S
    assert peak_bytes < MOST_BYTES
