"""`gate list`: the cells of a matrix, each with the arguments that run it."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from gate.matrix import listed
from gate.options import parsed
from spec.exits import InputError

JAX = ("jax==0.9.2", "jax==0.10.2")
TORCH = ("torch==2.14.1 numpy==2.3.5", "torch==2.15.0 numpy==2.3.5")


def cells(*arguments: str) -> list[dict[str, Any]]:
    return list(listed(list(arguments))["include"])


def test_the_matrix_is_every_upgrade_device_and_network_once() -> None:
    found = cells(*JAX, *TORCH, "--spec", "alexnet", "--spec", "caffenet", "--device", "cpu,cuda")
    keys = [(cell["framework"], cell["candidate"], cell["device"], cell["network"]) for cell in found]
    assert len(set(keys)) == len(found) == 8
    assert keys[0] == ("jax", "jax==0.10.2", "cpu", "alexnet")
    assert keys[-1] == ("torch", "torch==2.15.0 numpy==2.3.5", "cuda", "caffenet")
    assert len({cell["report"] for cell in found}) == 8


def test_versions_of_one_framework_are_cells_of_their_own() -> None:
    found = cells("jax==0.9.2", "jax==0.10.1", "jax==0.9.2", "jax==0.10.2")
    assert [cell["candidate"] for cell in found] == ["jax==0.10.1", "jax==0.10.2"]


def test_the_arguments_of_a_cell_are_those_of_the_gate() -> None:
    (cell,) = cells(*TORCH, "--seeds", "7", "--batch", "1,16", "--lowering", "fast", "--numerics-only")
    options = parsed(shlex.split(cell["arguments"]))
    assert options.sides == list(TORCH)
    assert (options.seeds, options.batch, options.lowering, options.numerics_only) == (7, [1, 16], ["fast"], True)
    assert (options.spec, options.device) == (["alexnet"], "cpu")
    assert shlex.split(cell["options"]) == [
        *("--lowering", "fast", "--batch", "1,16", "--seeds", "7", "--numerics-only", "--device", "cpu")
    ]


def test_one_cell_of_several_is_called_a_part() -> None:
    (alone,) = cells(*JAX)
    assert "--part" not in alone["arguments"]
    for cell in cells(*JAX, "--spec", "alexnet", "--spec", "caffenet"):
        assert parsed(shlex.split(cell["arguments"])).part
        assert "--part" in shlex.split(cell["options"])


def test_what_stands_for_a_side_is_no_side(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    (cell,) = cells("--baseline-python", str(python), JAX[1])
    assert (cell["baseline"], cell["baseline_python"], cell["candidate"]) == ("", str(python), JAX[1])
    assert cell["name"] == f"{python} → {JAX[1]}, cpu, alexnet"
    (cell,) = cells("--baseline-report", "old.json", JAX[1])
    assert (cell["baseline"], cell["baseline_python"], cell["candidate"]) == ("", "", JAX[1])
    assert "--baseline-report old.json" in cell["options"]


def test_the_cells_are_json_that_a_workflow_can_read() -> None:
    assert json.loads(json.dumps(listed([*JAX])))["include"][0]["name"] == "jax==0.9.2 → jax==0.10.2, cpu, alexnet"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "expected pairs of BASELINE and CANDIDATE, found 0"),
        (JAX[:1], "expected pairs of BASELINE and CANDIDATE, found 1"),
        ((*JAX, *JAX), "expected each cell once, found jax==0.9.2 → jax==0.10.2, cpu, alexnet twice"),
        ((JAX[0], JAX[0]), "expected two sides that differ"),
        ((*JAX, "--spec", "lenet"), "'lenet'"),
        ((*JAX, "--device", "tpu"), "'tpu'"),
        ((*JAX, "--mode", "xla"), "expected one of compiled, eager for jax, found 'xla'"),
        ((*JAX, "--device", "cuda,cpu", "--dtype", "tf32"), "expected --device cuda"),
        (("numpy==2.3.5", "numpy==2.4.6"), "--framework"),
    ],
)
def test_what_makes_no_matrix_is_refused(arguments: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError) as error:
        listed(list(arguments))
    assert says in str(error.value)
