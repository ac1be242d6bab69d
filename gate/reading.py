"""Files of JSON that the gate reads: what is wrong with one is a line that names the file."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from spec.exits import InputError, one_line

#: The longest part of a file that an error repeats.
SHOWN = 80

_Content = TypeVar("_Content")


def json_of(path: Path, file: str, text: str, place: str = "") -> Any:
    """The JSON in a file; raises InputError, which calls the file `file`, and `text` what should be in it."""
    place = place or str(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{place}: expected {file}, found: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: expected {text}, found: {error}") from None


def require_format(content: Any, form: str, place: str, file: str = "a report") -> None:
    """Raise InputError for a file of another format."""
    found = content.get("format") if isinstance(content, dict) else None
    if found != form:
        what = f"format {found!r:.{SHOWN}}" if found is not None else "JSON without a format"
        raise InputError(f"{place}: expected {file} of format {form!r}, found {what}")


def validated(adapter: TypeAdapter[_Content], content: Any, place: str) -> _Content:
    """The content of a file as values; raises InputError for the first thing that is wrong with it."""
    try:
        return adapter.validate_python(content)
    except ValidationError as error:
        raise InputError(f"{place}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    """Where it is, what was expected, and what was found."""
    first = error.errors()[0]
    at = ".".join(map(str, first["loc"]))
    found = "nothing" if first["type"] == "missing" else f"{str(first['input'])!r:.{SHOWN}}"
    return f"{at:.{SHOWN}}: {one_line(first['msg'])}, found {found}"
