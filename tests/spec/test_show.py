"""The commands of `python -m spec`, as a user and a shell see them."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from spec.load import load, shipped
from spec.show import layer_table
from tests.spec.networks import BRANCHES, SMALL, changed


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spec", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False, timeout=60)


def rows(output: str) -> dict[str, list[str]]:
    """The cells of each row of a table, by its first."""
    lines = [line for line in output.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_show_prints_each_layer_of_the_paper() -> None:
    done = run("show", "alexnet")
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    assert table["conv1"] == [
        "conv out_channels=96 kernel=11 stride=4 pads=0 groups=1 bias=yes",
        "96×55×55",
        "34,944",
        "105,415,200",
        "1,161,600",
        "§3.5",
    ]
    assert table["norm1"][0] == "lrn n=5 k=2 alpha=0.0001 alpha_convention=sum beta=0.75 scope=whole"
    assert table["relu1"] == ["relu", "96×55×55", "", "", "1,161,600", "§3.1"]
    assert table["total"][2:4] == ["60,965,224", "724,406,816"]
    assert len(table) == 24


def test_show_prints_title_source_and_totals() -> None:
    output = run("show", "alexnet").stdout
    assert output.startswith(
        "AlexNet, the network of the paper (alexnet)\nsource: Krizhevsky, Sutskever, Hinton: ImageNet"
    )
    assert "input: image 3×227×227\n" in output
    assert output.endswith(
        "60,965,224 parameters (243,860,896 bytes as float32); an image: 724,406,816 MACs, 659,272 neurons, "
        "7,737,760 bytes of outputs as float32\n"
    )


def test_show_names_inputs_where_the_graph_has_branches(tmp_path: Path) -> None:
    path = tmp_path / "branches.yaml"
    path.write_text(BRANCHES)
    table = rows(run("show", str(path)).stdout)
    assert table["both"][0] == "add (norm, right)"
    assert table["right"][0].startswith("conv (image) out_channels=4 kernel=[3,1] stride=1 pads=[1,0,1,0]")


def test_lines_are_not_folded_in_a_pipe() -> None:
    assert len({len(line) for line in run("show", "alexnet").stdout.splitlines() if line.startswith("│")}) == 1


def test_narrow_terminal_keeps_the_operators_parameters_whole() -> None:
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(layer_table(load("alexnet"), console.width))
    assert isinstance(console.file, io.StringIO)
    output = console.file.getvalue()
    assert max(map(len, output.splitlines())) <= 80
    for word in ("out_channels=96", "alpha_convention=sum", "105,415,200", "724,406,816"):
        assert word in output


def test_terminal_without_the_signs_still_gets_its_table() -> None:
    command = [sys.executable, "-m", "spec", "show", "alexnet"]
    ascii_only = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "96?55?55" in done.stdout


def test_names_of_a_spec_are_not_markup(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(changed(("title: A small network", 'title: "[bold]A[/bold] [/] :smile:"')))
    done = run("show", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("[bold]A[/bold] [/] :smile: (small)\n")


def test_list_prints_every_shipped_network() -> None:
    done = run("list")
    assert (done.returncode, done.stderr) == (0, "")
    table = rows(done.stdout)
    assert list(table) == list(shipped())
    assert table["alexnet_owt"][:4] == ["3×224×224", "21", "61,100,840", "714,188,480"]


def test_check_passes_what_is_shipped() -> None:
    done = run("check", *map(str, shipped().values()))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == len(shipped())


def test_check_names_every_wrong_file_on_a_line(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(SMALL)
    bad.write_text(changed(("macs: 7164", "macs: 7165")))
    done = run("check", str(bad), str(good), str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert done.stdout.startswith(f"{good}: small: 479 parameters")
    first, second = done.stderr.splitlines()
    assert first.startswith(f"error: {bad}:")
    assert first.endswith("expect.macs: expected 7,165, found 7,164 from the graph")
    assert "none.yaml" in second


def test_schema_check_passes_as_committed() -> None:
    done = run("schema", "--check")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["shwo"], "invalid choice: 'shwo'"),
        (["show"], "the following arguments are required: NETWORK"),
        (["show", "a", "b"], "unrecognized arguments: b"),
        (["schema", "--che"], "unrecognized arguments: --che"),
        (["show", "nope"], "'nope': expected a spec file or one of alexnet,"),
        (["check"], "the following arguments are required: NETWORK"),
    ],
)
def test_wrong_arguments_are_one_line_and_exit_code_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_help_is_no_error() -> None:
    done = run("show", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: python -m spec show [-h] NETWORK")


@pytest.mark.parametrize("arguments", [["show", "alexnet"], ["list"], ["check", *["alexnet"] * 500]])
def test_reader_that_goes_away_leaves_no_traceback(arguments: list[str]) -> None:
    run_ = subprocess.Popen([sys.executable, "-m", "spec", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert run_.stdout is not None
    assert run_.stderr is not None
    run_.stdout.close()
    stderr = run_.stderr.read()
    run_.stderr.close()
    assert run_.wait(60) in (0, 3)
    assert stderr == b""
