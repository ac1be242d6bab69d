"""What all emitters share: names, values, comments and the header of a generated source."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from textwrap import wrap

from spec.base import Shape
from spec.network import Network
from spec.operators import AvgPool, MaxPool
from spec.shapes import Layer, window

WIDTH = 120

#: Names that the bodies of generated functions read or assign beside the values of a graph.
TAKEN = frozenset(
    """
    band batch_norm conv counted denominator dense dropped grouped_conv local_response_norm logits masks max_pool no_tap
    on_eager_cpu p padded power root squares strided_conv sum_pool towers
    """.split()
)

#: Classes that cannot be, or that a class of that name would hide in a generated source.
TAKEN_CLASSES = frozenset("Any Callable F False Iterable Mapping Masks None Pads Self Tap Tensor True".split())


@dataclass(frozen=True)
class Step:
    """One operator as a line of a forward pass: what it reads, and the variable that it assigns."""

    layer: Layer
    reads: tuple[str, ...]
    assigns: str
    """The start of its line: `x = `, or `return ` for the last."""

    @property
    def read(self) -> str:
        """The variable of the only, or first, input."""
        return self.reads[0]


def steps(network: Network, first: str = "x") -> list[Step]:
    """The forward pass, line by line. A chain reuses one variable; a graph with branches names each value."""
    linear = network.is_linear()
    variables = {network.input.name: first}
    for layer in network.layers:
        variables[layer.name] = first if linear else _variable(layer.name)
    return [
        Step(
            layer,
            tuple(variables[name] for name in layer.operator.reads),
            "return " if layer.name == network.output else f"{variables[layer.name]} = ",
        )
        for layer in network.layers
    ]


def _variable(name: str) -> str:
    """An operator's name as a variable, with one more '_' behind it where the generated source needs that name."""
    return f"{name}_" if name.rstrip("_") in TAKEN else name


def class_name(network: Network) -> str:
    """The network's name as a class: `alexnet_narrow` becomes `AlexNetNarrow`."""
    words = (re.sub(r"(?<=.)net(\d*)$", r"Net\1", word) for word in network.name.split("_"))
    name = "".join(word[0].upper() + word[1:] for word in words if word)
    return f"{name}Network" if name in TAKEN_CLASSES else name


def code(lines: Iterable[str]) -> str:
    """Lines of a generated source without their comments, which hold words of the spec."""
    return "\n".join(line.partition("  # ")[0] for text in lines for line in text.splitlines())


def calls(name: str, text: str) -> bool:
    """Whether `text`, the code of a generated source, calls the function `name`."""
    return re.search(rf"(?<![\w.]){name}\(", text) is not None


def signature(name: str, arguments: Iterable[str], returns: str) -> str:
    """The first lines of a function, as the formatter breaks them."""
    arguments = list(arguments)
    together = ", ".join(arguments)
    for inside in (together, f"\n    {together}\n"):
        text = f"def {name}({inside}) -> {returns}:"
        if max(map(len, text.splitlines())) <= WIDTH:
            return text
    return "\n".join([f"def {name}(", *(f"    {argument}," for argument in arguments), f") -> {returns}:"])


def comment(layer: Layer, layout: str = "NCHW") -> str:
    """Shape and source of a layer's output, as the comment of its line."""
    source = f"  {layer.operator.source}" if layer.operator.source else ""
    return f"  # {batched(layer.output_shape, layout)}{source}"


def batched(shape: Shape, layout: str = "NCHW") -> str:
    """A shape with its batch, in the layout of the source: `(N, 96, 55, 55)`."""
    if layout == "NHWC" and len(shape) == 3:
        shape = (*shape[1:], shape[0])
    return f"({', '.join(('N', *map(str, shape)))})"


def pads_with_overflow(layer: Layer, operator: MaxPool | AvgPool) -> tuple[int, int, int, int]:
    """Top, left, bottom, right padding, and what `ceil` rounding lets the last windows reach beyond it."""
    top, left, bottom, right = operator.pads
    down, across = window(operator, *layer.input_shape[1:]).overflow
    return top, left, bottom + down, right + across


def number(value: float) -> str:
    """A float as a Python literal; shortest text that gives the same float64 back."""
    return repr(float(value))


def same_or_pair(pair: tuple[int, int]) -> str:
    """`3` for (3, 3), and `(3, 5)` for what differs: how torch's modules are written by hand."""
    return str(pair[0]) if pair[0] == pair[1] else str(pair)


def header(network: Network, framework: str, origin: str, notes: str) -> str:
    """The docstring of a generated source: what it is, that it is generated, from what, and how to make it again."""
    title = network.title.replace("\\", "\\\\").replace('"', "'")
    first = _filled(f'"""{title}, in {framework}.')
    return (
        f"{first}\n\n"
        f"{notes}\n\n"
        f"DO NOT EDIT. Generated from {origin}, sha256 {network.sha256[:16]}.\n"
        f"Generate it again with: python -m impls.generate {network.name}\n"
        '"""\n'
    )


def _filled(text: str, lead: str = "") -> str:
    """Prose in lines that are not too long, each after `lead`; a single word may be."""
    lines = wrap(
        text, WIDTH, initial_indent=lead, subsequent_indent=lead, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(lines)


def wrapped(line: str) -> str:
    """Break a line that is too long for the formatter: its comment goes above, its arguments on lines of their own."""
    if len(line) <= WIDTH:
        return line
    code, mark, remark = line.partition("  # ")
    indent = code[: len(code) - len(code.lstrip())]
    if mark:
        return f"{_filled(remark, f'{indent}# ')}\n{wrapped(code)}"
    opening = min(position for bracket in "([" if (position := code.find(bracket)) >= 0)
    closing = max(code.rfind(")"), code.rfind("]"))
    inside, after = code[opening + 1 : closing], code[closing:]
    if len(indent) + 4 + len(inside) <= WIDTH:
        body = f"{indent}    {inside}\n"
    elif loop := _loop(inside):
        body = f"{wrapped(f'{indent}    {inside[:loop]}')}\n{indent}    {inside[loop + 1 :]}\n"
    else:
        body = "".join(wrapped(f"{indent}    {argument},") + "\n" for argument in _arguments(inside))
    return f"{code[: opening + 1]}\n{body}{indent}{after}"


def _loop(text: str) -> int:
    """Where the `for` of a comprehension begins that stands in no bracket; 0 where there is none."""
    depth = 0
    for position, character in enumerate(text):
        depth += character in "([{"
        depth -= character in ")]}"
        if depth == 0 and text.startswith(" for ", position):
            return position
    return 0


def _arguments(text: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        depth += character in "([{"
        depth -= character in ")]}"
        if character == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    return [*parts, text[start:].strip()]
