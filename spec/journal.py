"""Lines of JSON that outlive a stopped run: what is finished is read again, and not measured again."""

import hashlib
import json
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from spec.exits import NotRunError


class Journal:
    """Finished entries of one run, by name. Runs may share a file: each reads its own entries only.

    A line that does not match its own hash, cut off or damaged, is not used: what it held is as if it never were.
    """

    def __init__(self, path: Path | None, run: Mapping[str, Any]) -> None:
        self.path = path
        self.run = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).hexdigest()[:16]
        self._entries: dict[str, Any] = {}
        self._is_open_line = False
        if path is not None:
            self._read(path)

    def get(self, name: str) -> Any:
        """What was put under `name`; None if nothing was."""
        return self._entries.get(name)

    def put(self, name: str, entry: Any) -> None:
        """Keep `entry`; raises NotRunError where the file cannot take it."""
        self._entries[name] = entry
        if self.path is None:
            return
        fields = {"run": self.run, "name": name, "entry": entry}
        line = _text(fields | {"hash": _hash(fields)})
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(f"\n{line}\n" if self._is_open_line else f"{line}\n")
        except OSError as error:
            raise NotRunError(f"{self.path}: expected to keep results there, found: {error.strerror}") from None
        self._is_open_line = False

    def _read(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise NotRunError(f"{path}: expected a journal of results, found: {error.strerror}") from None
        self._is_open_line = bool(text) and not text.endswith("\n")
        lines = text.splitlines()
        whole = [fields for fields in map(_fields, lines) if fields is not None]
        if bad := len(lines) - len(whole):
            _warn(path, bad)
        self._entries = {fields["name"]: fields["entry"] for fields in whole if fields["run"] == self.run}


def _fields(line: str) -> dict[str, Any] | None:
    """What a line holds; None if it is not as it was written."""
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    match fields:
        case {"run": str(), "name": str(), "entry": _, "hash": str() as own, **rest} if not rest:
            del fields["hash"]
            return fields if own == _hash(fields) else None
    return None


def _hash(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(fields).encode()).hexdigest()[:16]


def _text(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))


@cache  # once a process, however often a journal is opened
def _warn(path: Path, bad: int) -> None:
    what = "line that is" if bad == 1 else "lines that are"
    print(f"warning: {path}: found {bad} {what} cut off or damaged; what is missing is run again", file=sys.stderr)
