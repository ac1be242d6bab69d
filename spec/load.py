"""From a YAML file to a network, or to one line that says where the file is wrong."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError

from spec import yaml_tree
from spec.exits import InputError, one_line
from spec.network import Network
from spec.shapes import ShapeError
from spec.yaml_tree import Tree, TreeError

NETWORKS = Path(__file__).parent / "networks"
MAX_BYTES = 512 * 1024


def shipped() -> dict[str, Path]:
    """The networks that come with Lockstep, by name."""
    return {path.stem: path for path in sorted(NETWORKS.glob("*.yaml"))}


def find(name_or_path: str) -> Path:
    """The file that a user means: the name of a shipped network, or a path; raises InputError."""
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    try:
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise InputError(f"{name_or_path!r:.200}: expected a readable spec file, found: {error}") from None
    if not exists:
        raise InputError(
            f"{name_or_path!r:.200}: expected a spec file or one of {', '.join(known)}; found neither"
        )
    return path


def load(name_or_path: str | Path) -> Network:
    """Load and check a spec: the name of a shipped network or a path. Raises InputError, one line with file:line."""
    path = find(str(name_or_path))
    return parse(_read(path), _shown(path))


def parse(text: str, place: str) -> Network:
    """Check the text of a spec; `place` names it in errors. Raises InputError."""
    try:
        tree = yaml_tree.parse(text)
    except TreeError as error:
        raise InputError(f"{place}:{error.line}: {one_line(error)}") from None
    if not isinstance(tree.value, dict):
        found = "an empty file" if tree.value is None else f"a {type(tree.value).__name__}"
        raise InputError(f"{place}:1: expected a mapping with the keys of a network, found {found}")
    return _Checker(tree, place).network()


def _shown(path: Path) -> str:
    """The path as a user would type it."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _read(path: Path) -> str:
    place = _shown(path)
    try:
        if not path.is_file():
            raise InputError(f"{place}: expected a spec file, found {'a folder' if path.is_dir() else 'no regular file'}")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{place}: expected a readable file, found: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{place}: expected a spec of at most {MAX_BYTES} bytes, found {path.stat().st_size}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{place}:{line}: expected UTF-8, found byte 0x{content[error.start]:02x}") from None


class _Checker:
    """The checks of one file, from its shape as data to its totals."""

    def __init__(self, tree: Tree, place: str) -> None:
        self.tree = tree
        self.place = place

    def network(self) -> Network:
        try:
            network = Network.model_validate(self.tree.value)
        except ValidationError as error:
            raise self._invalid(error) from None
        network = self._resolved(network)
        self._check_shapes(network)
        self._check_totals(network)
        self._check_training(network)
        return network

    def _wrong(self, path: yaml_tree.Path, message: str) -> InputError:
        return InputError(f"{self.place}:{self.tree.line(path)}: {one_line(message)}")

    def _invalid(self, error: ValidationError) -> InputError:
        """The first problem in the order of the file, and how many follow; a wrong key comes before a missing one."""
        problems = []
        for item in error.errors(include_url=False):
            path, message = self._problem(item)
            line = self.tree.line(path)
            text = f"{self.place}:{line}: {self._layer_at(path)}{one_line(message)}"
            problems.append((path[:2], item["type"] == "missing", line, text))
        problems.sort(key=lambda problem: (self.tree.line(problem[0]), problem[1:3]))
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return InputError(problems[0][-1] + more)

    def _layer_at(self, path: yaml_tree.Path) -> str:
        if len(path) < 2 or path[0] != "graph":
            return ""
        node = self.tree.value["graph"][path[1]]
        name = node.get("name") if isinstance(node, dict) else None
        return f"layer {name!r:.70}: " if isinstance(name, str) else f"layer {path[1]}: "

    def _problem(self, item: Any) -> tuple[yaml_tree.Path, str]:
        """Where in the file pydantic's `item` is, and what to say of it."""
        path, value = self._in_file(item["loc"])
        key = item["loc"][-1] if item["loc"] else ""
        context = item.get("ctx", {})
        tag = str(context.get("discriminator", "")).strip("'")
        match item["type"]:
            case "missing":
                return path, f"missing key {key!r}; state it"
            case "extra_forbidden":
                known = _known_keys(item["loc"][:-1])
                return path, f"unknown key {str(key)[:80]!r}, expected one of {', '.join(known)}{_hint(str(key), known)}"
            case "union_tag_invalid":
                word = "operator" if tag == "op" else tag
                found = str(context["tag"])[:80]
                return (*path, tag), f"{tag}: unknown {word} {found!r}, expected one of {context['expected_tags']}"
            case "union_tag_not_found":
                return path, f"missing key {tag!r}; state it"
            case "value_error":
                return path, str(context["error"])
        label = ".".join(map(str, path[2:] if path[0] == "graph" else path))
        found = repr(value)[:80] if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
        return path, f"{label}: expected {_expected(item['msg'])}, found {found}"

    def _in_file(self, loc: tuple[str | int, ...]) -> tuple[yaml_tree.Path, Any]:
        """The part of the file that pydantic's `loc` means: union tags are no keys of the file."""
        path: list[str | int] = []
        value: Any = self.tree.value
        for piece in loc:
            if isinstance(value, dict) and piece in value or isinstance(value, list) and isinstance(piece, int) and piece < len(value):
                value = value[piece]
                path.append(piece)
        return tuple(path), value

    def _resolved(self, network: Network) -> Network:
        """Fill in the default inputs; reject names used twice, unknown inputs, cycles and outputs that nothing reads."""
        later = {operator.name: index for index, operator in reversed(list(enumerate(network.graph)))}
        seen: dict[str, int] = {network.input.name: -1}
        unread = {network.input.name}
        graph = []
        before = network.input.name
        for index, operator in enumerate(network.graph):
            label = f"layer {operator.name!r}: "
            inputs = operator.inputs or (before,)
            for name in inputs:
                if name not in seen:
                    hint = self._unknown_input(network, operator.name, name, later)
                    raise self._wrong(("graph", index, "inputs"), f"{label}inputs: {hint}")
            if operator.name in seen:
                taken = "the network's input" if seen[operator.name] < 0 else f"layer {seen[operator.name]}"
                raise self._wrong(("graph", index, "name"), f"{label}expected a name of its own, found that of {taken}")
            unread -= set(inputs)
            unread.add(operator.name)
            seen[operator.name] = index
            graph.append(operator.model_copy(update={"inputs": inputs}))
            before = operator.name
        unread.discard(before)
        if unread:
            name = min(unread, key=lambda unread_name: seen[unread_name])
            path: yaml_tree.Path = ("graph", seen[name], "name") if seen[name] >= 0 else ("input",)
            raise self._wrong(path, f"layer {name!r}: expected an operator that reads it, found none; remove it or use it")
        return network.model_copy(update={"graph": tuple(graph)})

    @staticmethod
    def _unknown_input(network: Network, reader: str, name: str, later: dict[str, int]) -> str:
        if name not in later:
            hint = _hint(name, [network.input.name, *later])
            return f"expected the name of an operator above or of the input, found {name!r}{hint}"
        cycle = _path_between(network, name, reader)
        if cycle:
            return f"expected a graph without cycles, found {' → '.join((reader, *reversed(cycle)))}"
        return f"expected operators that stand above, found {name!r}, which stands below; move it up"

    def _check_shapes(self, network: Network) -> None:
        """Compare shapes layer by layer, so that the first wrong one is named and not the one that breaks on it."""
        expected = network.expect.shapes
        try:
            for layer in network.placed():
                name, shape = layer.name, layer.output_shape
                if name not in expected:
                    raise self._wrong(("expect", "shapes"), f"expect.shapes: missing {name!r}; the graph gives {list(shape)}")
                if expected[name] != shape:
                    index = [operator.name for operator in network.graph].index(name)
                    line = self.tree.line(("graph", index, "name"))
                    raise self._wrong(
                        ("expect", "shapes", name),
                        f"layer {name!r}: expected shape {list(expected[name])}, found {list(shape)} "
                        f"from the graph (line {line}, input {' and '.join(str(list(i)) for i in layer.input_shapes)})",
                    )
        except ShapeError as error:
            index = [operator.name for operator in network.graph].index(error.operator)
            raise self._wrong(("graph", index, error.field), f"layer {error.operator!r}: {error}") from None
        known = {operator.name for operator in network.graph}
        for name in expected:
            if name not in known:
                raise self._wrong(
                    ("expect", "shapes", name), f"expect.shapes: expected the name of an operator, found {name[:80]!r}"
                )

    def _check_totals(self, network: Network) -> None:
        for total in ("parameters", "macs", "neurons"):
            expected, found = getattr(network.expect, total), getattr(network, total)
            if expected != found:
                raise self._wrong(("expect", total), f"expect.{total}: expected {expected:,}, found {found:,} from the graph")

    def _check_training(self, network: Network) -> None:
        if network.training is None:
            return
        known = {name for layer in network.layers for name in layer.parameter_shapes}
        for name in network.training.initialisers.overrides:
            if name not in known:
                raise self._wrong(
                    ("training", "initialisers", "overrides", name),
                    "training.initialisers.overrides: expected the name of a parameter, "
                    f"found {name[:80]!r}{_hint(name, known)}",
                )


def _path_between(network: Network, start: str, end: str) -> list[str]:
    """The operators from `start` back to `end` along inputs, or nothing where no way leads."""
    reads = {}
    before = network.input.name
    for operator in network.graph:
        reads[operator.name] = operator.inputs or (before,)
        before = operator.name
    ways = [[start]]
    visited = {start}
    while ways:
        way = ways.pop()
        if way[-1] == end:
            return list(reversed(way))
        for name in reads.get(way[-1], ()):
            if name not in visited:
                visited.add(name)
                ways.append([*way, name])
    return []


def _hint(found: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(found, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _expected(message: str) -> str:
    """Pydantic's message as what was expected: without its leading `Input should be`."""
    for lead in ("Input should be ", "Value should ", "String should "):
        message = message.removeprefix(lead)
    return message.removeprefix("a valid ").replace("integer", "a whole number") or "another value"


def _known_keys(loc: tuple[str | int, ...]) -> list[str]:
    """The keys that the part at `loc` may have."""
    part: type[BaseModel] = Network
    for piece in loc:
        if isinstance(piece, int):
            continue
        if piece in part.model_fields:
            options = _parts(part.model_fields[piece].annotation)
            if options:
                part = options[0]
                tagged = {tag: option for option in options for tag in _tags(option)}
        elif piece in tagged:
            part = tagged[piece]
    return list(part.model_fields)


def _parts(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [part for argument in get_args(annotation) for part in _parts(argument)]


def _tags(part: type[BaseModel]) -> tuple[str, ...]:
    for name in ("op", "kind"):
        field = part.model_fields.get(name)
        if field is not None and get_origin(field.annotation) is Literal:
            return get_args(field.annotation)
    return ()
