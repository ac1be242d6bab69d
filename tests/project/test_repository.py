"""What holds for every file of the repository."""

import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP_LEVEL = ("spec", "impls", "conformance", "bench", "gate")

#: In pieces, so that this file has none of them.
REGISTRIES = [
    "".join(pieces)
    for pieces in (("pypi", ".org"), ("python", "hosted"), ("pypi", ".python"), ("download.", "pytorch"))
]
MACHINE_PATHS = [
    "".join(pieces) for pieces in (("/ro", "ot/"), ("/wo", "rk/"), ("/ho", "me/"), ("/Us", "ers/"), ("/opt/", "wheels"))
]


def tracked() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"not a git checkout, so there is no list of files: {listed.stderr.strip()}")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def texts() -> list[tuple[str, str]]:
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8", errors="replace")) for path in tracked()]


def test_no_file_names_a_registry_or_a_path_of_one_machine() -> None:
    found = [(name, word) for name, text in texts() for word in [*REGISTRIES, *MACHINE_PATHS] if word in text]
    assert found == []


def test_text_ends_with_a_line_break_and_holds_no_carriage_return() -> None:
    suffixes = (".py", ".md", ".toml", ".yaml", ".yml", ".txt", ".json")
    wrong = [name for name, text in texts() if name.endswith(suffixes) and text and (text[-1] != "\n" or "\r" in text)]
    assert wrong == []


def test_every_package_of_ours_is_under_the_import_rules() -> None:
    rules = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    present = {name for name in TOP_LEVEL if (ROOT / name / "__init__.py").is_file()}
    assert present <= set(rules["root_packages"])
    layers, forbidden = rules["contracts"]
    assert present <= {name for layer in layers["layers"] for name in layer.replace("|", " ").split()}
    assert present <= set(forbidden["source_modules"])


def test_no_folder_has_the_name_of_a_framework() -> None:
    names = {part for path in tracked() for part in path.relative_to(ROOT).parent.parts}
    assert names.isdisjoint({"jax", "onnx", "onnxruntime", "tensorflow", "torch"})


def test_nox_continuous_integration_and_users_run_the_same_sessions() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for session in ("lint", "tests"):
        assert f"nox --session {session}" in script
        assert f"def {session}(session" in (ROOT / "noxfile.py").read_text(encoding="utf-8")
