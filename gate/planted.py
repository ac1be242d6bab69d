"""A candidate that is slower by a known share: the worker of a framework, which does real work beside each step.

`python -m gate.planted SHARE FRAMEWORK`, in the framework's own environment. The work is the same network run on one
image. It is done until it has taken that share of the time of all steps so far; what is not paid yet is carried over to
the next step, so that every chunk has its part, however the machine's speed changes.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

from impls.runner import Array
from impls.worker import framework_runner, serve


class Planted:
    """A runner that differs from its framework's own in what a step costs."""

    def __init__(self, share: float, framework: str) -> None:
        self._runner = framework_runner(framework)
        self._share = share

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def prepare(self, x: Array) -> Callable[[], Any]:
        return slower(self._runner.prepare(x), self._runner.prepare(x[:1]), self._share)


def slower(
    step: Callable[[], Any], extra: Callable[[], Any], share: float, clock: Callable[[], float] = time.perf_counter
) -> Callable[[], Any]:
    """`step`, and `extra` as often as takes the share of its time."""
    owed_s = 0.0

    def both() -> Any:
        nonlocal owed_s
        start = clock()
        output = step()
        end = clock()
        owed_s += share * (end - start)
        while owed_s > 0:
            extra()
            start, end = end, clock()
            owed_s -= end - start
        return output

    return both


if __name__ == "__main__":
    serve(sys.argv[2], lambda: Planted(float(sys.argv[1]), sys.argv[2]))
