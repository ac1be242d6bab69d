"""What a run of networks at random found, as fuzz.json and fuzz.md."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conformance.fuzz.fields import KINDS
from conformance.participants import Participant
from conformance.results import Case, Check, Outcome, Result
from spec.exits import Exit
from spec.files import write_all
from spec.network import Network
from spec.text import safe

FORMAT = "lockstep-fuzz/1"
BAD = (Outcome.FAILED, Outcome.ERRORED)


@dataclass(frozen=True)
class Failure:
    """A network that failed, and the small one that it was shrunk to."""

    seed: int
    """Of the network; a negative number where it was replayed."""
    case: Case
    first: Result
    """The first failure of the small one."""
    network: Network
    """The small one."""
    path: Path

    def fields(self) -> dict[str, Any]:
        """As fuzz.json writes it."""
        return {
            "seed": self.seed if self.seed >= 0 else None,
            "case": str(self.case),
            "operators": [operator.op for operator in self.network.graph],
            "path": str(self.path),
            "first": self.first.fields(),
        }


@dataclass
class Tally:
    """All that was found so far."""

    networks: int = 0
    replayed: int = 0
    forward_only: Counter[str] = field(default_factory=Counter)
    """Networks of which no case shows every gradient, by the operator and what cannot be seen."""
    vacuous: Counter[str] = field(default_factory=Counter)
    """Networks of which no case shows every operator: not checked, and not counted."""
    unsupported: Counter[str] = field(default_factory=Counter)
    """Networks that a framework cannot run as asked, by framework and what it says."""
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    operators: Counter[str] = field(default_factory=Counter)
    """In how many networks each operator was checked."""
    checks: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    """How many checks passed: by operator and framework, and whether they are of gradients."""
    failures: list[Failure] = field(default_factory=list)

    def add(self, network: Network, results: Sequence[Sequence[Result]]) -> None:
        """Count what a network showed."""
        self.operators.update({operator.op for operator in network.graph})
        for result in (result for own in results for result in own):
            self.outcomes[result.outcome] += 1
            if result.outcome is Outcome.PASSED and result.operator in KINDS:
                gradient = result.check in (Check.GRADIENT_INPUT, Check.GRADIENT_PARAMETER)
                self.checks[result.operator, result.variant.framework, gradient] += 1

    @property
    def never(self) -> list[str]:
        """The operators that no network had."""
        return [op for op in KINDS if not self.operators[op]]


@dataclass(frozen=True)
class Report:
    """A run."""

    tally: Tally
    seed: int
    threads: int
    duration_s: float
    """Of the networks at random, replays left out."""
    participants: Sequence[Participant]
    is_whole: bool = True
    """Whether all networks that were asked for were tried: not where the run was interrupted."""

    @property
    def verdict(self) -> str:
        """`failed` if any check failed, else `errored` if any could not be run, else `interrupted` or `passed`."""
        failures = [failure.first.outcome for failure in self.tally.failures]
        if Outcome.FAILED in failures:
            return "failed"
        if failures or (self.is_whole and not self.tally.outcomes[Outcome.PASSED]):
            return "errored"
        return "passed" if self.is_whole else "interrupted"

    @property
    def exit(self) -> Exit:
        """The exit code of the verdict."""
        return {"passed": Exit.PASSED, "failed": Exit.DIVERGED}.get(self.verdict, Exit.NOT_RUN)

    @property
    def per_minute(self) -> float:
        """Networks a minute of wall-clock time."""
        return 60 * self.tally.networks / self.duration_s if self.duration_s > 0 else 0.0

    def fields(self) -> dict[str, Any]:
        """As fuzz.json writes it."""
        tally, frameworks = self.tally, [own.entrant.variant.framework for own in self.participants]
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "seed": self.seed,
            "networks": tally.networks,
            "replayed": tally.replayed,
            "duration_s": round(self.duration_s, 1),
            "networks_per_minute": round(self.per_minute, 1),
            "threads": self.threads,
            "outcomes": {str(outcome): tally.outcomes[outcome] for outcome in Outcome},
            "operators": {
                op: {
                    "networks": tally.operators[op],
                    "forward": {name: tally.checks[op, name, False] for name in frameworks},
                    "gradients": {name: tally.checks[op, name, True] for name in frameworks},
                }
                for op in KINDS
            },
            "is_whole": self.is_whole,
            "unsupported": dict(tally.unsupported),
            "vacuous": dict(tally.vacuous),
            "forward_only": dict(tally.forward_only),
            "variants": [own.column.fields() for own in self.participants],
            "failures": [failure.fields() for failure in tally.failures],
        }

    def markdown_text(self) -> str:
        """As people read it."""
        found = self.fields()
        frameworks = [own["framework"] for own in found["variants"]]
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in found["outcomes"].items() if count)
        ran = (
            f"{found['networks']} networks from seed {found['seed']}, {found['networks_per_minute']} a minute "
            f"(wall-clock, threads a worker: {found['threads']}), and {found['replayed']} replayed. Checks: {counts}."
        )
        left_out = (
            f"Left out because no case shows every operator: {sum(found['vacuous'].values())} more. Checked forward "
            f"only because none shows every gradient: {sum(found['forward_only'].values())} of them."
        )
        lines = [f"# Networks at random: {found['verdict']}", "", ran, "", left_out, ""]
        lines += [f"- cannot be run, in {count} networks: {safe(what)}" for what, count in found["unsupported"].items()]
        for failure in found["failures"]:
            first = failure["first"]
            lines.append(
                f"- **{first['framework']}**, network {failure['seed']}: `{first['tap']}` ({first['operator']}, "
                f"{first['check']}): {safe(first['message'])} ({safe(failure['path'])})"
            )
        lines += [
            "",
            "Checks that passed, forward / of gradients:",
            "",
            f"| operator | networks | {' | '.join(frameworks)} |",
            "|---|---|" + "---|" * len(frameworks),
        ]
        for op, own in found["operators"].items():
            cells = [f"{own['forward'][name]:,} / {own['gradients'][name]:,}" for name in frameworks]
            lines.append(f"| {op} | {own['networks']} | {' | '.join(cells)} |")
        versions = ", ".join(f"{own['framework']} {safe(own['version'])} ({own['mode']})" for own in found["variants"])
        return "\n".join([*lines, "", f"{versions}.", ""])

    def write(self, folder: Path) -> list[Path]:
        """Write fuzz.json and fuzz.md; raises NotRunError."""
        text = json.dumps(self.fields(), indent=1, allow_nan=False) + "\n"
        return write_all(folder, {"fuzz.json": text, "fuzz.md": self.markdown_text()})
