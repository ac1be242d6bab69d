"""The picture of a training run: loss and validation error of every framework, one on top of the other."""

import io
from collections.abc import Sequence

from conformance.train.run import Run
from spec.exits import NotRunError

try:
    import matplotlib as mpl
    from matplotlib.figure import Figure
except ImportError as error:
    raise NotRunError(
        f"train: expected matplotlib, which draws the curves, found: {error}; install requirements/train.txt"
    ) from None

mpl.rcParams["svg.hashsalt"] = "lockstep"  # the same figures give the same file

#: One each, so that a curve shows through those above it.
STYLES = ("-", "--", ":", "-.")


def curves(title: str, runs: Sequence[Run]) -> str:
    """An SVG of the epochs of all runs, which must have some each."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for number, run in enumerate(runs):
        style, name = STYLES[number % len(STYLES)], str(run.variant)
        epochs = range(1, len(run.epochs) + 1)
        above.plot(epochs, [epoch.training_loss for epoch in run.epochs], style, label=f"{name}, training")
        colour = above.lines[-1].get_color()
        validation = [epoch.validation_loss for epoch in run.epochs]
        above.plot(epochs, validation, style, color=colour, alpha=0.4, label=f"{name}, validation")
        below.plot(epochs, [epoch.validation_error_percent for epoch in run.epochs], style, label=name)
    above.set(yscale="log", ylabel="loss", title=title)
    below.set(yscale="symlog", xlabel="epoch", ylabel="validation error, %", ylim=(0, 100))
    for axes in (above, below):
        axes.grid(visible=True, which="both", alpha=0.3)
        axes.legend(fontsize="small")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
