"""How long a run took, in all the parts that it was made in, and on what."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from conformance.machine import processor
from spec.journal import Journal
from spec.text import safe


@contextmanager
def counting(kept: Journal) -> Iterator[Callable[[], float]]:
    """What tells how many seconds this part took so far, and those before it that are kept; then keeps its own."""
    number, before = 0, 0.0
    for number in count():
        seconds = kept.get(_part(number))
        if seconds is None:
            break
        before += seconds
    start = time.monotonic()
    try:
        yield lambda: before + time.monotonic() - start
    finally:
        kept.put(_part(number), time.monotonic() - start)


def told(duration_s: float) -> str:
    """For instance `It took 12 min 3 s on 2 cores of a processor.`"""
    minutes, seconds = divmod(round(duration_s), 60)
    return f"It took {minutes} min {seconds} s on {os.cpu_count()} cores of {safe(processor())}."


def _part(number: int) -> str:
    return f"part {number}"
