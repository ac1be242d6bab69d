"""A batch that does not fit in a worker's memory: its row says so, and the others stand."""

import resource
import sys
from pathlib import Path

import pytest

from bench.machine import Control
from bench.timing import Contender, Plan, Row, time_all
from impls.frameworks import Variant
from spec.load import load

#: NumPy's own runner, after the process may take no more address space than 56 MiB beside what it has.
LIMITED = """
import resource, runpy
from pathlib import Path
import numpy
import conformance.power.wrong_runner
has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (has + 56 * 2**20,) * 2)
runpy.run_module("conformance.power.wrong_runner", run_name="__main__")
"""
FITS, FITS_NOT = 1, 512  # images of 160 KB each


def contender(name: str, *program: str) -> Contender:
    return Contender(Variant(name, "cpu", "float32", "eager", "native"), (sys.executable, *program), Path())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process so")
def test_batch_that_does_not_fit_is_out_of_memory_and_all_other_rows_stand() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY, "this test needs memory itself"
    contenders = [contender("limited", "-c", LIMITED), contender("free", "-m", "conformance.power.wrong_runner")]
    plan = Plan("forward", (FITS, FITS_NOT), rounds=1, chunk_s=0.01, threads=1, timeout_s=120, seed=1)
    told: list[str] = []
    found = time_all(load("alexnet_narrow"), contenders, plan, Control(1), told.append)
    rows: dict[tuple[str, int], Row] = {(row.variant.framework, row.batch): row for row in found}
    assert {key: row.outcome for key, row in rows.items()} == {
        ("limited", FITS): "timed",
        ("limited", FITS_NOT): "errored",
        ("free", FITS): "timed",
        ("free", FITS_NOT): "timed",
    }
    assert rows["limited", FITS_NOT].message.startswith("out of memory: prepare: ")
