"""Which operator reads which: default inputs, and the graphs that cannot be."""

from spec.document import Document
from spec.hints import did_you_mean
from spec.network import Network
from spec.yaml_tree import Path


def resolved(network: Network, document: Document) -> Network:
    """Fill in the default inputs; InputError for names used twice, unknown inputs, cycles, unread outputs."""
    seen: dict[str, int] = {network.input.name: -1}
    unread = {network.input.name}
    graph = []
    before = network.input.name
    for index, operator in enumerate(network.graph):
        label = f"layer {operator.name!r}: "
        inputs = operator.inputs or (before,)
        for name in inputs:
            if name not in seen:
                message = _unknown_input(network, operator.name, name)
                raise document.wrong(("graph", index, "inputs"), f"{label}inputs: {message}")
        if operator.name in seen:
            taken = "the network's input" if seen[operator.name] < 0 else f"layer {seen[operator.name]}"
            raise document.wrong(("graph", index, "name"), f"{label}expected a name of its own, found that of {taken}")
        unread -= set(inputs)
        unread.add(operator.name)
        seen[operator.name] = index
        graph.append(operator.model_copy(update={"inputs": inputs}))
        before = operator.name
    unread.discard(before)
    if unread:
        name = min(unread, key=lambda unread_name: seen[unread_name])
        path: Path = ("graph", seen[name], "name") if seen[name] >= 0 else ("input",)
        raise document.wrong(
            path, f"layer {name!r}: expected an operator that reads it, found none; remove it or use it"
        )
    return network.model_copy(update={"graph": tuple(graph)})


def _unknown_input(network: Network, reader: str, name: str) -> str:
    """What is wrong with `reader` reading `name`, which does not stand above it."""
    names = [operator.name for operator in network.graph]
    if name not in names:
        hint = did_you_mean(name, [network.input.name, *names])
        return f"expected the name of an operator above or of the input, found {name!r}{hint}"
    way_back = _way(network, name, reader)
    if way_back:
        return f"expected a graph without cycles, found {' → '.join((reader, *way_back))}"
    return f"expected operators that stand above, found {name!r}, which stands below; move it up"


def _way(network: Network, start: str, end: str) -> list[str]:
    """The operators from `start` to `end`, each reading the next; empty where none lead there."""
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
            return way
        for name in reads.get(way[-1], ()):
            if name not in visited:
                visited.add(name)
                ways.append([*way, name])
    return []
