"""A page of the documentation whose table a program writes: what stands between two marks is renewed."""

from dataclasses import dataclass
from pathlib import Path

from spec.exits import NotRunError


@dataclass(frozen=True)
class Page:
    """The page, and the marks of the table in it."""

    path: Path
    begin: str
    end: str

    def require(self) -> None:
        """Raise NotRunError where the page is missing, or lacks the marks: better now than after an hour."""
        self._parts()

    def renew(self, text: str) -> None:
        """Put `text` between the marks; raises NotRunError where there are none, or the page cannot be written."""
        before, after = self._parts()
        part = self.path.with_name(f".{self.path.name}.part")
        try:
            part.write_text(f"{before}{self.begin}\n\n{text}\n\n{self.end}{after}", encoding="utf-8")
            part.replace(self.path)
        except OSError as error:
            raise NotRunError(f"{self.path}: expected to write the table there, found: {error.strerror}") from None

    def _parts(self) -> tuple[str, str]:
        """What stands before and after the table."""
        try:
            before, begin, rest = self.path.read_text(encoding="utf-8").partition(self.begin)
        except OSError as error:
            raise NotRunError(f"{self.path}: expected a page for the table, found: {error.strerror}") from None
        _, end, after = rest.partition(self.end)
        if not begin or not end:
            raise NotRunError(
                f"{self.path}: expected the marks {self.begin} and {self.end}, found none; put them there"
            )
        return before, after
