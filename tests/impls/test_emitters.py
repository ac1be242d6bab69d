"""Emitted sources: as the goldens have them, clean, and never shaped by a word of a spec."""

import ast
import importlib.util
import json
import keyword
import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from impls.emission import TAKEN, TAKEN_CLASSES, wrapped
from impls.frameworks import FRAMEWORKS, LOWERINGS, FrameworkName, Lowering
from impls.generate import source_name, source_text
from spec.identifiers import PATTERN, RESERVED
from spec.load import load, parse, shipped
from spec.network import Network
from spec.operators import Lrn
from tests.impls.goldens import GOLDEN, SOURCES, SPECS, golden
from tests.spec.networks import BRANCHES, SMALL

#: The specs of the networks that faults are planted in.
PLANTED_IN = sorted(Path(__file__).parents[2].glob("conformance/power/networks/*.yaml"))

ROOT = Path(__file__).parents[2]
needs_ruff = pytest.mark.skipif(importlib.util.find_spec("ruff") is None, reason="ruff is not in this environment")


def ruff(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ruff with the project's rules, as for a source outside tests/, whose exceptions do not hold here."""
    command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", "--config", str(ROOT / "pyproject.toml"), "."]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def words_changed(title: str, source: str) -> Network:
    """The small network with words of the spec's author in every place that takes any."""
    spec = SMALL.replace("title: A small network", f"title: {json.dumps(title, ensure_ascii=False)}")
    cited = f"source: {json.dumps(source, ensure_ascii=False)}"
    spec = spec.replace("source: these tests", cited)
    return parse(re.sub(r"(    op: .*\n)", lambda line: f"{line[0]}    {cited}\n", spec), "words")


def without_docstring(text: str) -> str:
    """The code of a source: its syntax tree without the module's docstring."""
    module = ast.parse(text)
    assert isinstance(module.body[0], ast.Expr)
    assert isinstance(module.body[0].value, ast.Constant)
    return "\n".join(ast.dump(statement) for statement in module.body[1:])


@pytest.mark.parametrize(("spec", "framework", "lowering"), SOURCES)
def test_source_is_the_golden_one(spec: str, framework: FrameworkName, lowering: Lowering) -> None:
    expected = golden(spec, framework, lowering).read_text(encoding="utf-8")
    actual = source_text(load(spec), framework, lowering)
    assert actual == expected, "the emitter changed; read the difference, then: python -m tests.impls.goldens"


def test_every_golden_is_compared() -> None:
    assert set(GOLDEN.iterdir()) == {golden(*source) for source in SOURCES}


def test_goldens_have_every_operator() -> None:
    graphs = [load(spec).graph for spec in SPECS]
    schema = json.loads((ROOT / "spec" / "network.schema.json").read_text(encoding="utf-8"))
    known = set(schema["properties"]["graph"]["items"]["discriminator"]["mapping"])
    assert {operator.op for graph in graphs for operator in graph} == known


@pytest.mark.parametrize("name", shipped())
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_sources_of_all_shipped_networks_are_code(name: str, framework: FrameworkName, lowering: Lowering) -> None:
    network = load(name)
    text = source_text(network, framework, lowering)
    compile(text, name, "exec")
    for layer in network.layers:
        assert (
            text.count(f'tap("{layer.name}"')
            + text.count(f'tap(\n        "{layer.name}"')
            + text.count(f'tap(\n            "{layer.name}"')
            == 1
        ), f"expected one tap {layer.name}"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_long_comprehension_is_code(framework: FrameworkName) -> None:
    (spec,) = (path for path in PLANTED_IN if path.stem == "power_operators")
    lrn = next(layer.operator for layer in load(spec).layers if isinstance(layer.operator, Lrn))
    assert lrn.towers > 1
    assert len(repr(lrn.alpha_sum)) > 16
    compile(source_text(load(spec), framework), spec.name, "exec")


@needs_ruff
def test_sources_pass_lint_and_format_without_an_exception(tmp_path: Path) -> None:
    specs: list[str | Path] = [*shipped(), *SPECS, *PLANTED_IN]
    networks = [load(spec) for spec in specs]
    networks += [words_changed("words " * 40, "a place in the paper, " * 12), parse(BRANCHES, "branches")]
    for network in networks:
        for framework, lowering in product(FRAMEWORKS, LOWERINGS):
            path = tmp_path / source_name(network, framework, lowering)
            path.write_text(source_text(network, framework, lowering), encoding="utf-8")
    for arguments in (("format", "--diff"), ("check", "--ignore-noqa")):
        done = ruff(tmp_path, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr


HOSTILE = [
    '"""',
    "'''",
    '"',
    "\\",
    '\\"""',
    "\\\\",
    "ends with a backslash\\",
    'ends with a quote"',
    '""" + exit() + """',
    "# noqa",
    "# type: ignore  # fmt: skip",
    "{} {0} {x!r} %s $x",
    "f(x) F.relu(x) jnp.sum lax.add conv(x) padded(x) batch_norm(x)",
    "\\N{DIGIT ONE}\\x41\\u0041",
    "Größe · α÷β  日本語 🧠",
    "):",
    "]" * 150,
    "(" * 150,
    ", " * 150,
    "x" * 300,
]


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_words_of_a_spec_never_become_code(words: str, framework: FrameworkName) -> None:
    expected = without_docstring(source_text(words_changed("A title", "a source"), framework))
    assert without_docstring(source_text(words_changed(words, words), framework)) == expected


@given(
    words=st.text(st.characters(exclude_categories=("C", "Z")) | st.sampled_from(" \"'\\#"), min_size=1, max_size=300)
)
@settings(max_examples=60, deadline=None)
def test_no_words_of_a_spec_become_code(words: str) -> None:
    for framework in FRAMEWORKS:
        expected = without_docstring(source_text(words_changed("A title", "a source"), framework))
        assert without_docstring(source_text(words_changed(words, words), framework)) == expected


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_docstring_holds_the_title(framework: FrameworkName) -> None:
    text = source_text(words_changed('The "one" \\ title', "a source"), framework)
    assert (ast.get_docstring(ast.parse(text)) or "").startswith("The 'one' \\ title, in ")


@pytest.mark.parametrize(("spec", "framework", "lowering"), SOURCES)
def test_an_operator_can_hide_no_name_that_its_source_reads(
    spec: str, framework: FrameworkName, lowering: Lowering
) -> None:
    layers = {layer.name for layer in load(spec).layers}
    (forward,) = (
        node
        for node in ast.walk(ast.parse(source_text(load(spec), framework, lowering)))
        if isinstance(node, ast.FunctionDef) and node.name in ("forward", "graph")
        if node.args.args[0].arg != "ctx"  # that of one operator, in torch
    )
    inner = {
        name.id
        for node in ast.walk(forward)
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    names = {node.id for node in ast.walk(forward) if isinstance(node, ast.Name)} - layers - inner
    free = {name for name in names if re.fullmatch(PATTERN, name) and not keyword.iskeyword(name)}
    assert free <= TAKEN | RESERVED


@pytest.mark.parametrize("name", sorted(TAKEN))
def test_an_operator_may_have_a_name_that_sources_use(name: str) -> None:
    network = parse(BRANCHES.replace("left", name).replace("right", f"{name}_"), "branches")
    for framework, lowering in product(FRAMEWORKS, LOWERINGS):
        text = source_text(network, framework, lowering)
        assert re.search(rf'    {name}_ = tap\(\s*"{name}"', text), text
        assert re.search(rf'    {name}__ = tap\(\s*"{name}_"', text), text
        assert re.search(rf'tap\(\s*"both".*\b{name}__', text), text


@pytest.mark.parametrize("name", sorted({name.lower() for name in TAKEN_CLASSES} - RESERVED))
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_network_may_have_a_name_that_sources_use(name: str, framework: FrameworkName) -> None:
    text = source_text(parse(SMALL.replace("name: small", f"name: '{name}'"), "small"), framework)
    classes = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef)}
    assert not classes & TAKEN_CLASSES


def test_a_long_line_with_a_loop_in_it_is_broken_before_the_loop() -> None:
    line = (
        f"        towers = [some.module.function({', '.join(f'argument_{i}={i}' for i in range(6))}) for t in towers]"
    )
    text = wrapped(line)
    ast.parse(text.replace("        towers", "towers", 1).strip())
    assert text.splitlines()[-2:] == ["            for t in towers", "        ]"]
