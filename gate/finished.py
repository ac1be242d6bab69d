"""What a gate has finished, kept by the content of what is compared: a stopped run goes on from it."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from gate.numerics import Cases
from gate.plan import Cell, Plan
from gate.results import Numerics, Sides
from spec.exits import NotRunError
from spec.journal import Journal
from spec.load import find

ROOT = Path(__file__).parents[1]
PACKAGES = ("spec", "impls", "conformance", "bench", "gate")

#: So many runs that ended are kept, with the conformance reports of both sides and every block.
KEPT = 20

#: What makes two machines one, for what was measured on it.
MACHINE = ("processor", "cores", "allowed_cores", "platform", "device", "flags")

_NUMERICS = TypeAdapter(list[Numerics])


def place() -> Path:
    """Where runs that are not over keep what is finished: what LOCKSTEP_RUNS names, else below build/."""
    return Path(os.environ.get("LOCKSTEP_RUNS") or ROOT / "build" / "gate-runs")


@dataclass
class Finished:
    """The folder of one comparison."""

    folder: Path
    key: str
    notes: list[str] = field(default_factory=list)
    """What was reused."""

    @classmethod
    def of(
        cls,
        sides: Sides,
        cases: Mapping[str, Cases],
        plan: Plan,
        cells: Sequence[Cell],
        baseline_report: Path | None,
        machine: Mapping[str, str],
    ) -> "Finished":
        """That of what is compared: any other environment, network, case, plan, machine or Lockstep has another."""
        content: dict[str, Any] = {
            "sides": asdict(sides),
            "cases": {name: [asdict(own), _digest(find(own.spec))] for name, own in cases.items()},
            "plan": asdict(plan),
            "cells": [cell.key for cell in cells],
            "baseline_report": _digest(baseline_report) if baseline_report else None,
            "machine": {name: machine.get(name) for name in MACHINE},
            "lockstep": own_digest(),
        }
        key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return cls(place() / key, key)

    @property
    def blocks(self) -> Path:
        """The journal of finished blocks of speed."""
        return self.folder / "speed.jsonl"

    def numerics(self, name: str) -> list[Numerics] | None:
        """The finished numbers of a network; None where there are none."""
        try:
            entry = self._journal().get(name)
            found = None if entry is None else _NUMERICS.validate_python(entry)
        except ValidationError:  # damaged: it is made again
            return None
        if found is not None:
            self.notes.append(
                f"the numerics of {name} were finished by an earlier run that was stopped, and are reused"
            )
        return found

    def keep(self, name: str, found: Sequence[Numerics]) -> None:
        """Keep the numbers of a network; raises NotRunError."""
        self._journal().put(name, [asdict(own) for own in found])

    def count_blocks(self) -> None:
        """Note how many blocks of speed are there already."""
        try:
            blocks = len(self.blocks.read_text(encoding="utf-8", errors="replace").splitlines())
        except FileNotFoundError:
            return
        except OSError as error:
            raise NotRunError(f"{self.blocks}: expected a journal, found: {error.strerror or error}") from None
        self.notes.append(f"{blocks} blocks of speed were measured by an earlier run that was stopped, and are reused")

    def forget(self) -> None:
        """Remove what is there; raises NotRunError."""
        try:
            shutil.rmtree(self.folder, ignore_errors=False)
        except FileNotFoundError:
            return
        except OSError as error:
            raise NotRunError(f"{self.folder}: expected to remove it, found: {error.strerror or error}") from None

    def close(self) -> None:
        """The report is there: what was measured stays, under a name from which no run goes on."""
        old = self.folder.with_name(f"{self.key}.finished")
        try:
            shutil.rmtree(old, ignore_errors=True)
            if self.folder.exists():
                self.folder.replace(old)
                os.utime(old)
            for path in sorted(place().glob("*.finished"), key=lambda path: path.stat().st_mtime)[:-KEPT]:
                shutil.rmtree(path, ignore_errors=True)
        except OSError as error:
            raise NotRunError(f"{self.folder}: expected to rename it, found: {error.strerror or error}") from None

    def _journal(self) -> Journal:
        return Journal(self.folder / "numerics.jsonl", {"key": self.key})


@cache
def own_digest() -> str:
    """Of Lockstep's own code and data: a change of it may change any verdict."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            if path.suffix in (".py", ".toml", ".yaml") and "generated" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)} {_digest(path)}\n".encode())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "unreadable"
