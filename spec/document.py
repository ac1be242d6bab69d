"""The text of one spec as plain values, and errors that name its lines."""

from dataclasses import dataclass
from typing import Any

from spec import yaml_tree
from spec.exits import InputError, one_line, shortened
from spec.yaml_tree import Path, Tree, TreeError

#: How long an error may be, in characters: it may list every operator, but not repeat a list of the file.
LONGEST_MESSAGE = 600


@dataclass(frozen=True)
class Document:
    """A spec that is YAML, and as yet nothing more."""

    tree: Tree
    place: str
    """What errors call the file."""

    @property
    def content(self) -> dict[str, Any]:
        """The file's values by its top-level keys."""
        content: dict[str, Any] = self.tree.value
        return content

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest part around it that the file has."""
        return self.tree.line(path)

    def wrong(self, path: Path, message: str) -> InputError:
        """The error to raise for what is wrong at `path`."""
        return InputError(f"{self.place}:{self.line(path)}: {shortened(one_line(message), LONGEST_MESSAGE)}")


def parsed(text: str, place: str) -> Document:
    """Read the text of a spec; `place` names it in errors. Raises InputError."""
    try:
        tree = yaml_tree.parse(text)
    except TreeError as error:
        raise InputError(f"{place}:{error.line}: {one_line(error)}") from None
    if not isinstance(tree.value, dict):
        found = "an empty file" if tree.value is None else f"a {type(tree.value).__name__}"
        raise InputError(f"{place}:1: expected a mapping with the keys of a network, found {found}")
    return Document(tree, place)
