"""What to act on, worst first: where to look, the command that shows it again, and how to accept it on purpose."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from conformance.matrix import words
from conformance.results import Check
from gate import accepted
from gate.options import shell
from gate.results import GRADIENTS, Effect, LayerCost, Numerics, NumericVerdict, SpeedVerdict, TapDrift
from gate.table import percent, smallest
from gate.verdict import Cell, Report, cells_of

#: Verdicts on numbers that block, and so can be accepted.
BLOCKING = (NumericVerdict.PRECISION, NumericVerdict.DIVERGED, NumericVerdict.DRIFTED)
#: A layer is named if it has such a share of what all lost, and is so much slower by itself; so many at most.
LEAST_SHARE, LEAST_RATIO, MOST_LAYERS = 0.1, 1.05, 3


@dataclass(frozen=True)
class Action:
    """One thing to act on."""

    place: str
    verdict: str
    what: tuple[str, ...]
    command: str = ""
    """Shows it again, and nothing else."""
    accept: str = ""
    """The entry that accepts it; reason, link and day are left to a person."""
    accept_in: str = ""
    """The file for it."""


def actions(report: Report) -> list[Action]:
    """What blocks or could not be decided, in the order in which it matters."""
    found = [action for run in report.runs for cell in cells_of([run]) for action in _of_cell(cell)]
    found += [Action(file, "stale", (line,)) for file, line in report.stale]
    found += [Action(place, "missing", ("no report of this cell was given",)) for place in report.missing]
    order = (*map(str, BLOCKING), "SLOWER", "stale", "errored", "missing", "UNDECIDED")
    return sorted(found, key=lambda action: order.index(action.verdict))


def _of_cell(cell: Cell) -> Iterator[Action]:
    place = f"{cell.network}, {cell.variant}"
    if cell.numerics is not None and cell.numerics.verdict in (*BLOCKING, NumericVerdict.ERRORED):
        yield _numeric(cell, cell.numerics, place)
    for batch, effect in cell.effects:
        if effect.verdict in (SpeedVerdict.SLOWER, SpeedVerdict.UNDECIDED, SpeedVerdict.ERRORED):
            command = _command(cell, "--speed-only", "--batch", str(batch))
            where = f"{place}, batch {batch}, {effect.quantity}"
            entry = _entry_of_cost(cell, batch, effect) if effect.verdict is SpeedVerdict.SLOWER else ""
            file = _file(cell.run.accepted_in)
            yield Action(where, str(effect.verdict), tuple(_costs(effect)), command, entry, file)
            if effect.verdict is SpeedVerdict.ERRORED:
                return  # a worker that fails has no cost at all: said once


def _numeric(cell: Cell, numerics: Numerics, place: str) -> Action:
    tap = numerics.decided_by
    if tap is None or numerics.verdict is NumericVerdict.ERRORED:
        return Action(place, str(numerics.verdict), (numerics.reason,), _command(cell, "--numerics-only"))
    what = [*tap.explained[:1], f"where: {_tap(tap)}"]
    first = numerics.first_moved
    if first is not None and first != tap:
        what.append(f"first that moved: {_tap(first)}")
    what.append(f"the same bits: {_identical(numerics)}")
    command, entry = _command(cell, "--numerics-only"), _entry_of_drift(cell, numerics)
    return Action(place, str(numerics.verdict), tuple(what), command, entry, _file(cell.run.accepted_in))


def _identical(numerics: Numerics) -> str:
    """How much is the same bit by bit, of what operators do by themselves: `22 of 23 operators, 3 of 40 gradients`."""
    said = []
    for what, checks in (("operators", (Check.LOCAL,)), ("gradients", GRADIENTS)):
        own = [tap.identical for tap in numerics.taps if tap.check in checks]
        said += [f"{sum(own)} of {len(own)} {what}"] if own else []
    return ", ".join(said)


def _tap(tap: TapDrift) -> str:
    """One tap before and after: `conv3 (conv, local): 21.4 → 11.2 bits, float32 → tf32: …`."""
    said = f"{tap.tap} ({tap.operator + ', ' if tap.operator else ''}{words(tap.check)}): {tap.change}"
    if tap.bits_before is not None and tap.bits_after is not None:
        said += f"; {tap.bits_before:.1f} → {tap.bits_after:.1f} bits"
    if tap.noise_before is not None and tap.noise_after is not None:
        said += f"; {tap.noise_before:.3g} → {tap.noise_after:.3g} {tap.unit}"
    said += f"; {tap.class_before} → {tap.class_after}" if tap.class_before != tap.class_after else ""
    return said + (f"; {tap.message}" if tap.message else "")


def _costs(effect: Effect) -> Iterator[str]:
    if effect.estimate is not None:
        limits = f"limits {percent(effect.low)} to {percent(effect.high)}"
        yield f"{percent(effect.estimate)}, {limits}, {effect.blocks} blocks"
    if effect.reason:
        yield effect.reason
    if effect.layers:
        yield f"where: {_layers(effect.layers)}"
    if effect.verdict is SpeedVerdict.UNDECIDED:
        yield f"these blocks could have shown {smallest(effect)}; more blocks (--looks) or a quieter machine show less"


def _layers(layers: tuple[LayerCost, ...]) -> str:
    """The layers that lost most: `norm1 (lrn) +310%, 61 → 250 ms`; each alone, so that what is between them is left."""
    gained = {own: own.after_s - own.before_s for own in layers}
    whole = sum(cost for cost in gained.values() if cost > 0)
    worst = sorted((own for own in layers if gained[own] >= LEAST_SHARE * whole > 0), key=gained.__getitem__)
    worst = [own for own in worst if own.after_s >= LEAST_RATIO * own.before_s]
    said = [
        f"{own.layer} ({own.operator}) {percent(own.after_s / own.before_s)}, "
        f"{1e3 * own.before_s:.3g} → {1e3 * own.after_s:.3g} ms"
        for own in worst[: -MOST_LAYERS - 1 : -1]
    ]
    return f"{'; '.join(said)}; each layer alone" if said else "in no layer alone, so between them: copies, or fusion"


def _command(cell: Cell, *words: str) -> str:
    own = ["--spec", cell.run.specs.get(cell.network, cell.network), "--lowering", cell.variant.lowering]
    return f"nox -s gate -- {shell([*cell.run.arguments, *own, *words, '--part'])}"


def _file(name: str) -> str:
    return f"{name}, or a file of your own (--accepted)" if name == accepted.NAME else name


def _entry_of_drift(cell: Cell, numerics: Numerics) -> str:
    """An entry of accepted.toml for the taps with this verdict."""
    taps = list(dict.fromkeys(tap.tap for tap in numerics.taps if tap.verdict is numerics.verdict))
    return _entry(cell, {"verdict": str(numerics.verdict), "taps": taps})


def _entry_of_cost(cell: Cell, batch: int, effect: Effect) -> str:
    """An entry of accepted.toml for one cost, up to where its limits allow it to be."""
    assert effect.estimate is not None
    at_most = math.ceil(100.0 * (max(effect.estimate, effect.high or 0.0) - 1.0)) / 100.0
    own = {"quantities": [str(effect.quantity)], "batches": [batch], "at_most": at_most}
    return _entry(cell, {"verdict": str(effect.verdict), **own})


def _entry(cell: Cell, own: Mapping[str, object]) -> str:
    """An entry of accepted.toml, where a package that was asked for has two versions."""
    sides = cell.run.finding.sides
    change = next((own for own in sides.changes if own.asked and own.before and own.after), None)
    if change is None:
        return ""
    values = {
        "framework": sides.framework, "package": change.package, "before": f"=={change.before}",
        "after": f"=={change.after}", "networks": [cell.network], "lowerings": [cell.variant.lowering], **own,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    lines += ['reason = ""  # why this is right, in one sentence', 'link = ""    # where that was found out']
    return "\n".join(["[[accepted]]", *lines, f"expires =     # a day, at most {accepted.LONGEST.days} days from now"])
