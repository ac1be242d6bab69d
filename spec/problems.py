"""Pydantic's errors in the words of a spec: the line, what was expected, what was found."""

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from spec.base import FieldError
from spec.document import Document
from spec.exits import InputError
from spec.hints import did_you_mean
from spec.network import Network
from spec.yaml_tree import Path

#: The keys whose values say which of several models stands there; pydantic adds that value to its locations.
TAG_KEYS = ("op", "kind")

#: Pydantic's words and those of a spec, in the order in which they are replaced.
_WORDS = {
    "Input should be ": "",
    "String should have ": "",
    "a valid ": "a ",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "more than",
    "a boolean": "true or false",
    "dictionary": "mapping",
    " or object to extract fields from": "",
    "object": "mapping",
    "integer": "whole number",
    "a string": "text",
    "tuple": "list",
}


def first_problem(document: Document, error: ValidationError) -> InputError:
    """The first problem in the order of the file, and how many follow; a wrong key comes before a missing one."""
    problems = [problem for problem in error.errors(include_url=False) if not _follows(document, problem)]

    def order(problem: ErrorDetails) -> tuple[int, bool, int]:
        path, _ = _in_file(document, problem["loc"])
        return document.line(path[:2]), problem["type"] == "missing", document.line(path)

    first = min(problems, key=order)
    path, message = _worded(document, first)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return document.wrong(path, _layer_at(document, path) + message + more)


def _follows(document: Document, problem: ErrorDetails) -> bool:
    """Whether pydantic misses items that the file has: it does not count those that have a problem of their own."""
    _, value = _in_file(document, problem["loc"])
    enough = problem.get("ctx", {}).get("min_length", 0)
    return problem["type"] == "too_short" and isinstance(value, list) and len(value) >= enough


def _worded(document: Document, problem: ErrorDetails) -> tuple[Path, str]:
    """Where in the file `problem` is, and what to say of it."""
    loc = problem["loc"]
    path, value = _in_file(document, loc)
    key = str(loc[-1]) if loc else ""
    context = problem.get("ctx", {})
    tag_key = str(context.get("discriminator", "")).strip("'")
    match problem["type"]:
        case "missing" if isinstance(value, dict):
            return path, f"missing key {key!r}; state it"
        case "extra_forbidden":
            known = _known_keys(loc[:-1])
            return path, f"unknown key {key[:80]!r}, expected one of {', '.join(known)}{did_you_mean(key, known)}"
        case "union_tag_invalid":
            word = "operator" if tag_key == "op" else tag_key
            found = str(context["tag"])[:80]
            return (*path, tag_key), f"{tag_key}: unknown {word} {found!r}, expected one of {context['expected_tags']}"
        case "union_tag_not_found":
            return path, f"missing key {tag_key!r}; state it"
        case "value_error":
            inside = context["error"].path if isinstance(context["error"], FieldError) else ()
            return (*path, *inside), str(context["error"])
    label = ".".join(map(str, path[2:] if len(path) > 1 and path[0] == "graph" else path))
    return path, f"{label}{': ' if label else ''}expected {_expected(problem)}, found {_found(value)}"


def _in_file(document: Document, loc: tuple[str | int, ...]) -> tuple[Path, Any]:
    """The part of the file that pydantic's `loc` means, and its value: tags are no keys of the file."""
    path: list[str | int] = []
    value: Any = document.content
    entered = True
    for piece in loc:
        if entered and isinstance(value, dict) and piece in [value.get(key) for key in TAG_KEYS]:
            entered = False
            continue
        inside_mapping = isinstance(value, dict) and piece in value
        inside_list = isinstance(value, list) and isinstance(piece, int) and piece < len(value)
        if inside_mapping or inside_list:
            value = value[piece]
            path.append(piece)
            entered = True
    return tuple(path), value


def _layer_at(document: Document, path: Path) -> str:
    if len(path) < 2 or path[0] != "graph":
        return ""
    _, node = _in_file(document, path[:2])
    name = node.get("name") if isinstance(node, dict) else None
    return f"layer {name!r:.70}: " if isinstance(name, str) else f"layer {path[1]}: "


def _expected(problem: ErrorDetails) -> str:
    """What pydantic expected, in the words of a spec."""
    context = problem.get("ctx", {})
    match problem["type"]:
        case "missing":
            return "more items"
        case "too_short":
            return f"at least {context['min_length']} items"
        case "too_long":
            return f"at most {context['max_length']} items"
    words = problem["msg"]
    for theirs, ours in _WORDS.items():
        words = words.replace(theirs, ours)
    return words


def _found(value: Any) -> str:
    match value:
        case dict():
            return "a mapping"
        case list():
            return f"a list of {len(value)}"
        case _:
            return repr(value)[:80]


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the part at `loc` may have."""
    parts: list[type[BaseModel]] = [Network]
    for piece in loc:
        tagged = [part for part in parts if piece in _tags(part)]
        fields = [part.model_fields[piece] for part in parts if piece in part.model_fields]
        if tagged:
            parts = tagged
        elif fields:
            parts = [part for field in fields for part in _parts(field.annotation)]
    return list(dict.fromkeys(key for part in parts for key in part.model_fields))


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _tags(part: type[BaseModel]) -> tuple[str, ...]:
    for key in TAG_KEYS:
        field = part.model_fields.get(key)
        if field is not None and get_origin(field.annotation) is Literal:
            return get_args(field.annotation)
    return ()
