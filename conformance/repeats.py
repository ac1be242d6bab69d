"""The bits of a trace: a digest of every tap, and whether the same trace again gives the same."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from conformance.caps import Caps
from conformance.checks import ForwardSubject, distance
from conformance.measure import Array
from conformance.results import Check, Result

DIGEST_BYTES = 16


def digest(values: Array) -> str:
    """A name for the bits of an array, its shape and its dtype: equal where all of them are."""
    hashed = hashlib.blake2b(f"{values.dtype.str} {values.shape} ".encode(), digest_size=DIGEST_BYTES)
    hashed.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return hashed.hexdigest()


def with_bits(
    subject: ForwardSubject,
    results: Sequence[Result],
    trace: Mapping[str, Array],
    repeats: Sequence[Mapping[str, Array]],
    caps: Caps,
) -> list[Result]:
    """The results of one check on `trace`, each with the digest of its tap, and how `repeats` of the trace compare."""
    return [
        _with_bits(subject, result, trace[result.tap], [again.get(result.tap) for again in repeats], caps)
        if result.tap in trace
        else result
        for result in results
    ]


def _with_bits(
    subject: ForwardSubject, result: Result, first: Array, repeats: Sequence[Array | None], caps: Caps
) -> Result:
    own = digest(first)
    if not repeats:
        return replace(result, digest=own, elements=first.size)
    others = [again for again in repeats if again is None or digest(again) != own]
    apart = max((_apart(subject, result.tap, result.check, first, again, caps) for again in others), default=0.0)
    return replace(result, digest=own, elements=first.size, repeatable=not others, repeat_rms=apart)


def _apart(subject: ForwardSubject, tap: str, check: Check, first: Array, again: Array | None, caps: Caps) -> float:
    return float("inf") if again is None else distance(subject, tap, check, first, again, caps)
