"""The table of operators, docs/operators.md, from the code: `python -m conformance.operator_table [--check]`.

What each framework is asked for is read from the sources that the emitters write for the first layer of that kind in a
shipped network; how far each may be off, from caps.toml.
"""

import ast
import difflib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from conformance.caps import caps
from conformance.lane import OUT_OF_SCOPE
from impls.frameworks import FRAMEWORKS, LOWERINGS, MODES, FrameworkName, Lowering, Variant
from impls.generate import source_text
from spec.arguments import Arguments
from spec.base import Shape
from spec.exits import Exit, NotRunError, end
from spec.load import load, shipped
from spec.network import FORMAT, Network
from spec.operators import OPERATORS, Operator

FILE = Path(__file__).parents[1] / "docs" / "operators.md"

#: What modules of a framework are called in generated sources.
MODULES = frozenset({"F", "jax", "jnp", "lax", "nn", "tf", "torch"})

#: The shape that an operator reads which no shipped network has.
NOT_SHIPPED: dict[str, Shape] = {"softmax": (10,)}

#: What says nothing of an operator: where its tensors are held, and what is asked before a way is chosen.
UNTOLD = frozenset(
    """
    tf.Variable tf.function torch.backends.mkldnn.is_available torch.compiler.is_compiling torch.is_grad_enabled
    """.split()
)

HEAD = """\
# Operators

What a spec can say, what each framework is asked for it, and how far it may be off. Written by
`python -m conformance.operator_table`; do not edit.
"""


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises NotRunError."""
    parser = Arguments(prog="python -m conformance.operator_table", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare; exit code 1 if the file differs")
    check = parser.parse_args(arguments).check
    new = text()
    try:
        old = FILE.read_text(encoding="utf-8") if FILE.exists() else ""
        if not check:
            FILE.write_text(new, encoding="utf-8")
            return Exit.PASSED
    except OSError as error:
        raise NotRunError(f"{FILE}: expected a file to write, found: {error.strerror}") from None
    if old == new:
        return Exit.PASSED
    sys.stdout.writelines(difflib.unified_diff(old.splitlines(True), new.splitlines(True), FILE.name, "from the code"))
    print(f"error: docs/{FILE.name} differs from the code; run `python -m conformance.operator_table`", file=sys.stderr)
    return Exit.DIVERGED


def text() -> str:
    """The file."""
    kinds = [_op(kind) for kind in OPERATORS]
    parts = [HEAD, "## What is computed, and how far off it may be\n"]
    parts += _table(["operator", "computes", "forward", "gradient"], [_judged(kind) for kind in OPERATORS])
    parts.append("Both columns are of float32: the measure, and its cap ([caps.toml](../conformance/caps.toml)).\n")
    for lowering in LOWERINGS:
        parts.append(f"## Lowering `{lowering}`\n")
        rows = [[f"`{op}`", *(_asked(op, framework, lowering) for framework in FRAMEWORKS)] for op in kinds]
        parts += _table(["operator", *FRAMEWORKS], rows)
    parts.append("## Forward, gradients and modes\n")
    parts += _table(
        ["framework", "forward", "gradients", "modes"],
        [
            [
                name,
                f"all {len(kinds)}",
                f"all {len(kinds)}" if _trains(name) else OUT_OF_SCOPE[name],
                ", ".join(MODES[name]),
            ]
            for name in FRAMEWORKS
        ],
    )
    return "\n".join(parts)


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(cell.replace('|', '∣') for cell in line)} |" for line in lines), ""]


def _judged(kind: type[Operator]) -> list[str]:
    op = _op(kind)
    forward = caps().rule_for(op, Variant("", "cpu", "float32", "", ""), "")
    parameters = [name.rpartition(".")[2] for name in _sample(op).layers[0].parameter_shapes]
    gradients = dict.fromkeys(caps().gradient_rule_for(op, of, "float32") for of in ("input", *parameters))
    return [
        f"`{op}`",
        " ".join((kind.__doc__ or "").split("\n")[0].split()),
        _cap(forward.measure, forward.rms, forward.max),
        "; ".join(dict.fromkeys(_cap(rule.measure, rule.rms, rule.max) for rule in gradients)),
    ]


def _cap(measure: str, rms: float | None, most: float) -> str:
    if measure == "exact":
        return "exact"
    return f"{measure}: {f'RMS {rms:g}, ' if rms is not None else ''}max {most:g}"


def _op(kind: type[Operator]) -> str:
    op: str = kind.model_fields["op"].annotation.__args__[0]  # type: ignore[union-attr]
    return op


def _trains(framework: FrameworkName) -> bool:
    """Whether the emitter of a framework writes a training step where a spec has a recipe."""
    return "def train_step(" in source_text(load("alexnet_narrow"), framework)


@cache
def _sample(op: str) -> Network:
    """A network of that operator alone: the first of its kind in a shipped network."""
    layer = next((layer for name in shipped() for layer in load(name).layers if layer.operator.op == op), None)
    if layer is None:
        return _alone({"op": op}, NOT_SHIPPED[op], 1)
    fields = layer.operator.model_dump(mode="json", exclude_none=True, exclude={"source"})
    return _alone(fields, layer.input_shape, len(layer.operator.reads))


def _alone(fields: dict[str, Any], shape: Shape, reads: int) -> Network:
    content = {
        "format": FORMAT,
        "name": "sample",
        "title": "One operator",
        "source": "none",
        "input": {"name": "image", "shape": list(shape)},
        "graph": [fields | {"name": "layer", "inputs": ["image"] * reads}],
        "expect": {"shapes": {}, "parameters": 0, "macs": 0, "neurons": 0},
    }
    return Network.model_validate(content)


def _asked(op: str, framework: FrameworkName, lowering: Lowering) -> str:
    """The framework's own operators in the source of an operator; its expression, where it has none."""
    tree = ast.parse(source_text(_sample(op), framework, lowering))
    named = [name for name in _names(tree) if name not in _everywhere(framework, lowering)]
    if named:
        return ", ".join(f"`{name}`" for name in dict.fromkeys(named))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return next(f"`{ast.unparse(call.args[1])}`" for call in calls if ast.unparse(call.func) == "tap")


@cache
def _everywhere(framework: FrameworkName, lowering: Lowering) -> frozenset[str]:
    """What the source of every operator names."""
    every = [frozenset(_names(ast.parse(source_text(_sample(_op(kind)), framework, lowering)))) for kind in OPERATORS]
    return frozenset.intersection(*every)


def _names(tree: ast.AST) -> Iterator[str]:
    """What a source calls of its framework, in the order of the source: functions, modules, and nodes of ONNX."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name in ("node", "helper.make_node"):
            yield from (
                str(word.value)
                for word in node.args[:2]
                if isinstance(word, ast.Constant) and str(word.value)[:1].isupper()
            )
        elif name.partition(".")[0] in MODULES and name not in UNTOLD:
            yield name


if __name__ == "__main__":
    end(main)
