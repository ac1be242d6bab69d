"""A report of `python -m conformance`, as the gate reads it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from conformance.report import FORMAT
from gate.reading import SHOWN, json_of, require_format, validated
from impls.frameworks import Device, Dtype, Variant
from spec.exits import InputError

#: Keys that reports lack which were written before there was a gate.
RECENT = ("digest", "repeatable", "rms")
#: What tells the cases of one group apart.
SEED = re.compile(r"-seed\d+(?=-batch\d+$)")


class _Read(BaseModel):
    """A part of a report; what the gate does not need may be there too."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True, allow_inf_nan=False)


class ReportedExplanation(_Read):
    """One change that would explain a failure."""

    change: str
    before: float | None
    after: float | None
    unit: str
    note: str


class ReportedResult(_Read):
    """One comparison at one tap: `conformance.results.Result` as it was written."""

    framework: str
    device: Device
    dtype: Dtype
    mode: str
    lowering: str
    version: str
    case: str
    tap: str
    check: str
    outcome: str
    operator: str
    noise_rms: float | None
    noise_max: float | None
    effective_bits: float | None
    worst: float | None
    unit: str
    rms: float | None
    digest: str
    elements: int | None = None
    """None in reports that were written before they were counted."""
    repeatable: bool | None
    repeat_rms: float | None
    message: str
    explanations: list[ReportedExplanation] = []
    """None in reports that were written before failures were diagnosed."""
    tried: int | None = None
    remark: str = ""
    reproduction: str = ""

    @property
    def variant(self) -> Variant:
        """What was run."""
        return Variant(self.framework, self.device, self.dtype, self.mode, self.lowering)

    @property
    def group(self) -> str:
        """The case without its seed."""
        return SEED.sub("", self.case)

    @property
    def failed(self) -> bool:
        """Whether it is beyond its cap, expected or not."""
        return self.outcome in ("failed", "xfailed")


class _Named(_Read):
    name: str
    sha256: str


class _Content(_Read):
    network: _Named
    environments: dict[str, dict[str, str]]
    results: list[ReportedResult]


_CONTENT = TypeAdapter(_Content)


@dataclass(frozen=True)
class Reported:
    """All of a report that drift is judged by."""

    place: str
    """The file, for errors."""
    network: str
    sha256: str
    environments: Mapping[str, Mapping[str, str]]
    """What was said of the suite and of each variant, by its name."""
    results: Sequence[ReportedResult]

    @property
    def suite(self) -> Mapping[str, str]:
        """Where it was made: `processor`, `threads`, …"""
        return self.environments.get("suite", {})

    def of(self, variant: Variant) -> list[ReportedResult]:
        """The results of one variant."""
        return [result for result in self.results if result.variant == variant]

    @property
    def variants(self) -> list[Variant]:
        """What was run, in the order of the run."""
        return list(dict.fromkeys(result.variant for result in self.results))


def read(path: Path) -> Reported:
    """Read a conformance.json; raises InputError, one line, where it is none or an older one."""
    content = json_of(path, "a conformance.json", "the JSON of a conformance report")
    require_format(content, FORMAT, str(path))
    _require_recent(path, content.get("results"))
    parsed = validated(_CONTENT, content, str(path))
    if not parsed.results:
        raise InputError(f"{path}: expected results, found none")
    network = parsed.network
    return Reported(str(path), network.name, network.sha256, parsed.environments, parsed.results)


def require_network(report: Reported, name: str, sha256: str) -> None:
    """Raise InputError where a report is about another network, or another version of its spec."""
    if (report.network, report.sha256) != (name, sha256):
        raise InputError(
            f"{report.place}: expected a report of {name} (spec {sha256:.12}), found {report.network:.{SHOWN}} "
            f"(spec {report.sha256:.12}); run conformance again"
        )


def require_cases(before: Reported, after: Reported, variant: Variant) -> None:
    """Raise InputError where `before` lacks the variant, or one of the cases that `after` has of it."""
    cases = {result.case for result in before.of(variant)}
    if not cases:
        raise InputError(f"{before.place}: expected results of {variant}, found {', '.join(map(str, before.variants))}")
    for result in after.of(variant):
        if result.case not in cases:
            raise InputError(
                f"{before.place}: {variant}: expected the case {result.case:.{SHOWN}}, found {len(cases)} others; "
                f"run both sides with the same seeds, weights, inputs and batch"
            )


def _require_recent(path: Path, results: object) -> None:
    """Raise InputError for a report that was written before results had digests."""
    first = results[0] if isinstance(results, list) and results else None
    if isinstance(first, dict) and (missing := [key for key in RECENT if key not in first]):
        raise InputError(
            f"{path}: expected results with {', '.join(RECENT)}, found none with {missing[0]}; the report was written "
            f"by an earlier Lockstep: run conformance again"
        )
