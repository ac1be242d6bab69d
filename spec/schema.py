"""The JSON Schema of spec files, generated from the model, by which editors complete and check them."""

import difflib
import json
from pathlib import Path

from spec.exits import NotRunError
from spec.load import shown
from spec.network import Network

SCHEMA = Path(__file__).parent / "network.schema.json"


def text() -> str:
    """The schema as the file holds it."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", **Network.model_json_schema()}
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def drift() -> str:
    """What tells the file from the model, as a unified diff; empty where they agree."""
    try:
        actual = SCHEMA.read_text(encoding="utf-8")
    except FileNotFoundError:
        actual = ""
    except (OSError, ValueError) as error:
        raise NotRunError(f"{shown(SCHEMA)}: expected a readable file, found: {error}") from None
    place = shown(SCHEMA)
    lines = difflib.unified_diff(actual.splitlines(True), text().splitlines(True), place, f"{place} (from the model)")
    return "".join(lines)


def write() -> None:
    """Write the file; raises NotRunError."""
    try:
        SCHEMA.write_text(text(), encoding="utf-8")
    except OSError as error:
        raise NotRunError(f"{shown(SCHEMA)}: cannot be written: {error.strerror}") from None
