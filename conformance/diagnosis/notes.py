"""How a framework comes to a change: one line of fact, kept as data in notes.toml."""

import tomllib
from functools import cache
from pathlib import Path

from conformance.diagnosis.wrong_values import AND
from spec.base import Part

FILE = Path(__file__).with_name("notes.toml")


class Note(Part):
    """One fact."""

    operator: str
    """`sgd` for the optimiser, `preprocessing`, …"""
    change: str
    """How the changes begin that it is about."""
    framework: str = ""
    """Of whose failures it is said; empty: of all that have no note of their own."""
    note: str


def note(operator: str, change: str, framework: str) -> str:
    """The fact that fits best, or nothing; of several fields, one a field."""
    return " ".join(filter(None, (_note(operator, each, framework) for each in change.split(AND))))


def _note(operator: str, change: str, framework: str) -> str:
    fitting = [each for each in notes() if each.operator == operator and change.startswith(each.change)]
    own = [each for each in fitting if each.framework == framework]
    return next((each.note for each in (*own, *fitting) if each.framework in ("", framework)), "")


@cache
def notes() -> tuple[Note, ...]:
    """All facts that come with Lockstep."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8"))["note"]
    return tuple(Note.model_validate(entry) for entry in entries)
