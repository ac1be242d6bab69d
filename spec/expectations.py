"""What a spec says of its graph, held against what follows from the graph."""

from math import prod

from spec.base import MAX_EXTENT
from spec.document import Document
from spec.hints import did_you_mean
from spec.network import Network
from spec.shapes import Layer, ShapeError


def check(network: Network, document: Document) -> None:
    """Raise InputError at the first figure of the spec that the graph contradicts."""
    _check_shapes(network, document)
    _check_totals(network, document)
    _check_overrides(network, document)
    _check_classes(network, document)
    _check_parameters(network, document)


def _check_shapes(network: Network, document: Document) -> None:
    """Compare shapes layer by layer, so that the first wrong one is named and not the one that breaks on it."""
    if prod(network.input.shape) > MAX_EXTENT:
        found = f"{list(network.input.shape)} = {prod(network.input.shape)}"
        raise document.wrong(("input", "shape"), f"input.shape: expected at most {MAX_EXTENT} elements, found {found}")
    index = {operator.name: position for position, operator in enumerate(network.graph)}
    try:
        for layer in network.placed():
            _check_shape(network, document, layer, index[layer.name])
    except ShapeError as error:
        raise document.wrong(
            ("graph", index[error.operator], error.field), f"layer {error.operator!r}: {error}"
        ) from None
    for name in network.expect.shapes:
        if name not in index:
            raise document.wrong(
                ("expect", "shapes", name), f"expect.shapes: expected the name of an operator, found {name[:80]!r}"
            )


def _check_shape(network: Network, document: Document, layer: Layer, index: int) -> None:
    expected = network.expect.shapes.get(layer.name)
    found = list(layer.output_shape)
    if expected is None:
        raise document.wrong(("expect", "shapes"), f"expect.shapes: missing {layer.name!r}; the graph gives {found}")
    if expected != layer.output_shape:
        line = document.line(("graph", index, "name"))
        inputs = " and ".join(str(list(shape)) for shape in layer.input_shapes)
        raise document.wrong(
            ("expect", "shapes", layer.name),
            f"layer {layer.name!r}: expected shape {list(expected)}, found {found} "
            f"from the graph (line {line}, input {inputs})",
        )


def _check_totals(network: Network, document: Document) -> None:
    for total in ("parameters", "macs", "neurons"):
        expected, found = getattr(network.expect, total), getattr(network, total)
        if expected != found:
            raise document.wrong(
                ("expect", total), f"expect.{total}: expected {expected:,}, found {found:,} from the graph"
            )


def _check_overrides(network: Network, document: Document) -> None:
    if network.training is None:
        return
    known = {name for layer in network.layers for name in layer.parameter_shapes}
    for name in network.training.initialisers.overrides:
        if name not in known:
            raise document.wrong(
                ("training", "initialisers", "overrides", name),
                "training.initialisers.overrides: expected the name of a parameter, "
                f"found {name[:80]!r}{did_you_mean(name, known)}",
            )


def _check_parameters(network: Network, document: Document) -> None:
    """What a recipe trains must be there."""
    if network.training is not None and not network.parameters:
        raise document.wrong(
            ("training",), "training: expected a network with parameters, found nothing to train; remove this section"
        )


def _check_classes(network: Network, document: Document) -> None:
    """A loss, and errors of an evaluation, are of one score a class."""
    found = network.layers[-1].output_shape
    for section in ("training", "evaluation"):
        if getattr(network, section) is not None and len(found) != 1:
            raise document.wrong(
                (section,),
                f"{section}: expected a network that gives one score a class, found {list(found)} from "
                f"{network.output!r}; put a flatten behind it",
            )
