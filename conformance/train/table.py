"""The table of a training run, as the terminal and train.md show it."""

from conformance.results import Outcome
from conformance.train.report import Report
from conformance.train.run import Run

#: Headings, and whether the column is of figures.
COLUMNS = {
    "variant": False,
    "version": False,
    "outcome": False,
    "epochs": True,
    "training loss": True,
    "validation error": True,
    "test error": True,
    "seconds": True,
}


def headings(report: Report) -> list[str]:
    """The headings: what brings no test images was tested on those of validation."""
    return [name for name in COLUMNS if name != "test error" or report.tested_split == "test"]


def rows(report: Report) -> list[tuple[Run, list[str]]]:
    """Each run, and its cells."""
    return [(run, [_cells(report, run)[name] for name in headings(report)]) for run in report.runs]


def _cells(report: Report, run: Run) -> dict[str, str]:
    last = run.epochs[-1] if run.epochs else None
    return {
        "variant": str(run.variant),
        "version": run.version,
        "outcome": str(run.outcome),
        "epochs": f"{len(run.epochs)} of {report.plan.epochs}" if run.outcome is not Outcome.SKIPPED else "",
        "training loss": f"{last.training_loss:.4f}" if last else "",
        "validation error": _percent(last.validation_error_percent, last.validation_top5_error_percent) if last else "",
        "test error": _percent(run.tested.error_percent, run.tested.top5_error_percent) if run.tested else "",
        "seconds": f"{run.duration_s:.0f}" if run.losses else "",
    }


def _percent(error: float, top5: float | None) -> str:
    """The error, and that of five guesses where a network has so many classes that it says something."""
    return f"{error:.2f}%" if top5 is None else f"{error:.2f}% (top 5: {top5:.2f}%)"


def conditions(report: Report) -> str:
    """What the run was given, in a sentence."""
    plan, dataset = report.plan, report.plan.dataset
    images = ", ".join(f"{len(indices):,} {split}" for split, indices in dataset.splits.items())
    return (
        f"{dataset.name}: {images} images in {len(dataset.classes)} classes; batch {plan.training.batch}, "
        f"{plan.batches.steps:,} steps an epoch; seed {plan.identity.seed}, {plan.settings.threads} threads"
    )


def together(report: Report) -> str:
    """How long the frameworks' losses stayed together, in a sentence; nothing for fewer than two frameworks."""
    steps = report.steps_together
    if steps is None:
        return ""
    longest = max(len(run.losses) for run in report.runs)
    return f"The losses of all frameworks lie within 1% of each other for the first {steps:,} of {longest:,} steps."
