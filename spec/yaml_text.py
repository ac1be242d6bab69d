"""A network as the text of a spec file: what a person would write, and what `spec.load` reads back."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from spec.network import Network

#: Longer lists and mappings are broken into a line an entry.
WIDTH = 100
_PLAIN = re.compile(r"[A-Za-z]([A-Za-z0-9_/.,() -]*[A-Za-z0-9)])?")
#: What separates the entries of a list or mapping on one line.
_SEPARATOR = ","


def network_text(network: Network, remark: str) -> str:
    """The spec of `network`; `remark`, one line, becomes the comment above it."""
    content = network.model_dump(mode="json", exclude={"graph"})
    before = network.input.name
    lines = [
        "# yaml-language-server: $schema=../network.schema.json",
        f"# {remark}",
        *(f"{key}: {_scalar(content[key])}" for key in ("format", "name", "title", "source")),
        "",
        *_entry("input", content["input"], 0),
        "",
        "graph:",
    ]
    for operator in network.graph:
        fields = operator.model_dump(mode="json", exclude_none=True)
        source = fields.pop("source", None)
        shown = {"name": fields["name"], "op": fields["op"], **fields} | ({"source": source} if source else {})
        if operator.reads == (before,):
            shown.pop("inputs", None)
        before = operator.name
        stated = [line for key, value in shown.items() for line in _entry(key, _compact(key, value), 4)]
        lines += [f"  - {stated[0].strip()}", *stated[1:], ""]
    for key in ("expect", "preprocessing", "training", "evaluation"):
        if content[key] is not None:
            lines += [*_entry(key, content[key], 0), ""]
    return "\n".join(lines).rstrip() + "\n"


def _compact(key: str, value: Any) -> Any:
    """One number for several equal ones, where the language allows it."""
    if key in ("kernel", "stride", "pads") and len(set(value)) == 1:
        return value[0]
    return value


def _entry(key: str, value: Any, indent: int) -> Iterator[str]:
    """The lines of one key."""
    line = f"{' ' * indent}{key}: {_flow(value)}"
    if not isinstance(value, Mapping) or (len(line) <= WIDTH and indent):
        yield line
        return
    yield f"{' ' * indent}{key}:"
    for name, item in value.items():
        yield from _entry(name, item, indent + 2)


def _flow(value: Any) -> str:
    match value:
        case Mapping():
            return f"{{{', '.join(f'{key}: {_flow(item)}' for key, item in value.items())}}}"
        case str() if _SEPARATOR in value:
            return json.dumps(value, ensure_ascii=False)
        case str():
            return _scalar(value)
        case Sequence():
            return f"[{', '.join(map(_flow, value))}]"
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    """Words that read as themselves stand plain; every other text is quoted as JSON, which YAML reads alike."""
    match value:
        case str() if _PLAIN.fullmatch(value) and value.lower() not in ("true", "false", "null"):
            return value
        case float() if "e" in repr(value) and "." not in repr(value):
            return repr(value).replace("e", ".0e")
        case _:
            return json.dumps(value, ensure_ascii=False)
