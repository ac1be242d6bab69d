"""What a network is, as tables for people."""

from math import prod

from rich.table import Table
from rich.text import Text

from spec.base import Shape
from spec.network import FLOAT32_BYTES, Network
from spec.operators import Operator
from spec.shapes import Layer

#: What every operator has; a table gives these columns of their own.
_COMMON = frozenset(("op", *Operator.model_fields))

FULL_WIDTH = 104
"""From how many columns on a table of layers is legible with all that it can show."""


def heading(network: Network) -> Text:
    """Title, source and input, on three lines."""
    return Text.assemble(
        (network.title, "bold"),
        f" ({network.name})\n",
        f"source: {network.source}\n",
        f"input: {network.input.name} {shape_text(network.input.shape)}",
    )


def layer_table(network: Network, width: int) -> Table:
    """One row a layer, with the totals below; fewer than `FULL_WIDTH` columns have no room for bytes and sources."""
    table = Table(show_footer=True, header_style="bold", footer_style="bold")
    output_bytes = sum(_output_bytes(layer) for layer in network.layers)
    table.add_column("layer", "total", no_wrap=True)
    table.add_column("operator", f"{len(network.layers)} operators, {network.neurons:,} neurons", overflow="fold")
    table.add_column("output", no_wrap=True)
    table.add_column("parameters", f"{network.parameters:,}", justify="right", no_wrap=True)
    table.add_column("MACs", f"{network.macs:,}", justify="right", no_wrap=True)
    full = width >= FULL_WIDTH
    if full:
        table.add_column("output bytes", f"{output_bytes:,}", justify="right", no_wrap=True)
        table.add_column("source", overflow="fold")
    linear = network.is_linear()
    for layer in network.layers:
        table.add_row(
            layer.name,
            Text(_operator_text(layer, linear)),
            shape_text(layer.output_shape),
            _count(layer.parameters),
            _count(layer.macs),
            *((f"{_output_bytes(layer):,}", Text(layer.operator.source or "")) if full else ()),
        )
    return table


def totals(network: Network) -> Text:
    """The sums of a network, on one line."""
    parameter_bytes = FLOAT32_BYTES * network.parameters
    activation_bytes = sum(_output_bytes(layer) for layer in network.layers)
    return Text(
        f"{network.parameters:,} parameters ({parameter_bytes:,} bytes as float32); an image: {network.macs:,} MACs, "
        f"{network.neurons:,} neurons, {activation_bytes:,} bytes of outputs as float32"
    )


def network_table(networks: list[Network]) -> Table:
    """One row a network."""
    table = Table(header_style="bold")
    for name in ("network", "input"):
        table.add_column(name, no_wrap=True)
    for name in ("layers", "parameters", "MACs", "neurons"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("title")
    for network in networks:
        table.add_row(
            network.name,
            shape_text(network.input.shape),
            str(len(network.layers)),
            f"{network.parameters:,}",
            f"{network.macs:,}",
            f"{network.neurons:,}",
            Text(network.title),
        )
    return table


def shape_text(shape: Shape) -> str:
    """A shape as people write it: 96×55×55."""
    return "×".join(map(str, shape))


def _operator_text(layer: Layer, linear: bool) -> str:
    """The operator with its parameters as the spec states them; with its inputs where the graph has branches."""
    operator = layer.operator
    stated = operator.model_dump(exclude_none=True, exclude=set(_COMMON))
    words = [f"{key}={_value_text(value)}" for key, value in stated.items()]
    if not linear:
        words.insert(0, f"({', '.join(operator.reads)})")
    return " ".join((operator.op, *words))


def _value_text(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case tuple():
            return str(value[0]) if len(set(value)) == 1 else str(list(value)).replace(" ", "")
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _count(number: int) -> str:
    return f"{number:,}" if number else ""


def _output_bytes(layer: Layer) -> int:
    return FLOAT32_BYTES * prod(layer.output_shape)
