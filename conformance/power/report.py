"""What a power run found: counts with exact intervals, a table a fault, and beside them what other rules would say."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.machine import processor
from conformance.power.rules import RULES
from conformance.power.spent import told
from conformance.power.verdicts import Power, Verdict
from conformance.rates import rate_interval
from conformance.results import Check
from spec.text import safe

FORMAT = "lockstep-power/1"
#: What must be reached, as a share of the plantings.
CAUGHT, AT_TAP, EXPLAINED = 1.0, 0.95, 0.90


@dataclass(frozen=True)
class Count:
    """How many of some runs."""

    events: int
    of: int

    @property
    def share(self) -> float:
        """The share; 1 of none."""
        return self.events / self.of if self.of else 1.0

    @property
    def interval(self) -> tuple[float, float]:
        """The exact 95% interval of the rate (Clopper and Pearson)."""
        return rate_interval(self.events, self.of) if self.of else (0.0, 1.0)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.events} of {self.of} ({self.share:.1%}; {low:.1%} to {high:.1%})"

    def fields(self) -> dict[str, Any]:
        """As power.json writes it."""
        low, high = self.interval
        return {"events": self.events, "of": self.of, "interval": [low, high]}


def counted(flags: Iterable[bool]) -> Count:
    """How many are true."""
    listed = list(flags)
    return Count(sum(listed), len(listed))


@dataclass(frozen=True)
class Report:
    """The report of a power run."""

    power: Power

    @property
    def totals(self) -> dict[str, Count]:
        """What the suite caught, and explained."""
        verdicts = self.power.verdicts
        explained = [verdict.is_explained for verdict in verdicts]
        return {
            "caught": counted(verdict.is_caught for verdict in verdicts),
            "at the right tap": counted(verdict.is_at_tap for verdict in verdicts),
            "explained first": counted(each for each in explained if each is not None),
        }

    @property
    def is_met(self) -> bool:
        """Whether all that must be reached is."""
        required = (CAUGHT, AT_TAP, EXPLAINED)
        return all(count.share >= least for count, least in zip(self.totals.values(), required, strict=True))

    @property
    def others(self) -> dict[str, dict[str, Count]]:
        """By rule: which of the forward faults it catches and which right networks it rejects, by output or any tap."""
        planted = [own.rejected_by for own in self.power.verdicts if own.rejected_by is not None]
        clean = [own.rejected_by for own in self.power.clean]
        return {
            rule: {
                f"{what}, {place}": counted(one[rule][where] for one in runs)
                for what, runs in (("caught", planted), ("right networks rejected", clean))
                for place, where in (("by the output", "output"), ("by any tap", "taps"))
            }
            for rule in RULES
        }

    @property
    def suite(self) -> Count:
        """How many of the same runs this suite catches. The right networks must pass before anything is planted."""
        return counted(own.is_caught for own in self.power.verdicts if own.rejected_by is not None)

    def json_text(self) -> str:
        """The text of power.json."""
        fields = {
            "format": FORMAT,
            "is_met": self.is_met,
            "versions": self.power.versions,
            "duration_s": self.power.duration_s,
            "suite": {"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()},
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "totals": {name: count.fields() for name, count in self.totals.items()},
            "other_rules": {
                rule: {name: count.fields() for name, count in counts.items()} for rule, counts in self.others.items()
            },
            "faults": [_fields(verdict) for verdict in self.power.verdicts],
            "right_networks": [vars(run) for run in self.power.clean],
        }
        return json.dumps(fields, indent=1, allow_nan=False) + "\n"

    def markdown_text(self) -> str:
        """The text of power.md."""
        return f"# Which planted faults the suite catches\n\n{self.tables()}\n"

    def tables(self) -> str:
        """The tables, as docs/power.md has them."""
        verdicts = self.power.verdicts
        names = list(dict.fromkeys(verdict.framework for verdict in verdicts))
        versions = ", ".join(f"{name} {safe(version)}" for name, version in self.power.versions.items())
        faults = {verdict.fault.id: verdict.fault for verdict in verdicts}.values()
        unexplainable = sum(verdict.is_explained is None for verdict in verdicts)
        lines = [
            (
                f"{len(faults)} faults, {len(verdicts)} plantings: {versions}; {platform.machine()}, CPU, float32. "
                f"{told(self.power.duration_s)}"
            ),
            "",
            "| of all plantings | count, share, exact 95% interval |",
            "|---|---|",
            *(f"| {name} | {count} |" for name, count in self.totals.items()),
            "",
            (
                f"Other rules on the {self.suite.of} plantings of the forward lane that gave a trace, and on "
                f"{len(self.power.clean)} runs of right networks, against the float64 oracle end to end: of the output "
                "alone, or of every tap."
            ),
            "",
            "| rule | caught, by the output | caught, by any tap | right rejected, by the output | by any tap |",
            "|---|---|---|---|---|",
            *(f"| {rule} | {' | '.join(map(str, counts.values()))} |" for rule, counts in self.others.items()),
            f"| Lockstep | | {self.suite} | | these must pass first; [others](#false-alarms) |",
            "",
            (
                "✅ caught at the right tap, and explained first; ☑️ caught at the right tap, in no class that can be "
                f"diagnosed ({unexplainable} of {len(verdicts)}); 🔎 caught at the right tap, explained otherwise; "
                "📍 caught elsewhere; ❌ not caught."
            ),
            "",
            f"| fault | of | what is wrong | caught at | {' | '.join(names)} |",
            "|---" * (4 + len(names)) + "|",
        ]
        by_fault = {(verdict.fault.id, verdict.framework): verdict for verdict in verdicts}
        for fault in faults:
            cells = [mark(by_fault.get((fault.id, name))) for name in names]
            place = f"`{fault.tap}`{_check(fault.check)}{f', step {fault.step}' if fault.step else ''}"
            lines.append(
                f"| `{fault.id}` | {fault.operator}: {fault.field} | {fault.what} | {place} | {' | '.join(cells)} |"
            )
        return "\n".join(lines)


def mark(verdict: Verdict | None) -> str:
    """One sign for what became of a planting."""
    if verdict is None:
        return ""
    if not verdict.is_caught:
        return "❌"
    if not verdict.is_at_tap:
        return "📍"
    return {True: "✅", False: "🔎", None: "☑️"}[verdict.is_explained]


def misses(verdicts: Sequence[Verdict]) -> list[str]:
    """A line for every planting that was not caught where it must be, or not explained as it must be."""
    lines = []
    for verdict in verdicts:
        fault, found = verdict.fault, verdict.found
        head = f"{fault.id} in {verdict.framework}"
        if found is None:
            lines.append(f"{head}: expected to be caught at {fault.tap}; the suite saw nothing wrong")
        elif not verdict.is_at_tap:
            where = f"{found['tap'] or found['check']}, {found['check']}, step {found['step']}: {found['message']}"
            lines.append(f"{head}: expected at {fault.tap}{_check(fault.check)}, found at {where}")
        elif verdict.is_explained is False:
            lines.append(f"{head}: expected the explanation {fault.explained_by}, found {verdict.explanation}")
    return lines


def _check(check: Check | None) -> str:
    return f", {check.replace('_', ' ')}" if check else ""


def _fields(verdict: Verdict) -> dict[str, Any]:
    fault = verdict.fault
    return {
        "id": fault.id,
        "operator": fault.operator,
        "field": fault.field,
        "what": fault.what,
        "network": fault.spec,
        "framework": verdict.framework,
        "expected": {"tap": fault.tap, "check": fault.check, "step": fault.step, "explained_by": fault.explained_by},
        "caught": verdict.is_caught,
        "at_tap": verdict.is_at_tap,
        "explained_first": verdict.is_explained,
        "found": verdict.found,
        "rejected_by": verdict.rejected_by,
    }
