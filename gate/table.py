"""The report in words and rows, for people: the same on a terminal, in Markdown and in JUnit."""

from collections import Counter

from gate.results import Calibration, Effect, Quantity, SpeedVerdict
from gate.verdict import SPEED_ORDER, Cell, Report


def headline(report: Report) -> str:
    """What was found, in one line."""
    counts = Counter(str(cell.numerics.verdict) for cell in report.cells if cell.numerics is not None)
    said = [f"numerics: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}"] if counts else []
    speed = Counter(str(effect.verdict) for cell in report.cells for _, effect in cell.effects)
    if speed:
        order = [str(verdict) for verdict in SPEED_ORDER]
        said.append("speed: " + ", ".join(f"{speed[verdict]} {verdict}" for verdict in order if speed[verdict]))
    said += [f"cells without a report: {len(report.missing)}"] if report.missing else []
    return "; ".join(said)


def numerics_text(cell: Cell) -> str:
    """The numbers of a cell: the verdict, and where."""
    numerics = cell.numerics
    if numerics is None:
        return "not compared"
    tap = numerics.decided_by
    moved = f" at {tap.tap}" if tap is not None and tap.moved else ""
    return f"{numerics.verdict}{moved}"


def speed_text(cell: Cell) -> str:
    """The costs of a cell: the worst verdict, which costs have it, and the steady state of each batch."""
    worst = cell.worst_speed
    if worst is None:
        return "not timed"
    steady = [
        f"{percent(effect.estimate)} at batch {batch}"
        for batch, effect in cell.effects
        if effect.quantity is Quantity.STEADY and effect.estimate is not None
    ]
    which = list(dict.fromkeys(str(effect.quantity) for _, effect in cell.effects if effect.verdict is worst))
    said = str(worst) if worst in (SpeedVerdict.OK, SpeedVerdict.SKIPPED) else f"{worst}: {', '.join(which)}"
    return f"{said} (forward {', '.join(steady)})" if steady else said


def reasons(cell: Cell) -> str:
    """Why a cell has its verdicts, in a line."""
    said = [cell.numerics.reason] if cell.numerics is not None and cell.numerics.reason else []
    return "; ".join(dict.fromkeys([*said, *(effect.reason for _, effect in cell.effects if effect.reason)]))


def percent(ratio: float | None) -> str:
    """A ratio as a change: `+1.8%`; `?` where it is not known."""
    return "?" if ratio is None else f"{ratio - 1:+.1%}"


def smallest(effect: Effect) -> str:
    """The smallest slow-down that the blocks could have shown."""
    return "none by name" if effect.smallest_effect is None else f"+{effect.smallest_effect:.1%}"


def rate_text(calibration: Calibration | None) -> str:
    """How often this runner sees a difference where there is none, and what that holds for; or that nobody knows."""
    if calibration is None:
        return "A/A rate of this runner: not measured"
    own = calibration.conditions
    return (
        f"A/A rate of this runner ({own.machine}; {own.framework} on {own.device}; {own.plan}): {calibration.slower} "
        f"SLOWER and {calibration.undecided} undecided in {calibration.verdicts} verdicts on "
        f"{', '.join(calibration.cells)}; false alarms at most {calibration.upper_bound:.1%}, at 95%"
    )
