"""A no-op operator, added to a copy of the project, runs, and only the files that CONTRIBUTING lists were touched."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BEFORE_REST = "        case _:\n            assert_never(operator)"

#: Per file, what is looked for and what is put in its place, in the order of the file.
CHANGES: dict[str, list[tuple[str, str]]] = {
    "spec/operators.py": [
        (
            "\nAnyOperator = (",
            '\nclass Noop(Operator):\n    """Its input."""\n\n    op: Literal["noop"]\n\n\nAnyOperator = (',
        ),
        ("    | BatchNorm\n)", "    | BatchNorm\n    | Noop\n)"),
    ],
    "spec/shapes.py": [(BEFORE_REST, "        case Noop():\n            output = shape\n" + BEFORE_REST)],
    "spec/weights.py": [
        (BEFORE_REST, "        case Noop():\n            return _relu_follows(network, operator.name)\n" + BEFORE_REST)
    ],
    "conformance/oracle.py": [
        (BEFORE_REST, "        case Noop():\n            return x\n" + BEFORE_REST),
        (BEFORE_REST, "        case Noop():\n            return None\n" + BEFORE_REST),
    ],
    "conformance/gradients.py": [
        (BEFORE_REST, "        case Noop():\n            to_inputs = (g,)\n" + BEFORE_REST),
        (BEFORE_REST, "        case Noop():\n            return Scales(None, {})\n" + BEFORE_REST),
    ],
    "conformance/diagnosis/formulas_text.py": [
        (BEFORE_REST, '        case Noop():\n            return ["expected = wide"]\n' + BEFORE_REST)
    ],
    "conformance/caps.toml": [
        ('operators = ["relu", ', 'operators = ["noop", "relu", '),
        ('name = "gradient.exact"\noperators = ["relu", ', 'name = "gradient.exact"\noperators = ["noop", "relu", '),
    ],
    "impls/emit_torch.py": [
        (BEFORE_REST, "        case Noop():\n            return None\n" + BEFORE_REST),
        (BEFORE_REST, "        case Noop():\n            value = x\n" + BEFORE_REST),
    ],
    "impls/emit_jax.py": [(BEFORE_REST, "        case Noop():\n            value = x\n" + BEFORE_REST)],
    "impls/emit_jax_fast.py": [(BEFORE_REST, "        case Noop():\n            value = x\n" + BEFORE_REST)],
    "impls/emit_tensorflow.py": [(BEFORE_REST, "        case Noop():\n            value = x\n" + BEFORE_REST)],
    "impls/emit_onnx.py": [
        (BEFORE_REST, '        case Noop():\n            value = f\'node("{name}", "Identity", {x})\'\n' + BEFORE_REST)
    ],
}


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for folder in ("spec", "impls", "conformance", "requirements"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def changed(text: str, changes: list[tuple[str, str]]) -> str:
    position = 0
    for old, new in changes:
        assert old in text[position:], f"expected {old!r} in the rest of the file"
        position = text.index(old, position)
        text = text[:position] + new + text[position + len(old) :]
        position += len(new)
    if "from spec.operators import" in text:
        text = text.replace("    MaxPool,\n", "    MaxPool,\n    Noop,\n", 1)
    return text


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)


def test_contributing_lists_the_files_that_a_new_operator_touches() -> None:
    section = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Adding an operator")[2]
    table = section.partition("## ")[0]
    assert set(re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)) == CHANGES.keys()


def test_mypy_names_every_file_that_a_new_operator_forgot(copy: Path) -> None:
    path = copy / "spec" / "operators.py"
    path.write_text(changed(path.read_text(encoding="utf-8"), CHANGES["spec/operators.py"]), encoding="utf-8")
    found = run(copy, "mypy", "spec", "impls", "conformance", "--cache-dir", str(copy / "cache"))
    named = {line.partition(":")[0] for line in found.stdout.splitlines() if "assert_never" in line}
    assert named == {name for name in CHANGES if name.endswith(".py")} - {"spec/operators.py"}


def test_a_no_op_operator_runs_when_the_listed_files_know_it(copy: Path) -> None:
    for name, changes in CHANGES.items():
        path = copy / name
        path.write_text(changed(path.read_text(encoding="utf-8"), changes), encoding="utf-8")
    spec = (ROOT / "spec" / "networks" / "alexnet_narrow.yaml").read_text(encoding="utf-8")
    spec = spec.replace("  - name: fc8\n", "  - name: idle\n    op: noop\n\n  - name: fc8\n")
    spec = spec.replace("    fc8: [10]\n", "    idle: [36]\n    fc8: [10]\n")
    (copy / "noop.yaml").write_text(spec, encoding="utf-8")
    pythons = [
        f"--python={framework}={interpreter}"
        for framework, _, interpreter in (
            line.partition(": ") for line in run(ROOT, "impls.environments").stdout.splitlines()
        )
    ]
    found = run(copy, "conformance", "--spec", "noop.yaml", "--lowering", "native,fast", *pythons)
    assert found.returncode == 0, found.stdout + found.stderr
    results = json.loads((copy / "reports" / "conformance.json").read_text(encoding="utf-8"))["results"]
    idle = [result for result in results if result["tap"] == "idle"]
    assert {result["framework"] for result in idle} == {"torch", "jax", "tensorflow", "onnx"}
    assert {result["outcome"] for result in idle} == {"passed"}
