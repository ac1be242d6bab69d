"""What this machine can do, measured in the same run: float32 matrix products and memory bandwidth."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

#: Side of the square matrices: their product takes tens of milliseconds, and BLAS reaches its peak.
GEMM_SIDE = 2048
#: Bytes that one thread copies: together far more than any cache that a process has for itself.
COPY_BYTES = 256 * 2**20
REPEATS = 5


@dataclass(frozen=True)
class Limits:
    """The speeds that bound every implementation."""

    flops_per_s: float
    """Float32 operations (a multiplication and an addition are two) a second."""
    bytes_per_s: float
    """Bytes read and written a second, of memory larger than the caches."""
    threads: int

    def fields(self) -> dict[str, float]:
        """The limits as reports write them."""
        return asdict(self)


def measure_limits(threads: int) -> Limits:
    """Measure both limits with `threads` threads; the best of a few repeats each, because they are limits."""
    return Limits(_flops_per_s(threads), _bytes_per_s(threads), threads)


def _flops_per_s(threads: int) -> float:
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((GEMM_SIDE, GEMM_SIDE), np.float32) for _ in range(2))
    product = np.empty_like(left)
    with threadpool_limits(threads):
        best = min(_duration_s(lambda: np.matmul(left, right, out=product)) for _ in range(REPEATS))
    return 2.0 * GEMM_SIDE**3 / best


def _bytes_per_s(threads: int) -> float:
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


class Control:
    """A kernel of fixed work that no framework has a part in: when it slows down, the machine did."""

    def __init__(self, threads: int) -> None:
        random = np.random.default_rng(1)
        self._matrix = random.standard_normal((512, 512), np.float32)
        self._threads = threads
        self.durations_s: list[float] = []

    def run(self) -> float:
        """Time the kernel once, and remember how long it took, in seconds."""
        with threadpool_limits(self._threads):
            duration = _duration_s(lambda: [self._matrix @ self._matrix for _ in range(8)])
        self.durations_s.append(duration)
        return duration

    @property
    def spread(self) -> float:
        """How much the machine's speed changed: the 90th percentile over the median, less 1."""
        if len(self.durations_s) < 5:
            return 0.0
        return float(np.quantile(self.durations_s, 0.9)) / median(self.durations_s) - 1.0
