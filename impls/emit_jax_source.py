"""What both lowerings of JAX share: how a source is put together, its forward pass, its padding."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from impls.emission import Step, batched, calls, code, number, signature, steps
from impls.emission_training import dropouts
from impls.emit_jax_training import MASKS, reads_logits, recipe
from impls.emit_jax_updates import PATH
from spec.network import Network
from spec.operators import Dropout
from spec.shapes import Layer

ALIASES = """\
Parameters = dict[str, dict[str, jax.Array]]
Pads = tuple[tuple[int, int], tuple[int, int]]  # (top, bottom), (left, right)
Tap = Callable[[str, jax.Array], jax.Array]
"""

NO_TAP = '''\
def no_tap(_name: str, value: jax.Array) -> jax.Array:
    """Leave every value as it is."""
    return value
'''


def source(
    network: Network,
    opening: str,
    layout: str,
    functions: Mapping[str, str],
    load: str,
    lines: Callable[[Step], list[str]],
) -> str:
    """A whole source: its docstring `opening`, what of `functions` it calls, the forward pass, `load`, the recipe.

    `lines` gives those lines of the forward pass that compute one operator.
    """
    passes = _passes(network, layout, lines)
    used = [text for name, text in functions.items() if calls(name, code(passes))]
    body = [NO_TAP, *used, *passes, load, *recipe(network, layout)]
    aliases = [
        ALIASES,
        *([MASKS] if dropouts(network) else []),
        *([PATH] if re.search(r"\bPath\b", code(body)) else []),
    ]
    names = "\n".join([f'LAYOUT = "{layout}"', "", "".join(aliases)])
    return "\n".join([opening, _imports(code([names, *body])), "", "\n\n".join([names, *body])])


def axis_pads(pads: tuple[int, int, int, int]) -> str:
    """Top, left, bottom, right as the argument that JAX reads, axis by axis; nothing where all are 0."""
    top, left, bottom, right = pads
    return f", pads={((top, bottom), (left, right))}" if any(pads) else ""


def masked(operator: Dropout, x: str) -> str:
    """A dropout of `x`, as code: a mask while training, and a scale there or in evaluation."""
    mask, keep = f'masks["{operator.name}"]', number(1.0 - operator.drop_probability)
    match operator.convention:
        case "test_time":
            return f"{x} * ({keep} if masks is None else {mask})"
        case "inverted":
            return f"{x} if masks is None else {x} * {mask} * (1 / {keep})"
        case _:
            assert_never(operator.convention)


def _imports(text: str) -> str:
    """The imports of the names that `text` uses, in the order of the formatter."""

    def uses(name: str) -> bool:
        return re.search(rf"(?<![\w.]){name}\b", text) is not None

    functools = ", ".join(filter(uses, ("partial", "reduce")))
    lines = [
        "from collections.abc import Callable",
        *([f"from functools import {functools}"] if functools else []),
        "",
        "import jax",
        *(["import jax.numpy as jnp"] if uses("jnp") else []),
        *(["import optax"] if uses("optax") else []),
        *(["from jax import lax"] if uses("lax") else []),
    ]
    return "\n".join(lines)


def _passes(network: Network, layout: str, lines: Callable[[Step], list[str]]) -> list[str]:
    """The forward pass: one function, or two where the recipe reads the logits that a last softmax reads."""
    walk = steps(network)
    parameters = "    p = parameters" if network.tensor_shapes else "    del parameters  # this network has none"
    if not reads_logits(network):
        body = [line for step in walk for line in lines(step)]
        return [_pass(network, "forward", network.layers[-1], layout, [parameters, *body])]
    *before, last, softmax = walk
    body = [line for step in [*before, replace(last, assigns="return ")] for line in lines(step)]
    masks = ", masks" if dropouts(network) else ""
    called = f"    {softmax.read} = logits(parameters, x, tap{masks})"
    return [
        _pass(network, "logits", last.layer, layout, [parameters, *body]),
        _pass(network, "forward", softmax.layer, layout, [called, *lines(softmax)]),
    ]


def _pass(network: Network, name: str, last: Layer, layout: str, body: Sequence[str]) -> str:
    """A function with the arguments of `forward`, which computes the output of the layer `last`."""
    masks, told = [], "    `tap` sees every operator's output, and what it returns is read next."
    if dropouts(network):
        masks = ["masks: Masks | None = None"]
        told += " `masks` are those of a training step;\n    without them the network is evaluated."
    return "\n".join(
        [
            signature(name, ["parameters: Parameters", "x: jax.Array", "tap: Tap = no_tap", *masks], "jax.Array"),
            f'    """{batched(network.input.shape, layout)} → {batched(last.output_shape, layout)}.',
            "",
            told,
            '    """',
            *body,
            "",
        ]
    )
