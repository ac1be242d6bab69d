"""What a gate finds, as values: the two sides, numeric drift, and effects on speed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from conformance.results import Check
from impls.frameworks import FrameworkName, Variant
from spec.exits import Exit


@dataclass(frozen=True)
class Side:
    """The environment before (`baseline`) or after (`candidate`) an upgrade."""

    name: str
    """`baseline` or `candidate`."""
    label: str
    """What the user asked for: `jax==0.9.2`, a requirement file, an interpreter."""
    python: str
    """The interpreter of the environment."""
    packages: Mapping[str, str] = field(default_factory=dict)
    """Version by package, of everything that is installed."""


@dataclass(frozen=True)
class Change:
    """A package that the two sides do not have alike; None where a side lacks it."""

    package: str
    before: str | None
    after: str | None
    asked: bool
    """Whether the user asked for it; what was not asked had to move with it."""


@dataclass(frozen=True)
class Sides:
    """What is compared."""

    framework: FrameworkName
    baseline: Side
    candidate: Side
    changes: tuple[Change, ...]

    @property
    def upgrade(self) -> tuple[str, ...]:
        """What tells this upgrade from another."""
        return (self.framework, self.baseline.label, self.candidate.label)


#: Checks of gradients, and of the loss that they begin with: an operator's own, from known cotangents.
GRADIENTS = (Check.GRADIENT_INPUT, Check.GRADIENT_PARAMETER, Check.LOSS, Check.LOSS_GRADIENT)
#: Checks of an operator by itself: nothing before it is to blame.
BY_ITSELF = (Check.LOCAL, *GRADIENTS)


class NumericVerdict(StrEnum):
    """What became of the numbers, from best to worst."""

    IDENTICAL = "identical"
    """Bit by bit."""
    BENIGN = "benign"
    """Within the caps, and at most 1.5 times the old noise."""
    DRIFTED = "drifted"
    """Within the caps, and beyond that."""
    ACCEPTED = "accepted"
    """Worse than benign, and accepted on purpose (accepted.toml)."""
    PRECISION = "precision class changed"
    DIVERGED = "diverged"
    """Beyond the caps."""
    ERRORED = "errored"
    SKIPPED = "skipped"


class SpeedVerdict(StrEnum):
    """What became of a cost."""

    OK = "OK"
    FASTER = "FASTER"
    UNDECIDED = "UNDECIDED"
    SLOWER = "SLOWER"
    ACCEPTED = "accepted"
    """Slower, and accepted on purpose (accepted.toml)."""
    VOID = "void"
    """Faster, with another precision class: no speed-up."""
    ERRORED = "errored"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class TapDrift:
    """One tap, before and after, over all cases: the worst of each."""

    tap: str
    operator: str
    check: str
    verdict: NumericVerdict
    identical: bool
    repeatable: bool
    """Whether each side gives the same bits again; if not, other bits prove nothing."""
    bits_before: float | None
    bits_after: float | None
    class_before: str
    class_after: str
    noise_before: float | None
    noise_after: float | None
    moved: bool = False
    """Whether the two sides differ by more than each does from itself."""
    unit: str = ""
    """Of the noise: noise units, ULP, …; end to end it is relative to the size of the tap."""
    change: str = ""
    """The class of the change in words: `order of summation`, `float32 → tf32`, …"""
    message: str = ""
    explained: tuple[str, ...] = ()
    """What would explain the failure, or that nothing does, in sentences; the best first."""

    @property
    def is_by_itself(self) -> bool:
        """Whether it is about an operator by itself, forward or back."""
        return self.check in BY_ITSELF


@dataclass(frozen=True)
class Numerics:
    """The numbers of one variant of one network."""

    network: str
    variant: Variant
    verdict: NumericVerdict
    first_moved: TapDrift | None
    """In the order of the graph: the first operator that moved by itself, else the first tap end to end."""
    taps: tuple[TapDrift, ...]
    cases: int
    reason: str = ""
    left_out: str = ""
    """Why gradients were not compared, where they were asked for."""

    @property
    def decided_by(self) -> TapDrift | None:
        """The first tap that has the verdict of all: where to look. None where no tap has it."""
        return next((tap for tap in self.taps if tap.verdict is self.verdict), None)


class Quantity(StrEnum):
    """What is gated, each by itself."""

    STEADY = "steady state"
    FIRST_CALL = "first call"
    BUILD = "build"
    IMPORT = "import"
    MEMORY = "peak memory"


@dataclass(frozen=True)
class LayerCost:
    """How long one layer of a network takes by itself, on both sides, in seconds."""

    layer: str
    operator: str
    before_s: float
    after_s: float


@dataclass(frozen=True)
class Effect:
    """How one quantity changed: candidate over baseline."""

    quantity: Quantity
    verdict: SpeedVerdict
    estimate: float | None
    low: float | None
    high: float | None
    blocks: int
    dropped: int
    smallest_effect: float | None
    """The smallest slow-down that these blocks could have shown, as a ratio less 1."""
    p_slower: float | None = None
    reason: str = ""
    layers: tuple[LayerCost, ...] = ()
    """Of a steady state that is `SLOWER`: each layer alone."""


@dataclass(frozen=True)
class Speed:
    """The costs of one variant of one network at one batch."""

    network: str
    variant: Variant
    batch: int
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Conditions:
    """What a rate of false alarms holds for: with any other of these it may be another."""

    machine: str
    framework: str
    device: str
    plan: str
    """How costs are measured: threads, chunks, blocks."""


@dataclass(frozen=True)
class Calibration:
    """How often this runner sees a difference where there is none."""

    conditions: Conditions
    cells: tuple[str, ...]
    """What was timed."""
    verdicts: int
    slower: int
    undecided: int
    upper_bound: float
    """Of the rate of false alarms, at 95%."""


@dataclass(frozen=True)
class EntryUse:
    """An entry of accepted.toml that is about what was run."""

    stale: str
    """What is said of it, with its place, where nothing needs it."""
    networks: tuple[str, ...]
    """Those that it names; none named means all."""
    is_needed: bool
    """Whether something shows what it accepts, or may yet: what could not be run, or not be decided."""


@dataclass(frozen=True)
class Finding:
    """All that one gate found."""

    sides: Sides
    numerics: tuple[Numerics, ...]
    speed: tuple[Speed, ...]
    calibration: Calibration | None
    machine: Mapping[str, str]
    entries: tuple[EntryUse, ...] = ()
    """Those of accepted.toml that are about this."""

    @property
    def exit(self) -> Exit:
        """1 if anything diverged, drifted, changed class, or got slower; then 3 if any was not run; then 4."""
        numeric = {numerics.verdict for numerics in self.numerics}
        speed = {effect.verdict for cell in self.speed for effect in cell.effects}
        if numeric & {NumericVerdict.DIVERGED, NumericVerdict.PRECISION, NumericVerdict.DRIFTED}:
            return Exit.DIVERGED
        if SpeedVerdict.SLOWER in speed:
            return Exit.DIVERGED
        if NumericVerdict.ERRORED in numeric or SpeedVerdict.ERRORED in speed:
            return Exit.NOT_RUN
        ran = (numeric - {NumericVerdict.SKIPPED}) or (speed - {SpeedVerdict.SKIPPED})
        if not ran:
            return Exit.NOT_RUN
        return Exit.UNDECIDED if SpeedVerdict.UNDECIDED in speed else Exit.PASSED

    def fields(self) -> dict[str, Any]:
        """The finding as gate.json writes it."""
        return asdict(self)
