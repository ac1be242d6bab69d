"""What became of planted faults, and of right networks beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from conformance.power.fault import Fault
from conformance.results import Outcome


@dataclass(frozen=True)
class Verdict:
    """What became of one fault in one framework."""

    fault: Fault
    framework: str
    found: Mapping[str, Any] | None
    """The fields of the first failure, as conformance.json has them: layer-local before end to end; none if the suite
    saw nothing wrong."""
    rejected_by: Mapping[str, Mapping[str, bool]] | None
    """Which other rules reject the same run (rules.py)."""

    @property
    def is_caught(self) -> bool:
        """Whether anything failed."""
        return self.found is not None

    @property
    def is_at_tap(self) -> bool:
        """Whether it was caught where it must be."""
        fault, found = self.fault, self.found
        return (
            found is not None
            and (found["tap"], found["outcome"]) == (fault.tap, Outcome.FAILED)
            and fault.check in (None, found["check"])
            and fault.step in (None, found["step"])
        )

    @property
    def explanation(self) -> str | None:
        """What was said to explain it, first of all."""
        explanations = self.found["explanations"] if self.found else []
        return explanations[0]["change"] if explanations else None

    @property
    def is_explained(self) -> bool | None:
        """Whether the right explanation came first; None where there is none to find."""
        return None if self.fault.explained_by is None else self.explanation == self.fault.explained_by


@dataclass(frozen=True)
class CleanRun:
    """A right network on one case in one framework: what it is rejected by."""

    case: str
    framework: str
    rejected_by: Mapping[str, Mapping[str, bool]]


@dataclass(frozen=True)
class Power:
    """A whole run."""

    verdicts: list[Verdict]
    clean: list[CleanRun]
    versions: dict[str, str]
    """Of each framework."""
    duration_s: float
    """How long it took, in all its parts."""
