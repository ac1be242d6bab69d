"""The pinned requirement files and the groups in pyproject.toml, of which they are made, agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from impls.frameworks import FRAMEWORKS

ROOT = Path(__file__).parents[2]
GROUPS: dict[str, list[Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]


def pins(group: str) -> dict[str, Requirement]:
    lines = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def ranges(group: str) -> list[Requirement]:
    found = []
    for entry in GROUPS[group]:
        found += ranges(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


def version(requirement: Requirement) -> str:
    (specifier,) = requirement.specifier
    assert specifier.operator == "=="
    return specifier.version


@pytest.mark.parametrize("group", GROUPS)
def test_every_range_is_pinned_within_itself(group: str) -> None:
    pinned = pins(group)
    for wanted in ranges(group):
        assert wanted.specifier.contains(version(pinned[canonicalize_name(wanted.name)])), wanted


@pytest.mark.parametrize("group", GROUPS)
def test_every_line_is_one_exact_pin_and_no_address_or_hash(group: str) -> None:
    for requirement in pins(group).values():
        assert requirement.url is None
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version(requirement)), f"{requirement}: expected a plain version"
    text = (ROOT / "requirements" / f"{group}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--" not in text


def test_there_is_one_file_a_group_and_one_of_what_is_held_back() -> None:
    files = {path.stem for path in (ROOT / "requirements").glob("*.txt")}
    assert files == {*GROUPS, "held-back"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_has_what_its_worker_imports(framework: str) -> None:
    assert {"numpy", "safetensors"} < set(pins(framework))


@pytest.mark.parametrize("group", ["tests", "lint", "bench", "gate"])
def test_groups_that_build_upon_the_suite_have_its_pins(group: str) -> None:
    suite, pinned = pins("suite"), pins(group)
    assert {name: str(pinned[name]) for name in suite} == {name: str(suite[name]) for name in suite}


def test_no_cuda_package_is_pinned_with_torch() -> None:
    assert not [name for name in pins("torch") if name.startswith(("cuda-", "nvidia-", "triton"))]


def test_what_is_held_back_has_a_reason_and_is_pinned_so() -> None:
    held_back = pins("held-back")
    lines = (ROOT / "requirements" / "held-back.txt").read_text(encoding="utf-8").splitlines()
    assert all(len(line.partition("#")[2].split()) > 3 for line in lines if line.strip())
    everything = [requirement for group in GROUPS for requirement in pins(group).items()]
    for name, bound in held_back.items():
        found = {version(requirement) for other, requirement in everything if other == name}
        assert found == {version(bound)}
