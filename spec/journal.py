"""Lines of JSON that outlive a stopped run: what is finished is read again, and not measured again."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spec.exits import NotRunError


class Journal:
    """Finished entries of one run, by name. Runs may share a file: each reads its own entries only."""

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
        line = json.dumps({"run": self.run, "name": name, "entry": entry}, separators=(",", ":"))
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
        for line in text.splitlines():
            try:
                fields = json.loads(line)
            except ValueError:  # the line that was being written when the run was stopped
                continue
            match fields:
                case {"run": self.run, "name": str() as name, "entry": entry}:
                    self._entries[name] = entry
