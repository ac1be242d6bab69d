"""The report of a training run: its verdict, train.json and what people read."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from conformance.results import Outcome
from conformance.train.plan import Plan
from conformance.train.run import Run
from spec.exits import Exit

FORMAT = "lockstep-train/1"
#: Losses of one step are called the same within this share of them.
TOGETHER = 0.01


@dataclass(frozen=True)
class Report:
    """All that a run came to."""

    plan: Plan
    runs: Sequence[Run]

    @property
    def verdict(self) -> str:
        """`failed` if any framework did, else `errored` if any could not be run or none was, else `passed`."""
        outcomes = {run.outcome for run in self.runs}
        if Outcome.FAILED in outcomes:
            return "failed"
        return "errored" if Outcome.ERRORED in outcomes or Outcome.PASSED not in outcomes else "passed"

    @property
    def exit(self) -> Exit:
        """The exit code of the verdict."""
        return {"passed": Exit.PASSED, "failed": Exit.DIVERGED, "errored": Exit.NOT_RUN}[self.verdict]

    @property
    def steps_together(self) -> int | None:
        """How many steps the losses of all frameworks stay within `TOGETHER` of each other; None for fewer than two."""
        curves = [run.losses for run in self.runs if run.losses]
        if len(curves) < 2:
            return None
        losses = np.array([curve[: min(map(len, curves))] for curve in curves])
        apart = np.ptp(losses, axis=0) > TOGETHER * np.abs(losses).max(axis=0)
        return int(apart.argmax()) if apart.any() else losses.shape[1]

    @property
    def tested_split(self) -> str:
        """The images that the final error is of."""
        return "test" if "test" in self.plan.dataset.splits else "validation"

    def fields(self) -> dict[str, Any]:
        """The report as train.json writes it."""
        plan = self.plan
        return {
            "format": FORMAT,
            "verdict": self.verdict,
            "identity": asdict(plan.identity),
            "network": {"name": plan.network.name, "sha256": plan.network.sha256},
            "training": plan.training.model_dump(mode="json", exclude={"initialisers"}),
            "data": {
                "name": self.plan.dataset.name,
                "classes": len(self.plan.dataset.classes),
                "images": {split: len(indices) for split, indices in self.plan.dataset.splits.items()},
            },
            "seed": plan.identity.seed,
            "epochs": plan.epochs,
            "steps_an_epoch": plan.batches.steps,
            "tested_split": self.tested_split,
            "steps_together": self.steps_together,
            "suite": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "platform": platform.platform(),
                "cores": os.cpu_count(),
                "threads": plan.settings.threads,
            },
            "runs": [_run_fields(run) for run in self.runs],
        }

    def json_text(self) -> str:
        """The text of train.json."""
        return json.dumps(self.fields(), indent=1, allow_nan=False) + "\n"


def _run_fields(run: Run) -> dict[str, Any]:
    return {
        **run.variant.fields(),
        "version": run.version,
        "environment": run.environment,
        "outcome": str(run.outcome),
        "message": run.message,
        "steps": len(run.losses),
        "resumed_steps": run.resumed_steps,
        "tested": asdict(run.tested) if run.tested else None,
        "duration_s": run.duration_s,
        "epochs": [asdict(epoch) for epoch in run.epochs],
    }
