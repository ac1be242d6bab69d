"""A wrong spec ends in one line: the place, what was expected, what was found."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spec.exits import InputError
from spec.identifiers import RESERVED
from spec.load import MAX_BYTES, load, parse, shipped
from tests.spec.networks import SMALL, branches, changed, line_of, small


def error_of(text: str) -> str:
    with pytest.raises(InputError) as caught:
        parse(text, "net.yaml")
    message = str(caught.value)
    assert "\n" not in message
    return message


def file_error(path: Path | str) -> str:
    with pytest.raises(InputError) as caught:
        load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_small_specs_are_right() -> None:
    assert [layer.name for layer in small().layers] == ["conv1", "relu1", "pool1", "flatten", "fc2"]
    assert not branches().is_linear()


def test_omitted_inputs_are_the_operator_before() -> None:
    assert [operator.reads for operator in small().graph[:3]] == [("image",), ("conv1",), ("relu1",)]


# --- Keys and values -------------------------------------------------------------------------------------------------


def test_unknown_key_is_named_with_its_neighbours() -> None:
    text = changed(("    kernel: 3\n    stride: 1", "    kernal: 3\n    stride: 1"))
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'kernal')}: layer 'conv1': unknown key 'kernal', expected one of name, inputs, "
        "source, op, out_channels, kernel, stride, pads, groups, bias; did you mean 'kernel'? (and 1 more)"
    )


def test_unknown_key_at_the_top_is_named() -> None:
    message = error_of(SMALL + "trainning: 1\n")
    assert message.startswith(f"net.yaml:{SMALL.count(chr(10)) + 1}: unknown key 'trainning', expected one of format,")
    assert message.endswith("did you mean 'training'?")


def test_unknown_key_named_like_its_operator_is_found() -> None:
    text = changed(("op: relu", "op: relu\n    relu: 1"))
    assert error_of(text).startswith(f"net.yaml:{line_of(text, 'relu: 1')}: layer 'relu1': unknown key 'relu'")


def test_duplicate_key_names_both_lines() -> None:
    text = changed(("    pads: 1\n", "    pads: 1\n    pads: 2\n"))
    first = line_of(text, "pads: 1")
    assert error_of(text) == f"net.yaml:{first + 1}: duplicate key 'pads', first on line {first}; remove one"


@pytest.mark.parametrize("key", ["pads: 1", "groups: 2", "stride: 1", "rounding: floor"])
def test_missing_key_is_not_guessed(key: str) -> None:
    text = changed((f"    {key}\n", ""))
    layer = "pool1" if key.startswith("rounding") else "conv1"
    line = line_of(text, f"name: {layer}")
    assert error_of(text) == f"net.yaml:{line}: layer {layer!r}: missing key {key.split(':')[0]!r}; state it"


def test_missing_operator_is_named() -> None:
    text = changed(("    op: relu\n", ""))
    assert error_of(text) == f"net.yaml:{line_of(text, 'name: relu1')}: layer 'relu1': missing key 'op'; state it"


def test_unknown_operator_is_told_the_known_ones() -> None:
    text = changed(("op: relu", "op: gelu"))
    message = error_of(text)
    assert message.startswith(
        f"net.yaml:{line_of(text, 'gelu')}: layer 'relu1': op: unknown operator 'gelu', expected one"
    )
    assert "'global_avg_pool'" in message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out_channels: 6", "out_channels: '6'", "layer 'conv1': out_channels: expected a whole number, found '6'"),
        ("out_channels: 6", "out_channels: 6.5", "layer 'conv1': out_channels: expected a whole number, found 6.5"),
        ("out_channels: 6", "out_channels: yes", "layer 'conv1': out_channels: expected a whole number, found 'yes'"),
        ("out_channels: 6", "out_channels:", "layer 'conv1': out_channels: expected a whole number, found None"),
        (
            "out_channels: 6",
            "out_channels: [6]",
            "layer 'conv1': out_channels: expected a whole number, found a list of 1",
        ),
        (
            "bias: true\n  - name: relu1",
            "bias: 1\n  - name: relu1",
            "layer 'conv1': bias: expected true or false, found 1",
        ),
        ("stride: 1", "stride: 0", "layer 'conv1': stride: expected at least 1, found 0"),
        ("pads: 1", "pads: -1", "layer 'conv1': pads: expected at least 0, found -1"),
        ("rounding: floor", "rounding: up", "layer 'pool1': rounding: expected 'floor' or 'ceil', found 'up'"),
        ("shape: [4, 9, 7]", "shape: []", "input.shape: expected at least 1 items, found a list of 0"),
        ("shape: [4, 9, 7]", "shape: [4, 9, 7, 1]", "input.shape: expected at most 3 items, found a list of 4"),
        ("shape: [4, 9, 7]", "shape: 4", "input.shape: expected a list, found 4"),
        ("kernel: 3\n    stride: 1", "kernel: [3]\n    stride: 1", "kernel: expected more items, found a list of 1"),
        ("kernel: 3\n    stride: 1", "kernel: {a: 3}\n    stride: 1", "kernel: expected a list, found a mapping"),
        ("kernel: 3\n    stride: 1", "kernel: [3, x]\n    stride: 1", "kernel.1: expected a whole number, found 'x'"),
        ("pads: 1", "pads: [1, 1, 1, 1, 1]", "layer 'conv1': pads: expected at most 4 items, found a list of 5"),
        ("- name: relu1\n    op: relu", "- relu", "layer 1: expected a mapping, found 'relu'"),
        ("graph:", "graph: 5\nnodes:", "graph: expected a list, found 5"),
        ("title: A small network", "title: ''", "title: expected at least 1 character, found ''"),
        ("title: A small network", "title: 5", "title: expected text, found 5"),
        (
            "op: relu",
            "op: dropout\n    drop_probability: .nan",
            "drop_probability: expected a finite number, found nan",
        ),
        ("title: A small network", 'title: "two\\nlines"', "expected one line of printable text, found"),
        ("format: lockstep-network/1", "format: lockstep-network/2", "format: expected 'lockstep-network/1', found"),
    ],
)
def test_wrong_value_says_expected_and_found(old: str, new: str, message: str) -> None:
    text = changed((old, new))
    error = error_of(text)
    assert message in error
    assert error.startswith(f"net.yaml:{line_of(text, new) + ('drop_probability' in new)}: ")


def test_padding_as_wide_as_a_pooling_window_is_rejected() -> None:
    text = changed(("    pads: 0\n    rounding", "    pads: 3\n    rounding"))
    assert "layer 'pool1': pads: expected less than the kernel 3×3" in error_of(text)


def test_even_normalisation_window_is_rejected() -> None:
    lrn = (
        "op: lrn\n    n: 4\n    k: 2.0\n    alpha: 1.0e-4\n    alpha_convention: sum\n    beta: 0.75\n    scope: whole"
    )
    assert "layer 'relu1': n: expected an odd number of channels, found 4" in error_of(changed(("op: relu", lrn)))


def test_alpha_without_its_convention_is_rejected() -> None:
    lrn = "op: lrn\n    n: 5\n    k: 2.0\n    alpha: 1.0e-4\n    beta: 0.75\n    scope: whole"
    assert "layer 'relu1': missing key 'alpha_convention'" in error_of(changed(("op: relu", lrn)))


# --- Names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["Relu1", "1relu", "re-lu", "relu.1", "__import__", "x; y", "ré", "a" * 65, "'); raise SystemExit"]
)
def test_name_that_is_no_identifier_is_rejected(name: str) -> None:
    text = changed(("name: relu1", f'name: "{name}"'))
    message = error_of(text)
    assert message.startswith(f"net.yaml:{line_of(text, name)}: layer ")
    assert "expected a name of lower-case ASCII letters, digits and '_'" in message


@pytest.mark.parametrize("name", ["class", "match", "forward", "self", "tap", "x", "train"])
def test_reserved_name_is_rejected(name: str) -> None:
    text = changed(("name: relu1", f"name: {name}"))
    line = line_of(text, f"name: {name}")
    assert error_of(text) == (
        f"net.yaml:{line}: layer {name!r}: expected a name that generated sources can use, "
        f"found the reserved word {name!r}"
    )


def test_reserved_names_are_themselves_well_formed() -> None:
    assert all(name == name.lower() and name.isidentifier() for name in RESERVED)


def test_name_used_twice_is_rejected() -> None:
    text = SMALL.replace("name: relu1", "name: conv1")
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'op: relu') - 1}: layer 'conv1': expected a name of its own, found that of layer 0"
    )


def test_name_of_the_input_is_taken() -> None:
    text = changed(("name: relu1", "name: small_image"), ("  name: image", "  name: small_image"))
    assert "layer 'small_image': expected a name of its own, found that of the network's input" in error_of(text)


# --- The graph -------------------------------------------------------------------------------------------------------


def test_cycle_is_spelled_out() -> None:
    text = changed(("op: conv\n", "op: conv\n    inputs: [pool1]\n"))
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'inputs:')}: layer 'conv1': inputs: expected a graph without cycles, "
        "found conv1 → pool1 → relu1 → conv1"
    )


def test_operator_that_reads_itself_is_a_cycle() -> None:
    assert "found relu1 → relu1" in error_of(changed(("op: relu", "op: relu\n    inputs: [relu1]")))


def test_operator_that_stands_below_must_move_up() -> None:
    text = changed(
        ("op: relu", "op: add\n    inputs: [conv1, side]"),
        ("  - name: pool1", "  - {name: side, op: relu, inputs: [conv1]}\n  - name: pool1"),
    )
    assert "inputs: expected operators that stand above, found 'side', which stands below; move it up" in error_of(text)


def test_unknown_input_is_named() -> None:
    text = changed(("op: relu", "op: relu\n    inputs: [conv_1]"))
    line = line_of(text, "inputs:")
    assert error_of(text) == (
        f"net.yaml:{line}: layer 'relu1': inputs: expected the name of an operator above or of the input, "
        "found 'conv_1'; did you mean 'conv1'?"
    )


def test_operator_that_nothing_reads_is_rejected() -> None:
    text = changed(("name: pool1\n", "name: pool1\n    inputs: [conv1]\n"))
    line = line_of(text, "name: relu1")
    assert error_of(text) == (
        f"net.yaml:{line}: layer 'relu1': expected an operator that reads it, found none; remove it or use it"
    )


def test_two_inputs_of_a_relu_are_rejected() -> None:
    assert "relu expects one input, found 2" in error_of(changed(("op: relu", "op: relu\n    inputs: [conv1, image]")))


# --- Shapes and totals -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("groups: 2", "groups: 3", "groups=3 does not divide in_channels=4"),
        ("groups: 2", "groups: 4", "groups=4 does not divide out_channels=6"),
    ],
)
def test_groups_that_do_not_divide_are_rejected(old: str, new: str, message: str) -> None:
    text = changed((old, new))
    assert error_of(text) == f"net.yaml:{line_of(text, new)}: layer 'conv1': {message}"


def test_input_of_224_without_padding_does_not_reach_9216_features() -> None:
    text = shipped()["alexnet"].read_text().replace("shape: [3, 227, 227]", "shape: [3, 224, 224]")
    line = line_of(text, "    conv1: [96, 55, 55]")
    assert error_of(text).startswith(
        f"net.yaml:{line}: layer 'conv1': expected shape [96, 55, 55], found [96, 54, 54] from the graph (line "
    )


def test_224_network_with_its_own_shapes_still_fails_at_the_dense_layer() -> None:
    text = shipped()["alexnet"].read_text().replace("shape: [3, 227, 227]", "shape: [3, 224, 224]")
    for old, new in (("55, 55]", "54, 54]"), ("27, 27]", "26, 26]"), ("13, 13]", "12, 12]"), ("6, 6]", "5, 5]")):
        text = text.replace(old, new)
    text = text.replace("flatten: [9216]", "flatten: [6400]")
    line = line_of(text, "in_features: 9216")
    assert error_of(text) == f"net.yaml:{line}: layer 'fc6': expected 9216 input features, found 6400"


def test_wrong_shape_names_what_the_graph_gives() -> None:
    text = changed(("pool1: [6, 4, 3]", "pool1: [6, 3, 4]"))
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'pool1: [6')}: layer 'pool1': expected shape [6, 3, 4], found [6, 4, 3] "
        f"from the graph (line {line_of(text, 'name: pool1')}, input [6, 9, 7])"
    )


def test_missing_and_surplus_shapes_are_rejected() -> None:
    assert "expect.shapes: missing 'relu1'; the graph gives [6, 9, 7]" in error_of(
        changed(("    relu1: [6, 9, 7]\n", ""))
    )
    text = changed(("    fc2: [5]\n", "    fc2: [5]\n    fc3: [5]\n"))
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'fc3')}: expect.shapes: expected the name of an operator, found 'fc3'"
    )


@pytest.mark.parametrize(("total", "found"), [("parameters", "479"), ("macs", "7,164"), ("neurons", "383")])
def test_wrong_total_is_rejected(total: str, found: str) -> None:
    text = changed((f"  {total}: {found.replace(',', '')}", f"  {total}: 1000"))
    line = line_of(text, f"{total}: 1000")
    assert error_of(text) == f"net.yaml:{line}: expect.{total}: expected 1,000, found {found} from the graph"


def test_dense_layer_on_an_image_is_told_to_flatten() -> None:
    text = changed(("  - name: flatten\n    op: flatten\n", ""), ("    flatten: [72]\n", ""))
    assert error_of(text).endswith("layer 'fc2': expected 72 input features, found 6×4×3 = 72; put a flatten before it")


def test_kernel_larger_than_its_image_is_rejected() -> None:
    text = changed(("kernel: 3\n    stride: 1", "kernel: [3, 10]\n    stride: 1"))
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'kernel: [3, 10]')}: layer 'conv1': "
        "expected a kernel that fits the padded width 9, found 10"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("shape: [4, 9, 7]", "shape: [4, 2147483647, 2147483647]"),
        ("out_channels: 6", "out_channels: 2147483646"),
        ("out_features: 5", "out_features: 2147483647"),
    ],
)
def test_dimensions_beyond_any_memory_are_rejected(old: str, new: str) -> None:
    assert "at most 2147483647 elements, found" in error_of(changed((old, new)))


def test_input_beyond_any_memory_is_rejected_even_if_a_stride_skips_most_of_it() -> None:
    text = changed(
        ("shape: [4, 9, 7]", "shape: [4, 2147483647, 2147483647]"),
        ("kernel: 3\n    stride: 1", "kernel: 3\n    stride: 2147483647"),
    )
    assert "at most 2147483647 elements, found" in error_of(text)


def test_extent_beyond_an_index_is_rejected() -> None:
    assert "out_channels: expected at most 2147483647" in error_of(
        changed(("out_channels: 6", "out_channels: 99999999999999999999999999"))
    )


def test_override_of_no_parameter_is_rejected() -> None:
    text = shipped()["alexnet_narrow"].read_text().replace("conv2.bias:", "conv2.biass:")
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'conv2.biass')}: training.initialisers.overrides: expected the name of a parameter, "
        "found 'conv2.biass'; did you mean 'conv2.bias'?"
    )


def test_a_network_that_gives_no_classes_cannot_be_evaluated() -> None:
    graph, _, expect = SMALL.partition("  - name: flatten\n")
    shapes = expect.partition("expect:\n")[2].replace("    flatten: [72]\n    fc2: [5]\n", "")
    totals = shapes.replace("479", "114").replace("7164", "6804").replace("383", "378")
    text = f"{graph}expect:\n{totals}evaluation: {{views: centre, average: logits, results: [], contradicted: []}}\n"
    assert error_of(text) == (
        f"net.yaml:{line_of(text, 'evaluation')}: evaluation: expected a network that gives one score a class, "
        "found [6, 4, 3] from 'pool1'; put a flatten behind it"
    )


# --- Files -----------------------------------------------------------------------------------------------------------


def test_empty_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("")
    assert file_error(path) == f"{path}:1: expected a mapping with the keys of a network, found an empty file"


def test_file_of_one_word_is_rejected() -> None:
    assert error_of("alexnet\n") == "net.yaml:1: expected a mapping with the keys of a network, found a str"


def test_file_that_is_no_yaml_is_rejected() -> None:
    assert error_of("format: [\nname: }\n").startswith("net.yaml:2: expected YAML, found: ")


def test_file_that_is_not_utf8_is_rejected_at_its_line(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_bytes(b"format: a\ntitle: \xff\n")
    assert file_error(path) == f"{path}:2: expected UTF-8, found byte 0xff"


def test_file_of_a_million_lines_is_rejected_at_once(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("a: 1\n" * 1_000_000)
    began = time.perf_counter()
    assert file_error(path) == f"{path}: expected a spec of at most {MAX_BYTES} bytes, found 5000000"
    assert time.perf_counter() - began < 1


def test_largest_file_with_an_error_on_every_line_ends_within_seconds() -> None:
    text = "".join(f"k{number}: 1\n" for number in range(45_000))
    assert len(text) < MAX_BYTES
    began = time.perf_counter()
    assert error_of(text).startswith("net.yaml:1: unknown key 'k0'")
    assert time.perf_counter() - began < 10


def test_name_of_nothing_lists_the_shipped_networks() -> None:
    assert file_error("alexnett") == (
        f"'alexnett': expected a spec file or one of {', '.join(shipped())}; found neither"
    )


def test_folder_is_rejected(tmp_path: Path) -> None:
    assert file_error(tmp_path) == f"{tmp_path}: expected a spec file, found a folder"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_rejected_without_waiting_for_it(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert file_error(path) == f"{path}: expected a spec file, found no regular file"


@pytest.mark.skipif(os.name != "posix", reason="/dev/zero is a POSIX device")
def test_endless_device_is_rejected() -> None:
    assert file_error("/dev/zero") == "/dev/zero: expected a spec file, found no regular file"


def test_unreadable_file_is_rejected(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SMALL)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    assert file_error(path) == f"{path}: expected a readable file, found: Permission denied"
    path.chmod(stat.S_IRUSR)


def test_error_of_the_system_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(SMALL)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert file_error(path) == f"{path}: expected a readable file, found: Permission denied"


@pytest.mark.parametrize("name", ["", "\0", "a" * 5000, "line\nbreak"])
def test_nonsense_as_path_is_rejected(name: str) -> None:
    assert "expected" in file_error(name)


def test_path_below_the_working_folder_is_shown_as_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "net.yaml").write_text("")
    monkeypatch.chdir(tmp_path)
    assert file_error("net.yaml").startswith("net.yaml:1: ")


def test_error_is_one_line_on_stderr_and_exit_code_2(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text(changed(("groups: 2", "groups: 3")))
    done = subprocess.run([sys.executable, "-m", "spec", "check", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {path}:15: layer 'conv1': groups=3 does not divide in_channels=4\n"
