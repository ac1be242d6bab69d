"""What the operators of an imported network are called: as the file calls them, where that can be a name."""

import re
from collections.abc import Iterable

from spec.identifiers import checked_identifier

#: Names that programs give where nobody chose one: `n12`, `r3`, `node_17`, `Conv_4`, `/features/0/Conv`'s last part.
_NUMBERED = re.compile(r"([a-z]?|node|val|tensor|op)_?\d+")
#: What parameters are called behind the name of their layer.
_TAILS = re.compile(r"([_./](w|b|s|rm|riv|weight|bias|scale|shift|mean|var|running|kernel|gamma|beta|bn|0))+$")

LONGEST = 48


class Names:
    """Gives each operator a name of its own."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._counts: dict[str, int] = {}

    def chosen(self, kind: str, node: str, tensors: list[str], output: str) -> str:
        """The name of a node: its own; else that of its parameters; else its output's; else its kind and a number."""
        own = ["" if _NUMBERED.fullmatch(text.lower()) else text for text in (node, output)]
        for candidate in (own[0], _TAILS.sub("", _common_start(tensors)), own[1]):
            name = identifier(candidate)
            if name and name not in self._taken:
                self._taken.add(name)
                return name
        return self.numbered(kind)

    def numbered(self, kind: str) -> str:
        """The kind and the next number that nobody has."""
        while True:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            name = f"{kind}{self._counts[kind]}"
            if name not in self._taken:
                self._taken.add(name)
                return name


def _common_start(words: list[str]) -> str:
    """The letters with which all words begin."""
    first, last = min(words, default=""), max(words, default="")
    length = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    return first[:length]


def identifier(text: str) -> str:
    """`text` as a name that a spec may give, with '_' for what cannot stand in one; empty where nothing is left."""
    name = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[-LONGEST:].lstrip("_0123456789")
    try:
        return checked_identifier(name)
    except ValueError:
        return ""
