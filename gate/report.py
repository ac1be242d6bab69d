"""The report of a gate: gate.json with gate.md and gate.xml beside it, written whole or not at all, and read again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gate.junit import junit_text
from gate.markdown import markdown_text
from gate.verdict import Report, Run
from spec.exits import InputError, one_line
from spec.files import write_all

FORMAT = "lockstep-gate/1"
#: The longest part of a file that an error repeats.
SHOWN = 80


@dataclass(frozen=True, config=ConfigDict(extra="ignore"))
class _Content:
    """What is read of gate.json; the rest follows from it."""

    runs: tuple[Run, ...]
    missing: tuple[str, ...]


_CONTENT = TypeAdapter(_Content)


def fields(report: Report) -> dict[str, Any]:
    """The report as gate.json writes it."""
    return {
        "format": FORMAT,
        "verdict": report.verdict,
        "exit_code": int(report.exit),
        "missing": list(report.missing),
        "runs": [asdict(run) for run in report.runs],
    }


def write(report: Report, folder: Path) -> list[Path]:
    """Write gate.json, .md and .xml under `folder`; raises NotRunError, and then leaves it as it was."""
    texts = {
        "gate.json": json.dumps(fields(report), indent=1, allow_nan=False) + "\n",
        "gate.md": markdown_text(report),
        "gate.xml": junit_text(report),
    }
    return write_all(folder, texts)


def read(path: Path) -> Report:
    """Read a gate.json; raises InputError, one line, where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: expected a gate.json, found: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected the JSON of a gate's report, found: {error}") from None
    form = content.get("format") if isinstance(content, dict) else None
    if form != FORMAT:
        found = f"format {form!r:.{SHOWN}}" if form is not None else "JSON without a format"
        raise InputError(f"{path}: expected a report of format {FORMAT!r}, found {found}")
    try:
        parsed = _CONTENT.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path}: {at:.{SHOWN}}: {one_line(first['msg'])}, found {str(first['input'])!r:.{SHOWN}}"
        ) from None
    if not parsed.runs:
        raise InputError(f"{path}: expected the report of a run, found none in it")
    return Report(parsed.runs, parsed.missing)
