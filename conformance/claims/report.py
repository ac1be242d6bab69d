"""The findings as claims.json and as Markdown."""

import json
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from statistics import median
from typing import Any

import numpy as np

from conformance.claims.study import Finding, Study
from impls.frameworks import Variant
from spec.text import safe

FORMAT = "lockstep-claims/1"


@dataclass(frozen=True)
class Report:
    """All that a study found."""

    study: Study
    variant: Variant
    findings: Sequence[Finding]
    command: str
    """What gives this report again."""

    def json_text(self) -> str:
        """The text of claims.json."""
        plan = self.study.plans[0]
        fields = {
            "format": FORMAT,
            "network": {"name": plan.network.name, "sha256": plan.network.sha256},
            "data": plan.dataset.name,
            "variant": self.variant.fields(),
            "seeds": [each.identity.seed for each in self.study.plans],
            "epochs": plan.epochs,
            "threads": plan.settings.threads,
            "suite": {"python": platform.python_version(), "numpy": np.__version__, "platform": platform.platform()},
            "findings": [_fields(finding) for finding in self.findings],
        }
        return json.dumps(fields, indent=1, allow_nan=False) + "\n"

    def markdown_text(self) -> str:
        """The text of claims.md."""
        plan, seeds = self.study.plans[0], len(self.study.plans)
        images = ", ".join(f"{len(indices):,} {split}" for split, indices in plan.dataset.splits.items())
        given = (
            f"{safe(plan.network.name)} on {safe(plan.dataset.name)} ({images} images), {plan.epochs} epochs, {seeds} "
            f"seeds, {safe(str(self.variant))}. A seed decides splits, weights, shuffles, dropout and augmentation, "
            "and both sides of a pair have the same. Figures are medians over seeds with their least and greatest. "
            "*Agrees*: what the paper has is better from every seed; *disagrees*: worse from every seed. Pure chance "
            f"puts all {seeds} seeds on one side once in {2 ** (seeds - 1)} times."
        )
        paragraphs = [
            "# What the paper says of its parts, at small scale",
            f"Made by `{self.command}`. Whether a claim holds here or not, the table says so; no test depends on it.",
            given,
            "\n".join([HEAD, *map(_row, self.findings)]),
            *dict.fromkeys(
                f"**{each.claim}** ({each.section}). {each.setting}" for each in self.findings if each.setting
            ),
            *_chance(self.study),
        ]
        return "\n\n".join(paragraphs) + "\n"


HEAD = (
    "| the paper says | measured here | with | against | difference | seeds for : against | here |\n"
    "|---|---|---|---|---|---|---|"
)


def verdict(finding: Finding) -> str:
    """Whether the claim holds here."""
    seeds = len(finding.papers)
    if finding.agreeing == seeds:
        return "agrees"
    return "disagrees" if finding.opposing == seeds else "undecided"


def _row(finding: Finding) -> str:
    cells = [
        f"{finding.claim} ({finding.section})",
        finding.measure,
        f"{finding.papers_name}: {spread(finding.papers)}",
        f"{finding.others_name}: {spread(finding.others)}",
        spread(finding.differences, "+"),
        f"{finding.agreeing} : {finding.opposing}",
        verdict(finding),
    ]
    return f"| {' | '.join(cells)} |"


def spread(values: Sequence[float], sign: str = "") -> str:
    """Median, least and greatest."""
    middle, least, greatest = (_number(value, sign) for value in (median(values), min(values), max(values)))
    return f"{middle} ({least} to {greatest})"


def _number(value: float, sign: str) -> str:
    return format(value, f"{sign}.3g") if isfinite(value) else "never" if value > 0 else "−never"


def _chance(study: Study) -> list[str]:
    """How coarse the test error is."""
    split = study.plans[0].dataset.splits
    images = len(split["test"] if "test" in split else split["validation"])
    return [
        f"One of {images:,} test images is {100 / images:.2g} percentage points: smaller differences cannot be seen."
    ]


def _fields(finding: Finding) -> dict[str, Any]:
    values = {
        name: [_finite(value) for value in getattr(finding, name)] for name in ("papers", "others", "differences")
    }
    return {
        **asdict(finding),
        **values,
        "agreeing": finding.agreeing,
        "opposing": finding.opposing,
        "here": verdict(finding),
    }


def _finite(value: float) -> float | None:
    """A float as JSON has it: none for never."""
    return value if isfinite(value) else None
