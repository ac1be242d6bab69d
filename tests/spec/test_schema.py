"""The committed JSON Schema: drawn from the model, true of what is shipped, and a check of its own."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from spec import schema, yaml_tree
from spec.load import shipped
from spec.operators import OPERATORS
from tests.spec.networks import BRANCHES, SMALL, changed

SCHEMA: dict[str, Any] = json.loads(schema.SCHEMA.read_text(encoding="utf-8"))


def accepts(text: str) -> bool:
    return bool(Draft202012Validator(SCHEMA).is_valid(yaml_tree.parse(text).value))


def test_committed_schema_is_that_of_the_model() -> None:
    assert schema.drift() == ""


def test_drift_is_shown_as_a_diff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "SCHEMA", tmp_path / "network.schema.json")
    assert '+  "$schema"' in schema.drift()
    schema.write()
    assert schema.drift() == ""
    schema.SCHEMA.write_text(schema.SCHEMA.read_text().replace('"groups"', '"gruops"', 1))
    assert schema.drift().startswith("--- ")


def test_schema_is_a_schema_of_its_draft() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(SCHEMA)


def test_every_part_has_a_description() -> None:
    parts = [SCHEMA, *SCHEMA["$defs"].values()]
    assert all(part["description"] for part in parts)
    conv = SCHEMA["$defs"]["Conv"]["properties"]
    assert conv["inputs"]["description"].startswith("The operators (or the network's input) that it reads")


def test_every_operator_is_offered() -> None:
    named = {part["properties"]["op"]["const"] for part in SCHEMA["$defs"].values() if "op" in part["properties"]}
    assert len(named) == len(OPERATORS)


@pytest.mark.parametrize("name", shipped())
def test_shipped_network_passes(name: str) -> None:
    text = shipped()[name].read_text(encoding="utf-8")
    errors = Draft202012Validator(SCHEMA).iter_errors(yaml_tree.parse(text).value)
    assert [error.message for error in errors] == []


@pytest.mark.parametrize("name", shipped())
def test_shipped_network_tells_editors_of_the_schema(name: str) -> None:
    path = shipped()[name]
    first = path.read_text(encoding="utf-8").splitlines()[0]
    prefix = "# yaml-language-server: $schema="
    assert first.startswith(prefix)
    assert (path.parent / first.removeprefix(prefix)).resolve() == schema.SCHEMA


def test_small_specs_pass() -> None:
    assert accepts(SMALL)
    assert accepts(BRANCHES)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("op: relu", "op: gelu"),
        ("op: relu", "oper: relu"),
        ("op: relu", "op: relu\n    slope: 0.1"),
        ("    pads: 1\n", ""),
        ("    groups: 2\n", ""),
        ("rounding: floor", "rounding: up"),
        ("stride: 1", "stride: 0"),
        ("pads: 1", "pads: [1, 1]"),
        ("pads: 1", "pads: -1"),
        ("out_channels: 6", "out_channels: six"),
        ("out_channels: 6", "out_channels: 6.5"),
        ("name: relu1", "name: Relu-1"),
        ("shape: [4, 9, 7]", "shape: []"),
        ("shape: [4, 9, 7]", "shape: [4, 0, 7]"),
        ("format: lockstep-network/1", "format: lockstep-network/2"),
        ("title: A small network\n", ""),
        ("title: A small network", "title: A small network\ntrainning: {}"),
        ("parameters: 479", "parameters: many"),
    ],
)
def test_typical_mistake_is_marked_in_the_editor(old: str, new: str) -> None:
    assert not accepts(changed((old, new)))
