"""The processors that a worker may use, and the kernel that watches the machine."""

import os
import subprocess
import sys

import pytest

from bench.environment import capture
from bench.machine import Control, Kernel, pin, processors

needs_affinity = pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")


@needs_affinity
def test_processors_are_the_first_of_those_that_we_may_use() -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert processors() == tuple(allowed)
    assert processors(1) == (allowed[0],)
    assert processors(len(allowed) + 1) == tuple(allowed)


@needs_affinity
def test_a_process_that_is_pinned_may_use_no_other() -> None:
    last = processors()[-1:]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        pin(process.pid, last)
        assert os.sched_getaffinity(process.pid) == set(last)
        process.communicate(b"\n")
    assert processors() != () and os.sched_getaffinity(0) == set(processors())


def test_more_work_takes_the_kernel_longer() -> None:
    small, large = (min(Kernel(side).duration_s() for _ in range(5)) for side in (32, 512))
    assert 0.0 < small < large


def test_the_control_remembers_what_it_saw() -> None:
    control = Control(1)
    seen = [control.run() for _ in range(5)]
    assert control.durations_s == seen
    assert control.spread >= 0.0


def test_flags_of_kernels_are_captured_and_the_secrets_of_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_VAR_password", "hidden")
    flags = capture(1)["flags"]
    assert "TF_ENABLE_ONEDNN_OPTS=0" in flags
    assert "hidden" not in flags
