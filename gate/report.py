"""The report of a gate: gate.json with gate.md and gate.xml beside it, written whole or not at all, and read again."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass

from gate.junit import junit_text
from gate.markdown import markdown_text
from gate.reading import json_of, require_format, validated
from gate.verdict import Report, Run
from spec.exits import InputError
from spec.files import write_all

FORMAT = "lockstep-gate/1"


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
    content = json_of(path, "a gate.json", "the JSON of a gate's report")
    require_format(content, FORMAT, str(path))
    parsed = validated(_CONTENT, content, str(path))
    if not parsed.runs:
        raise InputError(f"{path}: expected the report of a run, found none in it")
    return Report(parsed.runs, parsed.missing)
