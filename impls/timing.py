"""The worker's stopwatch: durations of a prepared workload, and whether what was timed was right."""

import gc
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from impls.protocol import Prepare, RefusedError, Time, Verify
from impls.runner import Array, Runner
from impls.training import Batch, TrainingRunner, one_batch, training_runner
from spec.tensors import read

#: The unit of ru_maxrss: kibibytes, but bytes on macOS.
_MAXRSS_BYTES = 1 if sys.platform == "darwin" else 1024


#: A turn has so many calls at least, however long one takes: one alone would say nothing of its spread.
LEAST_CALLS = 2


class Stopwatch:
    """Times one runner."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.step: Callable[[], Any] | None = None
        self.output: Any = None
        self.outputs: Callable[[], Mapping[str, Array]] = dict
        """What the prepared workload computes, by the names of what is expected of it."""

    def prepare(self, request: Prepare) -> dict[str, Any]:
        """Make a workload ready and run it once: the first call, in which frameworks compile."""
        self.step = self.output = None
        gc.collect()
        tensors = read(Path(request.input))
        start = time.perf_counter()
        step = self._made(request.workload, tensors)
        self.output = step()
        duration_s = time.perf_counter() - start
        self.step = step
        return {"first_call_s": duration_s, "overhead_s": _overhead_s(), **_memory(self.runner)}

    def time(self, request: Time) -> dict[str, Any]:
        """One duration a call, after as many as asked for that are not timed."""
        step = self._prepared()
        for _ in range(request.untimed):
            self.output = step()
        start, cpu_start = time.perf_counter(), time.process_time()
        durations, self.output = _durations(step, request)
        busy = (time.process_time() - cpu_start) / (time.perf_counter() - start)
        return {"durations_s": durations, "busy_threads": busy, "cpus": _cpus(), **_memory(self.runner)}

    def verify(self, request: Verify) -> dict[str, Any]:
        """How far what was timed is from what was expected, in relative RMS error: the worst of all tensors."""
        self._prepared()
        outputs = self.outputs()
        relative = [
            _relative_rms(name, outputs.get(name), value) for name, value in read(Path(request.expected)).items()
        ]
        return {"relative_rms": max(relative) if np.isfinite(relative).all() else None}

    def _made(self, workload: str, tensors: Mapping[str, Array]) -> Callable[[], Any]:
        """A function of no arguments that does the workload once; raises RefusedError for one that there is not."""
        match workload:
            case "forward":
                (x,) = tensors.values()
                self.outputs = lambda: {"expected": self.runner.fetch(self.output)}
                return self.runner.prepare(x)
            case "train_step":
                trainer, batch = training_runner(self.runner), one_batch(tensors)
                self.outputs = lambda: _velocities(trainer, batch)
                trainer.start(None)
                return partial(trainer.step, batch)
            case _:
                raise RefusedError("unsupported", f"expected the workload forward or train_step, found {workload!r}")

    def _prepared(self) -> Callable[[], Any]:
        if self.step is None:
            raise RefusedError("bad_request", "expected a prepared workload, found none; ask to prepare it first")
        return self.step


def _velocities(trainer: TrainingRunner, batch: Batch) -> Mapping[str, Array]:
    """Every velocity after one step from the start, by the function that was timed."""
    trainer.start(None)
    trainer.step(batch)
    return trainer.state()[1]


def _relative_rms(name: str, output: Array | None, expected: Array) -> float:
    if output is None or output.shape != expected.shape:
        found = "none" if output is None else output.shape
        raise RefusedError("failed", f"{name}: expected an output of shape {expected.shape}, found {found}")
    return float(np.linalg.norm(np.asarray(output, np.float64) - expected) / np.linalg.norm(expected))


def _durations(step: Callable[[], Any], request: Time) -> tuple[list[float], Any]:
    """One duration a call, and what the last one returned. Garbage is collected before, not between."""
    durations: list[float] = []
    output = None
    gc.collect()
    gc.disable()
    clock, start = time.perf_counter, time.perf_counter()
    end, now = start + request.min_s, start
    try:
        while len(durations) < request.max_calls and (now < end or len(durations) < LEAST_CALLS):
            output = step()
            after = clock()
            durations.append(after - now)
            now = after
    finally:
        gc.enable()
    return durations, output


@cache
def _overhead_s() -> float:
    """What timing adds to a call, in seconds: the same loop around a step that does nothing."""
    durations, _ = _durations(lambda: None, Time(min_s=1.0, max_calls=2000))
    return sum(durations) / len(durations)


def peak_bytes() -> int:
    """The most memory that this process held at one time.

    Linux counts it anew when a process starts a program; what getrusage tells includes the process that it came from.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_BYTES
    return int(line.split()[1]) * 1024


def _memory(runner: Runner) -> dict[str, int | None]:
    return {"peak_bytes": peak_bytes(), "device_peak_bytes": runner.device_peak_bytes()}


def _cpus() -> list[int]:
    """The processors that this process may use, where the system tells."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))
