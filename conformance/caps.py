"""How equal is equal: the rules of caps.toml, as data."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import Field

from impls.frameworks import Dtype, Variant
from spec.base import AsTuple, Part

FILE = Path(__file__).with_name("caps.toml")
DIRECT = "direct"

Words = Annotated[tuple[str, ...], AsTuple, Field(min_length=1)]
Measure = Literal[
    "noise",
    "rounded_noise",
    "twice_rounded_noise",
    "ulp",
    "ulp_of_power",
    "bf16_ulp",
    "ulp_of_running_sum",
    "log",
    "exact",
]


GradientMeasure = Literal["noise", "ulp", "exact"]


class _Bounded(Part):
    """How far something may be from the oracle's."""

    name: str
    operators: Words
    dtypes: Words
    rms: float | None = None
    max: float = 0.0
    reason: str

    @property
    def place(self) -> str:
        """Where the cap is set."""
        return f"conformance/caps.toml, rule {self.name}"


class Rule(_Bounded):
    """How far the output of an operator may be from the oracle's."""

    algorithm: str = DIRECT
    measure: Measure


class GradientRule(_Bounded):
    """How far the gradients of an operator may be from the oracle's, each from the same cotangent."""

    of: Words
    """Of what: `input`, or a parameter by its short name (`weight`)."""
    measure: GradientMeasure


class LossRule(Part):
    """How far the loss of known logits may be from the oracle's."""

    max: float
    reason: str


class Masked(Part):
    """How many elements of a gradient an honest forward error may decide."""

    share: float
    reason: str


class EndToEnd(Part):
    """How far an output may be from the oracle's when rounding errors of all operators before add up."""

    factor: float
    sigmas: float
    floor: float
    floor_of_powers: float
    reason: str


class Invariant(Part):
    """How far two outputs of one variant may be apart that should be one."""

    units: float
    reason: str

    @property
    def place(self) -> str:
        """Where the cap is set."""
        return "conformance/caps.toml, invariant"


class TimedOutput(Part):
    """How far the output of a timed process may be from the oracle's."""

    factor: float
    rounded_factor: float
    reason: str


class Excitation(Part):
    """What an input must make visible."""

    lrn_caps: float
    bf16_lrn_caps: float
    share: float
    gradient_lrn_caps: float
    reason: str


class Trajectory(Part):
    """How far training may stray from the oracle's, step by step."""

    factor: float
    sigmas: float
    floor: float
    least: float
    most: float
    margin: float
    seen: float
    reason: str

    @property
    def place(self) -> str:
        """Where the cap is set."""
        return "conformance/caps.toml, trajectory"


class Predictions(Part):
    """How far predictions of whole images may be from the oracle's, and what they must make visible."""

    factor: float
    sigmas: float
    floor: float
    least: float
    most: float
    seen: float
    reason: str

    @property
    def place(self) -> str:
        """Where the cap is set."""
        return "conformance/caps.toml, evaluation"


class Colours(Part):
    """How far images whose colours were shifted may be from the oracle's, in noise units."""

    rms: float
    max: float
    reason: str

    @property
    def place(self) -> str:
        """Where the cap is set."""
        return "conformance/caps.toml, colour"


class Randomness(Part):
    """How improbable what a framework draws may be."""

    level: float
    reason: str

    @property
    def place(self) -> str:
        """Where the level is set."""
        return "conformance/caps.toml, random"


class Algorithm(Part):
    """An algorithm that a variant is known to use, with a rule of its own."""

    operator: str
    framework: str
    lowerings: Words
    devices: Words
    dtypes: Words
    modes: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    algorithm: str
    versions: str
    reason: str
    link: str

    def is_used(self, operator: str, variant: Variant, version: str) -> bool:
        """Whether `variant` in `version` of its framework computes `operator` so."""
        return (
            (operator, variant.framework) == (self.operator, self.framework)
            and variant.lowering in self.lowerings
            and variant.device in self.devices
            and variant.dtype in self.dtypes
            and (not self.modes or variant.mode in self.modes)
            and within(version, self.versions)
        )


class Caps(Part):
    """All of caps.toml."""

    rule: Annotated[tuple[Rule, ...], AsTuple]
    end_to_end: EndToEnd
    invariant: Invariant
    timed_output: TimedOutput
    excitation: Excitation
    gradient: Annotated[tuple[GradientRule, ...], AsTuple]
    loss: LossRule
    masked: Masked
    trajectory: Trajectory
    random: Randomness
    evaluation: Predictions
    colour: Colours
    algorithm: Annotated[tuple[Algorithm, ...], AsTuple]

    def rule_for(self, operator: str, variant: Variant, version: str) -> Rule:
        """The one rule for an operator of a variant; a missing one is an error of caps.toml."""
        used = [entry.algorithm for entry in self.algorithm if entry.is_used(operator, variant, version)]
        algorithm = used[0] if used else DIRECT
        rules = [
            rule
            for rule in self.rule
            if operator in rule.operators and variant.dtype in rule.dtypes and rule.algorithm == algorithm
        ]
        if len(rules) != 1:
            raise LookupError(
                f"{FILE.name}: expected one rule for {operator} {variant.dtype} {algorithm}, found {len(rules)}"
            )
        return rules[0]

    def gradient_rule_for(self, operator: str, of: str, dtype: Dtype) -> GradientRule:
        """The one rule for the gradient of an operator's input or parameter; a missing one is an error of caps.toml."""
        rules = [
            rule for rule in self.gradient if operator in rule.operators and of in rule.of and dtype in rule.dtypes
        ]
        if len(rules) != 1:
            raise LookupError(
                f"{FILE.name}: expected one rule for the gradient of {operator} {of} {dtype}, found {len(rules)}"
            )
        return rules[0]


def within(version: str, bound: str) -> bool:
    """Whether a version satisfies a bound such as `>=1.0,<2`; what is no version satisfies none."""
    try:
        return Version(version) in SpecifierSet(bound, prereleases=True)
    except InvalidVersion:
        return False


@cache
def caps() -> Caps:
    """The rules that come with Lockstep."""
    return Caps.model_validate(tomllib.loads(FILE.read_text(encoding="utf-8")))
