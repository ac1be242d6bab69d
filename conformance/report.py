"""The report of a run: its verdict, and the three files it is written to, whole or not at all."""

import json
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conformance.junit import junit_text
from conformance.machine import processor
from conformance.markdown import markdown_text
from conformance.results import Check, Column, Outcome, Result
from spec.exits import Exit
from spec.files import write_all
from spec.network import Network

FORMAT = "lockstep-conformance/1"


@dataclass(frozen=True)
class Report:
    """All that a run found."""

    network: Network
    columns: Sequence[Column]
    threads: int

    @property
    def results(self) -> list[Result]:
        """The results of all variants."""
        return [result for column in self.columns for result in column.results]

    @property
    def counts(self) -> Counter[Outcome]:
        """How many results had which outcome."""
        return Counter(result.outcome for result in self.results)

    @property
    def verdict(self) -> str:
        """`failed` if any check failed, else `errored` if any could not be run, else `passed`."""
        counts = self.counts
        if counts[Outcome.FAILED]:
            return "failed"
        return "errored" if counts[Outcome.ERRORED] or not counts[Outcome.PASSED] else "passed"

    @property
    def exit(self) -> Exit:
        """The exit code of the verdict."""
        return {"passed": Exit.PASSED, "failed": Exit.DIVERGED, "errored": Exit.NOT_RUN}[self.verdict]

    @property
    def first_divergences(self) -> list[Result]:
        """The first failure of each variant and case: by itself if any, else end to end; by step, then by the graph."""
        order = {layer.name: index for index, layer in enumerate(self.network.layers)}
        checks = list(Check)

        def rank(result: Result) -> tuple[int, int, int]:
            return checks.index(result.check), result.step or 0, order.get(result.tap.partition(".")[0], 0)

        first: dict[tuple[str, str], Result] = {}
        for result in self.results:
            if result.outcome is Outcome.FAILED:
                key = (str(result.variant), result.case)
                first[key] = min(first.get(key, result), result, key=rank)
        return list(first.values())

    def fields(self) -> dict[str, Any]:
        """The report as conformance.json writes it."""
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "network": {"name": self.network.name, "sha256": self.network.sha256},
            "outcomes": {str(outcome): self.counts[outcome] for outcome in Outcome},
            "environments": {
                "suite": {
                    "python": platform.python_version(),
                    "numpy": np.__version__,
                    "platform": platform.platform(),
                    "processor": processor(),
                    "cores": str(os.cpu_count()),
                    "threads": str(self.threads),
                },
                **{str(column.variant): column.environment | {"version": column.version} for column in self.columns},
            },
            "variants": [column.fields() for column in self.columns],
            "first_divergences": [result.fields() for result in self.first_divergences],
            "results": [result.fields() for result in self.results],
        }

    def write(self, folder: Path) -> list[Path]:
        """Write conformance.json, .md, .xml and scripts; raises NotRunError, and then leaves `folder` as it was."""
        texts = {
            "conformance.json": json.dumps(self.fields(), indent=1, allow_nan=False) + "\n",
            "conformance.md": markdown_text(self.fields(), self.network),
            "conformance.xml": junit_text(self.fields()),
        }
        texts |= {script.path: script.text for own in self.results if (script := own.reproduction) is not None}
        return write_all(folder, texts)
