"""The values that a run consists of: cases, results and their outcomes."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from impls.frameworks import Variant


class Outcome(StrEnum):
    """What became of a check. Never merged: each has its own count."""

    PASSED = "passed"
    FAILED = "failed"
    ERRORED = "errored"
    SKIPPED = "skipped"
    XFAILED = "xfailed"


class Check(StrEnum):
    """What is compared at a tap."""

    LOCAL = "local"
    """The operator alone, fed the oracle's activation."""
    END_TO_END = "end_to_end"
    """All operators up to the tap, fed the input."""
    UNTAPPED = "untapped"
    """The network's output when nothing else is recorded: what a compiler may fuse, it fuses."""
    PRECISION = "precision"
    """Whether the outputs show the precision that the variant declares."""
    REPEATED = "repeated"
    """The same run again: in how many bits a variant agrees with itself."""
    PERMUTED_BATCH = "permuted_batch"
    """Whether images in another order give outputs in that order."""
    SINGLE_IMAGES = "single_images"
    """Whether each image gives alone what it gives among others."""
    MODES = "modes"
    """Whether another mode of the framework gives the same; the tap is its name."""
    SCALED_INPUT = "scaled_input"
    """Whether the operator gives so many times as much of so many times the input."""
    GRADIENT_INPUT = "gradient_input"
    """What the operator alone passes back to what it read, from a known cotangent."""
    GRADIENT_PARAMETER = "gradient_parameter"
    """The gradient of one of the operator's parameters (`conv1.weight`), from a known cotangent."""
    LOSS = "loss"
    """The loss of known logits."""
    LOSS_GRADIENT = "loss_gradient"
    """What the loss passes back to known logits."""
    DROPOUT = "dropout"
    """What a dropout does while training."""
    INITIALISER = "initialiser"
    """The parameters that training starts from."""
    TRAJECTORY = "trajectory"
    """Some steps of training, one after the other."""
    EVALUATION = "evaluation"
    """What is predicted of whole images."""
    COLOUR = "colour"
    """Images whose colours are shifted."""
    TRAINING = "training"
    """Whether a part of the training lane could be run; the tap is the part's name, or none for the whole lane."""
    RUN = "run"
    """Whether the variant could be run at all."""


@dataclass(frozen=True)
class Case:
    """Weights and an input: what all variants are given."""

    weights: str
    """`paper`, `scaled`, or the name of a file."""
    inputs: str
    seed: int
    batch: int

    def __str__(self) -> str:
        return f"{self.weights}-{self.inputs}-seed{self.seed}-batch{self.batch}"


@dataclass(frozen=True)
class Divergence:
    """Where a tap is furthest from the oracle, and by how much too far."""

    index: tuple[int, ...]
    actual: float
    expected: float
    found: float
    unit: str
    cap: float
    place: str
    """Where the cap is set."""

    def __str__(self) -> str:
        index = ", ".join(map(str, self.index))
        return (
            f"at [{index}] actual {self.actual:.9g}, expected {self.expected:.9g}: "
            f"{self.found:.4g} {self.unit}, cap {self.cap:g} ({self.place})"
        )


@dataclass(frozen=True)
class Script:
    """A script that shows one operator's difference by itself."""

    name: str
    text: str

    @property
    def path(self) -> str:
        """Where it lies in the report's folder."""
        return f"reproductions/{self.name}"


@dataclass(frozen=True)
class Explanation:
    """A change of what was asked for that makes what was found right."""

    change: str
    """In what, and to what: `alpha_convention: mean`, `kernel: flipped`, `precision: tf32` (docs/diagnosis.md)."""
    before: float
    """The RMS error of the failed check, in `unit`; of a check by its worst element alone, that."""
    after: float
    """The same error against the oracle with the change."""
    unit: str
    note: str = ""
    """How a framework comes to it, where that is known."""

    def fields(self) -> dict[str, Any]:
        """The explanation as conformance.json writes it."""
        return {
            "change": self.change,
            "before": _finite(self.before),
            "after": _finite(self.after),
            "unit": self.unit,
            "note": self.note,
        }


#: The errors of a framework that refuses a network. Any other is of the run, and says nothing of the network.
REFUSED = ("failed", "unsupported")


@dataclass(frozen=True)
class Result:
    """One comparison at one tap."""

    network: str
    variant: Variant
    version: str
    case: str
    tap: str
    check: Check
    outcome: Outcome
    operator: str = ""
    noise_rms: float | None = None
    noise_max: float | None = None
    effective_bits: float | None = None
    worst: float | None = None
    """The largest error of an element, in `unit`."""
    unit: str = ""
    rms: float | None = None
    """The RMS error of all elements: local in `unit`, else relative to the size of the tap."""
    digest: str = ""
    """Of the tap's bits; none where there is no tap."""
    repeatable: bool | None = None
    """Whether the same trace again gave the same bits; None where it was not asked for again."""
    repeat_rms: float | None = None
    """How far the same trace was from itself at most, measured as `rms`."""
    elements: int | None = None
    """How many the tap has: the error of few strays by chance."""
    masked: float | None = None
    """Which share of the elements was left out, because an honest forward error decides them; None where none can."""
    step: int | None = None
    """The first training step after which it diverged, counted from 1; None where none did, or there are no steps."""
    message: str = ""
    error: str = ""
    """Of which kind the worker's error was (impls/README.md); none where it answered."""
    divergence: Divergence | None = None
    explanations: tuple[Explanation, ...] = ()
    """What would explain the failure, best first."""
    tried: int | None = None
    """How many changes were tried to explain it; None where it was not diagnosed."""
    remark: str = ""
    """What is said where there is no explanation: why nobody looked, or what is plain to see."""
    reproduction: Script | None = None
    """What shows the difference, where nothing explains it and a script of one operator does."""

    def fields(self) -> dict[str, Any]:
        """The result as conformance.json writes it."""
        return {
            "network": self.network,
            **self.variant.fields(),
            "version": self.version,
            "case": self.case,
            "tap": self.tap,
            "check": str(self.check),
            "outcome": str(self.outcome),
            "operator": self.operator,
            "noise_rms": _finite(self.noise_rms),
            "noise_max": _finite(self.noise_max),
            "effective_bits": _finite(self.effective_bits),
            "worst": _finite(self.worst),
            "unit": self.unit,
            "rms": _finite(self.rms),
            "digest": self.digest,
            "repeatable": self.repeatable,
            "repeat_rms": _finite(self.repeat_rms),
            "elements": self.elements,
            "masked": self.masked,
            "step": self.step,
            "message": self.message,
            "explanations": [explanation.fields() for explanation in self.explanations],
            "tried": self.tried,
            "remark": self.remark,
            "reproduction": self.reproduction.path if self.reproduction else "",
        }


@dataclass
class Column:
    """All that is known of one variant in one run."""

    variant: Variant
    version: str = "unknown"
    environment: dict[str, str] = field(default_factory=dict)
    observed_device: str = "unknown"
    observed_precision: str = "unknown"
    peak_bytes: int = 0
    results: list[Result] = field(default_factory=list)

    def fields(self) -> dict[str, Any]:
        """The variant as conformance.json writes it."""
        return {
            **self.variant.fields(),
            "version": self.version,
            "observed_device": self.observed_device,
            "observed_precision": self.observed_precision,
            "peak_bytes": self.peak_bytes,
        }


def _finite(value: float | None) -> float | None:
    """JSON has no infinities: an infinite error is null beside an outcome that says why."""
    return value if value is not None and abs(value) < float("inf") else None
