"""What this machine can do without any framework: products and copies of NumPy, and a kernel that watches it."""

import os
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

#: Bytes that one thread copies: together far more than any cache that a process has for itself.
COPY_BYTES = 256 * 2**20
REPEATS = 5
CONTROL_SIDE = 512
CONTROL_REPEATS = 5


def product_flops_per_s(side: int, threads: int) -> float:
    """The best of a few products of square float32 matrices by NumPy's BLAS, in operations a second."""
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((side, side), np.float32) for _ in range(2))
    product = np.empty_like(left)
    with threadpool_limits(threads):
        best = min(_duration_s(lambda: np.matmul(left, right, out=product)) for _ in range(REPEATS))
    return 2.0 * side**3 / best


def copy_bytes_per_s(threads: int) -> float:
    """The best of a few copies by as many threads, in bytes read and written a second."""
    sources = [np.ones(COPY_BYTES, np.uint8) for _ in range(threads)]
    targets = [np.empty_like(source) for source in sources]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(np.copyto, targets, sources))

        best = min(_duration_s(copy) for _ in range(REPEATS + 1))
    return 2.0 * COPY_BYTES * threads / best


def _duration_s(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def processors(count: int | None = None) -> tuple[int, ...]:
    """The first of the processors that this process may use, or all of them."""
    if not hasattr(os, "sched_getaffinity"):
        return tuple(range(os.cpu_count() or 1))[:count]
    return tuple(sorted(os.sched_getaffinity(0)))[:count]


def pin(pid: int, allowed: Iterable[int]) -> None:
    """Let a process (0: this one) use these processors alone, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(pid, set(allowed))


class Kernel:
    """Fixed work that no framework has a part in: four products of square float32 matrices."""

    def __init__(self, side: int) -> None:
        self._matrix = np.random.default_rng(1).standard_normal((side, side), np.float32)
        self._product = np.empty_like(self._matrix)

    def duration_s(self) -> float:
        """How long it takes now, in seconds."""
        return _duration_s(self._work)

    def _work(self) -> None:
        for _ in range(4):
            np.matmul(self._matrix, self._matrix, out=self._product)


class Control:
    """A kernel of fixed work: when it slows down, the machine did."""

    def __init__(self, threads: int) -> None:
        self._kernel = Kernel(CONTROL_SIDE)
        self._threads = threads
        self.durations_s: list[float] = []

    def run(self) -> float:
        """Time the kernel, and remember how long it took, in seconds: the median of a few, after one to wake up."""
        with threadpool_limits(self._threads):
            durations = [self._kernel.duration_s() for _ in range(CONTROL_REPEATS + 1)]
        self.durations_s.append(median(durations[1:]))
        return self.durations_s[-1]

    @property
    def spread(self) -> float:
        """How much the machine's speed changed: the 90th percentile over the median, less 1."""
        if len(self.durations_s) < 5:
            return 0.0
        return float(np.quantile(self.durations_s, 0.9)) / median(self.durations_s) - 1.0
