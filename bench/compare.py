"""Compares two reports: ratios of medians, each with the range in which it lies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from bench.report import FORMAT
from bench.statistics import Ratio, ratio
from spec.exits import InputError
from spec.terminal import Terminal

Key = tuple[str, ...]


def compare(before: Path, after: Path) -> None:
    """Print how the durations of `after` stand to those of `before`; raises InputError."""
    old, new = _report(before), _report(after)
    for what, one, other in (
        ("network", _network(old), _network(new)),
        ("workload", old["lockstep"]["workload"], new["lockstep"]["workload"]),
    ):
        if one != other:
            raise InputError(f"{after}: expected the {what} of {before}, {one}, found {other}")
    old_rounds, new_rounds = _rounds(old), _rounds(new)
    if not old_rounds.keys() & new_rounds.keys():
        raise InputError(f"{after}: expected a variant and batch of {before}, found none of them")
    table = Table(title=f"{after} over {before}: ratio of durations [95% interval]; below 1 is faster")
    for heading in ("variant", "batch", "before ms", "after ms", "ratio", ""):
        table.add_column(heading)
    for key in old_rounds | new_rounds:
        if key in old_rounds and key in new_rounds:
            found = ratio(new_rounds[key], old_rounds[key], paired=False)
            table.add_row(
                " ".join(key[:-1]), key[-1], _ms(old_rounds[key]), _ms(new_rounds[key]), str(found), _verdict(found)
            )
        else:
            table.add_row(" ".join(key[:-1]), key[-1], "", "", "", f"only in {before if key in old_rounds else after}")
    Terminal().print(table)


def _verdict(found: Ratio) -> str:
    if not found.is_certain:
        return "no difference seen"
    return "faster" if found.value < 1 else "slower"


def _ms(rounds: list[list[float]]) -> str:
    ordered = sorted(sample for samples in rounds for sample in samples)
    return f"{1e3 * ordered[len(ordered) // 2]:,.2f}"


def _network(report: Mapping[str, Any]) -> str:
    network = report["lockstep"]["network"]
    return f"{network['name']} ({network['sha256'][:12]})"


def _report(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a readable report, found: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    found = content.get("lockstep", {}).get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise InputError(
            f"{path}: expected a report of format {FORMAT}, found {found!r:.80}; make one with nox -s bench"
        )
    return dict(content)


def _rounds(report: Mapping[str, Any]) -> dict[Key, list[list[float]]]:
    """The samples of every variant and batch, round by round."""
    found: dict[Key, list[list[float]]] = {}
    for benchmark in report["benchmarks"]:
        key = tuple(str(value) for value in benchmark["params"].values())
        blocks: dict[int, list[float]] = {}
        for block, sample in zip(benchmark["extra_info"]["block"], benchmark["stats"]["data"], strict=True):
            blocks.setdefault(block, []).append(sample)
        found[key] = list(blocks.values())
    return found
