"""YAML text as plain values with the line of each: the safe, small part of YAML 1.2 that a spec needs.

No tags, anchors or aliases; no duplicate keys; scalars by the YAML 1.2 core schema, so that `1e-4` is a number,
`no` a word and `010` ten.
"""

import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 24
#: More than a graph of as many operators as a network may have, with everything stated.
MAX_VALUES = 100_000

Path = tuple[str | int, ...]

_INT = re.compile(r"[-+]?[0-9]{1,40}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".inf", "+.inf", ".Inf", "+.Inf"), float("inf")),
    **dict.fromkeys(("-.inf", "-.Inf"), float("-inf")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
}


class TreeError(Exception):
    """The text is no YAML of the kind a spec may use."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass
class Tree:
    """Plain values (dict, list, str, int, float, bool, None), and the line on which each begins."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest part around it that the file has."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str) -> Tree:
    """Read one YAML document; raises TreeError."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    tree = Tree()
    try:
        events = yaml.parse(text, Loader=loader)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                if tree.lines:
                    raise TreeError(_line(event), "expected one document, found a second ('---')")
                tree.value = _node(next(events), events, (), tree)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "no YAML"
        raise TreeError(mark.line + 1 if mark else 1, f"expected YAML, found: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.encode()[: error.position].count(b"\n") + 1
        raise TreeError(line, f"expected YAML, found: {str(error).partition(':')[0]}") from None
    return tree


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _node(event: Any, events: Any, path: Path, tree: Tree) -> Any:
    line = _line(event)
    if len(path) > MAX_DEPTH:
        raise TreeError(line, f"expected at most {MAX_DEPTH} levels of nesting, found more")
    if len(tree.lines) >= MAX_VALUES:
        raise TreeError(line, f"expected at most {MAX_VALUES:,} values, found more")
    if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
        raise TreeError(line, "expected plain values, found an anchor or alias; write the value out")
    if getattr(event, "tag", None):
        raise TreeError(line, f"expected plain values, found the tag {event.tag[:60]!r}")
    tree.lines.setdefault(path, line)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(event)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(_node(event, events, (*path, len(items)), tree))
        return items
    mapping: dict[str, Any] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag:
            raise TreeError(_line(event), "expected a plain word as key")
        key = event.value
        if key in mapping:
            first = tree.lines[(*path, key)]
            raise TreeError(_line(event), f"duplicate key {key[:80]!r}, first on line {first}; remove one")
        tree.lines[(*path, key)] = _line(event)
        mapping[key] = _node(next(events), events, (*path, key), tree)
    return mapping


def _scalar(event: Any) -> Any:
    text: str = event.value
    if not event.implicit[0]:
        return text
    if text in _SPECIAL:
        return _SPECIAL[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
