"""The lane `invariants`: what must hold of any variant of any network, and needs no oracle to be seen.

Every comparison is of a variant with itself: other batches, other scales, other modes, and once more the same.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from conformance import measure
from conformance.caps import caps
from conformance.checks import Subject
from conformance.measure import Array
from conformance.participants import Files, Participant, errored, threads_for
from conformance.results import Check, Outcome, Result
from impls.client import WorkerError
from impls.frameworks import CUDA_MODES, FRAMEWORKS, MODES, Dtype
from impls.protocol import Trace
from spec.network import Network
from spec.operators import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    MaxPool,
    Operator,
    Relu,
)
from spec.tensors import read, write

#: Operators that give twice as much of twice the input, once they add nothing of their own.
HOMOGENEOUS = (Add, AvgPool, BatchNorm, Concat, Conv, Dense, Dropout, Flatten, GlobalAvgPool, MaxPool, Relu)
ADDED = ("bias", "shift", "mean")
"""The tensors that such operators add."""
#: The input is multiplied by it, a power of two: no float is rounded otherwise, so every bit must be the same.
FACTOR = 4.0
#: Below this, the bits of a number or of what it was made of may be denormal, and flushed to 0.
TINY = 2.0**-100
COMPILERS = ("c++", "g++", "clang++")
NEEDS_COMPILER = {"torch": "compiled"}
"""The modes that need a C++ compiler on the machine."""

Outputs = Mapping[str, Array]


def run_invariants(network: Network, participants: Sequence[Participant], files: Files) -> list[list[Result]]:
    """Hold every participant to all invariants on one case: the results of each."""
    with tempfile.TemporaryDirectory(prefix="lockstep-invariants-") as folder, threads_for(participants) as pool:
        return list(pool.map(partial(_of, network, files, Path(folder)), participants))


def _of(network: Network, files: Files, folder: Path, participant: Participant) -> list[Result]:
    participant.settings.progress(f"{files.case}: invariants: {participant.entrant.variant.framework}")
    subject, own = participant.subject(files.case), folder / participant.folder.name
    own.mkdir()
    found: list[Result] = []
    try:
        found.extend(_Invariants(network, files, participant, subject, own).all())
    except WorkerError as error:
        found.append(errored(subject, "invariants", Check.RUN, error))
    except (OSError, ValueError) as error:
        found.append(errored(subject, "invariants", Check.RUN, WorkerError("nonsense", f"trace: {error}")))
    finally:
        participant.forget()
    return found


class _Invariants:
    """One participant on one case."""

    def __init__(
        self, network: Network, files: Files, participant: Participant, subject: Subject, folder: Path
    ) -> None:
        self.network, self.files, self.participant, self.subject = network, files, participant, subject
        self.folder = folder
        self.x = np.asarray(read(files.input)[network.input.name])
        self.dtype: Dtype = participant.entrant.variant.dtype

    def all(self) -> Iterator[Result]:
        """Every invariant, one after the other; raises WorkerError."""
        self.participant.load(self.files)
        y = self.output(self.x)
        yield self.repeated(y)
        yield self.permuted(y)
        yield self.single(y)
        yield from self.modes(y)
        yield from self.scaled()

    def repeated(self, y: Array) -> Result:
        """The same run again: the bits that it has in common with itself are the floor of whatever is compared."""
        again = self.output(self.x)
        return self.compared(Check.REPEATED, self.network.output, again, y)

    def permuted(self, y: Array) -> Result:
        """Images in another order give outputs in that order."""
        if len(self.x) == 1:
            return self.result(Check.PERMUTED_BATCH, Outcome.SKIPPED, "a batch of 1 has one order; use --batch 2")
        moved = self.output(np.roll(self.x, 1, axis=0))
        return self.compared(Check.PERMUTED_BATCH, self.network.output, moved, np.roll(y, 1, axis=0))

    def single(self, y: Array) -> Result:
        """Each image by itself gives what it gives among others."""
        if len(self.x) == 1:
            return self.result(Check.SINGLE_IMAGES, Outcome.SKIPPED, "a batch of 1 is one image; use --batch 2")
        alone = np.concatenate([self.output(image[np.newaxis]) for image in self.x])
        return self.compared(Check.SINGLE_IMAGES, self.network.output, alone, y)

    def modes(self, y: Array) -> Iterator[Result]:
        """Every other mode of the framework gives what this one gives."""
        own = self.participant.entrant.variant
        framework = next((name for name in FRAMEWORKS if name == own.framework), None)
        for mode in MODES[framework] if framework else ():
            if mode == own.mode or (mode in CUDA_MODES and own.device != "cuda"):
                continue
            needs = NEEDS_COMPILER.get(own.framework) == mode and own.device == "cpu"
            if needs and not any(map(shutil.which, COMPILERS)):
                message = (
                    f"mode {mode} of {own.framework} needs a C++ compiler, one of {', '.join(COMPILERS)}; found none"
                )
                yield replace(self.result(Check.MODES, Outcome.SKIPPED, message), tap=mode)
                continue
            try:
                self.participant.load(self.files, mode)
                yield replace(self.compared(Check.MODES, self.network.output, self.output(self.x), y), tap=mode)
            except WorkerError as error:
                refused = error.kind == "unsupported"
                failed = self.result(Check.MODES, Outcome.SKIPPED if refused else Outcome.ERRORED, str(error))
                yield replace(failed, tap=mode)

    def scaled(self) -> Iterator[Result]:
        """Operators that add nothing give so many times as much of so many times the input, to the last bit."""
        hello = self.participant.hello()
        if not (hello.taps and hello.substitutes):
            yield self.result(Check.SCALED_INPUT, Outcome.SKIPPED, "the runner cannot substitute what operators read")
            return
        weights = {
            name: np.zeros_like(value) if name.rpartition(".")[2] in ADDED else value
            for name, value in read(self.files.weights).items()
        }
        write(self.folder / "weights.safetensors", weights)
        plain = replace(self.files, case=replace(self.files.case, weights="nothing added"))
        self.participant.load(replace(plain, weights=self.folder / "weights.safetensors"))
        layers = [layer for layer in self.network.layers if isinstance(layer.operator, HOMOGENEOUS)]
        taps = [layer.name for layer in layers]
        fed = self.trace(self.x, None, [layer.name for layer in self.network.layers])
        once = self.trace(self.x, fed, taps)
        factor = np.float32(FACTOR)
        more = self.trace(self.x * factor, {name: value * factor for name, value in fed.items()}, taps)
        for layer in layers:
            yield self.exact(layer.name, layer.operator, more[layer.name], once[layer.name] * factor)

    def exact(self, tap: str, operator: Operator, actual: Array, expected: Array) -> Result:
        """Whether two outputs are the same but for what may be denormal."""
        result = self.subject.result(tap, Check.SCALED_INPUT, Outcome.PASSED)
        large = np.maximum(np.abs(actual), np.abs(expected)) > TINY
        apart = (actual != expected) & large
        result = replace(result, worst=float(apart.mean()), unit="of the elements", elements=actual.size)
        if not apart.any():
            return result
        index = tuple(int(i) for i in np.unravel_index(int(np.argmax(apart)), apart.shape))
        message = (
            f"at [{', '.join(map(str, index))}] {actual[index]:.9g} of {FACTOR:g} times the input, expected "
            f"{expected[index]:.9g}, {FACTOR:g} times the output: it is no rounding, as a power of two changes none"
        )
        return replace(result, outcome=Outcome.FAILED, message=message)

    def compared(self, check: Check, tap: str, actual: Array, expected: Array) -> Result:
        """Two outputs of one variant, by their relative RMS distance in the image where it is largest."""
        rule = caps().invariant
        result = self.result(check, Outcome.PASSED)
        if actual.shape != expected.shape:
            message = f"expected shape {list(expected.shape)}, found {list(actual.shape)}"
            return replace(result, outcome=Outcome.FAILED, message=message)
        relative = farthest(actual, expected)
        bits = measure.effective_bits(relative)
        result = replace(result, tap=tap, rms=relative, worst=relative, effective_bits=bits, elements=actual.size)
        cap = rule.units * measure.UNIT["bfloat16" if self.dtype == "bf16" else self.dtype]
        if relative <= cap:
            return result
        message = f"apart by {relative:.3g} of the output of an image, in RMS; cap {cap:.3g} ({rule.place})"
        return replace(result, outcome=Outcome.FAILED, message=message)

    def result(self, check: Check, outcome: Outcome, message: str = "") -> Result:
        return self.subject.result(self.network.output, check, outcome, message)

    def output(self, x: Array) -> Array:
        return self.trace(x, None, [self.network.output])[self.network.output]

    def trace(self, x: Array, substitutes: Outputs | None, taps: list[str]) -> dict[str, Array]:
        """What the worker gives; raises WorkerError, where taps are missing too."""
        given, fed, output = (self.folder / f"{name}.safetensors" for name in ("input", "substitutes", "output"))
        output.unlink(missing_ok=True)
        write(given, {self.network.input.name: np.ascontiguousarray(x)})
        if substitutes is not None:
            write(fed, substitutes)
        self.participant.worker.trace(
            Trace(str(given), str(fed) if substitutes is not None else None, taps, str(output))
        )
        found = {name: np.array(value) for name, value in read(output).items()}
        missing = [name for name in taps if name not in found]
        if missing:
            raise WorkerError("nonsense", f"expected the taps {', '.join(missing)[:200]}, found none")
        return found


def farthest(actual: Array, expected: Array) -> float:
    """The relative RMS distance of two batches (N, …) in the image where it is largest; infinite where one is NaN."""
    images = zip(actual.astype(np.float64), expected.astype(np.float64), strict=True)
    return max(measure.relative_rms(*image) for image in images)
