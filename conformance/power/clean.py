"""False alarms: right networks, of which the suite must reject none, and how many of them other rules reject."""

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from conformance.forward import results_of, traces_of
from conformance.fuzz.cases import files_of, showing_case, turn_to
from conformance.fuzz.networks import random_network
from conformance.known import explained
from conformance.machine import processor
from conformance.participants import Participant
from conformance.power.fault import NARROW, OPERATORS
from conformance.power.planting import code_hash, workers
from conformance.power.report import Count, counted
from conformance.power.rules import RULES
from conformance.power.spent import counting, told
from conformance.power.workbench import BATCH, Run, answered, network_named, rejected_by
from conformance.rates import rate_upper_bound
from conformance.reference import reference
from conformance.results import Case, Outcome
from spec.journal import Journal
from spec.network import Network
from spec.page import Page
from spec.tensors import read
from spec.text import safe

FORMAT = "lockstep-power-clean/1"
PAGE = Page(
    Path(__file__).parents[2] / "docs" / "power.md",
    "<!-- clean: written by python -m conformance power --clean N --write-docs -->",
    "<!-- end of clean -->",
)

#: How far apart the seeds are that stand in for one another.
STEP = 1_000_003
#: What a run of one case comes to in one framework, as the journal keeps it.
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class CleanReport:
    """The report of a run without faults."""

    cases: Sequence[Mapping[str, Entry]]
    """Each case, by framework."""
    versions: Mapping[str, str]
    duration_s: float
    """How long it took, in all its parts."""

    @property
    def alarms(self) -> list[tuple[str, str]]:
        """Every case that was rejected, in which framework, and the first failure."""
        return [
            (f"{entry['case']} in {framework}", entry["alarm"])
            for case in self.cases
            for framework, entry in case.items()
            if entry["alarm"]
        ]

    @property
    def false(self) -> Count:
        """How many cases were rejected, in any framework."""
        return counted(any(entry["alarm"] for entry in case.values()) for case in self.cases)

    @property
    def is_met(self) -> bool:
        """Whether none was."""
        return self.false.events == 0

    @property
    def others(self) -> dict[str, dict[str, Count]]:
        """By rule: how many of the traced cases it rejects in some framework, by the output and by any tap."""
        said = [[entry["rejected_by"] for entry in case.values() if entry["rejected_by"]] for case in self.cases]
        return {
            rule: {
                where: counted(any(own[rule][where] for own in case) for case in said if case)
                for where in ("output", "taps")
            }
            for rule in RULES
        }

    def json_text(self) -> str:
        """The text of power-clean.json."""
        fields = {
            "format": FORMAT,
            "is_met": self.is_met,
            "versions": dict(self.versions),
            "duration_s": self.duration_s,
            "machine": {"processor": processor(), "cores": os.cpu_count()},
            "suite": {"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()},
            "false_alarms": self.false.fields() | {"upper_95_bound": self._bound},
            "other_rules": {
                rule: {where: count.fields() for where, count in counts.items()} for rule, counts in self.others.items()
            },
            "cases": [dict(case) for case in self.cases],
        }
        return json.dumps(fields, indent=1, allow_nan=False) + "\n"

    def markdown_text(self) -> str:
        """The text of power-clean.md."""
        alarms = [f"- {safe(where)}: {safe(message)}" for where, message in self.alarms]
        return "\n".join(["# How often right networks are rejected", "", self.tables(), "", *alarms, ""])

    def tables(self) -> str:
        """The table, as docs/power.md has it."""
        versions = ", ".join(f"{name} {safe(version)}" for name, version in self.versions.items())
        return "\n".join(
            [
                (
                    f"{self.false.of:,} right cases, each in {versions}. A case is rejected where any framework is. "
                    f"{told(self.duration_s)}"
                ),
                "",
                "| rule | rejected, by the output | rejected, by any tap |",
                "|---|---|---|",
                *(f"| {rule} | {own['output']} | {own['taps']} |" for rule, own in self.others.items()),
                f"| Lockstep | | {self.false}; at most {self._bound:.2%} with 95% confidence |",
            ]
        )

    @property
    def _bound(self) -> float:
        return rate_upper_bound(self.false.events, self.false.of)


def clean(pythons: Mapping[str, str], cases: int, journal: Path | None, tell: Callable[[str], None]) -> CleanReport:
    """Run so many right cases; those that are in the journal, of the same code and versions, are not run again.

    Raises NotRunError where a worker is lost twice on one case: that says nothing of it, and is not kept.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-clean-") as folder, workers(pythons, Path(folder)) as running:
        versions = {worker.entrant.variant.framework: worker.hello().version for worker in running}
        kept = Journal(journal, {"code": code_hash(), "versions": versions, "numpy": np.__version__})
        found: list[Mapping[str, Entry]] = []
        alarms = 0
        with counting(kept) as spent_s:
            for number in range(cases):
                tell(f"{number + 1} of {cases} right cases; {alarms} false alarms")
                entry = kept.get(str(number))
                if entry is None:
                    entry = _checked(number, running, Path(folder))
                    kept.put(str(number), entry)
                found.append(entry)
                alarms += any(own["alarm"] for own in entry.values())
            duration_s = spent_s()
        return CleanReport(found, versions, duration_s)


def case_of(number: int) -> tuple[Network, Case]:
    """The network and the case of a number: networks, and kinds of weights and inputs, in turn.

    Every second network is one at random; where the oracle says that a case shows too little of it, the next seed's.
    """
    weight_set, kind = ("scaled", "paper")[number // 4 % 2], ("photographs", "noise")[number // 8 % 2]
    if number % 2 == 0:
        return network_named((NARROW, OPERATORS)[number // 2 % 2]), Case(weight_set, kind, number, BATCH)
    for seed in count(number, STEP):
        network = random_network(seed)
        possible = weight_set if network.training is not None else "scaled"
        case, hidden = showing_case(network, Case(possible, kind, seed, BATCH), gradients=False)
        if not hidden:
            return network, case
    raise AssertionError("seeds have no end")


def _checked(number: int, running: Sequence[Participant], folder: Path) -> dict[str, Entry]:
    """What the suite and other rules say of one right case in each framework."""
    network, case = case_of(number)
    files = files_of(network, case, folder)
    expected = reference(network, read(files.weights), read(files.input)[network.input.name])
    turn_to(network, running, folder)

    def ask() -> list[Run]:
        traces = traces_of(running, files, expected)
        found = results_of(running, traces, files, expected)
        return [
            Run(explained(network, results), rejected_by(own, expected, network))  # a framework's known bug is no alarm
            for results, own in zip(found, traces, strict=True)
        ]

    entries: dict[str, Entry] = {}
    for worker, run in zip(running, answered(ask), strict=True):
        bad = [own for own in run.results if own.outcome in (Outcome.FAILED, Outcome.ERRORED)]
        entries[worker.entrant.variant.framework] = {
            "case": f"{network.name} {case}",
            "alarm": f"{bad[0].tap}, {bad[0].check}: {bad[0].message}" if bad else "",
            "rejected_by": run.rejected_by,
        }
    return entries
