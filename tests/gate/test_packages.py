"""What a user may ask of a side, and what he may not."""

from pathlib import Path

import pytest

from gate.packages import FRAMEWORK_OF, asked_sides, framework_of, parse, provided_by, what_differs
from gate.requirement_file import contents_of, files_of, requirements_of
from spec.exits import InputError


def pins(text: str) -> dict[str, str]:
    return {name: str(requirement) for name, requirement in parse("baseline", text).requirements.items()}


@pytest.mark.parametrize(
    "text", ["torch==2.15.0 numpy==2.3.5", "torch==2.15.0,numpy==2.3.5", "torch==2.15.0, numpy==2.3.5"]
)
def test_blanks_and_commas_separate_packages(text: str) -> None:
    assert pins(text) == {"torch": "torch==2.15.0", "numpy": "numpy==2.3.5"}


def test_a_pin_may_have_extras_and_any_spelling_of_its_name() -> None:
    assert pins("JAX[cuda13]==0.10.2") == {"jax": "JAX[cuda13]==0.10.2"}
    assert list(pins("Tensorflow_CPU==2.21.0")) == ["tensorflow-cpu"]


@pytest.mark.parametrize(
    "text", ["jax", "jax>=0.9", "jax==0.9.*", "jax==0.9,==0.9", "", " ", "==1", "jax==0.9 jax==0.9"]
)
def test_what_is_no_exact_pin_is_the_users_mistake(text: str) -> None:
    with pytest.raises(InputError, match="baseline: expected"):
        parse("baseline", text)


def test_the_same_version_twice_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected two sides that differ, found 'jax==0\.9\.2' twice"):
        asked_sides(["jax==0.9.2", "jax==0.9.2"])
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(f"jax==0.9.2  # {name}\n", encoding="utf-8")
    with pytest.raises(InputError, match="expected two sides that differ"):
        asked_sides([str(tmp_path / "a.txt"), str(tmp_path / "b.txt")])


@pytest.mark.parametrize(
    ("files", "differ"),
    [
        ({"a/c.txt": "jax==1.0", "b/c.txt": "jax==2.0", "side": "jax\n-c c.txt"}, {"jax"}),
        ({"a/c.txt": "numpy==2.3", "b/c.txt": "numpy==2.4", "side": "-c c.txt\njax==1.0"}, {"numpy"}),
        ({"a/c.txt": "jax==1\ntorch==1", "b/c.txt": "jax==2\ntorch==2", "side": "jax\n-c c.txt"}, {"jax"}),
        ({"a/c.txt": "--index-url https://a", "b/c.txt": "--index-url https://b", "side": "-r c.txt\njax"}, {"jax"}),
        (
            {
                "a/c.txt": "https://a/torch-2.14.1-py3-none-any.whl",
                "b/c.txt": "https://a/torch-2.15.0%2Bcpu-py3-none-any.whl#sha256=00",
                "side": "numpy\n-r c.txt",
            },
            {"torch"},
        ),
    ],
)
def test_sides_may_differ_in_what_their_files_include_alone(
    tmp_path: Path, files: dict[str, str], differ: set[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "side.txt").write_text(files["side"], encoding="utf-8")
        (tmp_path / name / "c.txt").write_text(files[f"{name}/c.txt"], encoding="utf-8")
    own = asked_sides([str(tmp_path / "a" / "side.txt"), str(tmp_path / "b" / "side.txt")])
    assert what_differs(*own) == differ


@pytest.mark.parametrize("sides", [[], ["jax==1"], ["jax==1", "jax==2", "jax==3"]])
def test_there_are_two_sides(sides: list[str]) -> None:
    with pytest.raises(InputError, match="expected 2 of BASELINE and CANDIDATE"):
        asked_sides(sides)


def test_an_interpreter_takes_the_place_of_its_side(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\n", encoding="utf-8")
    python.chmod(0o755)
    baseline, candidate = asked_sides(["jax==2"], baseline_python=str(python))
    assert (baseline.python, list(candidate.requirements)) == (str(python), ["jax"])
    with pytest.raises(InputError, match="expected 1 of BASELINE and CANDIDATE, found 2"):
        asked_sides(["jax==1", "jax==2"], candidate_python=str(python))


def test_an_interpreter_that_is_not_there_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--baseline-python: expected an interpreter, found none"):
        asked_sides(["jax==1"], baseline_python=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("packages", "framework"),
    [
        (["jaxlib", "numpy"], "jax"),
        (["torch"], "torch"),
        (["tensorflow-cpu"], "tensorflow"),
        (["onnx", "onnxruntime"], "onnx"),
    ],
)
def test_the_framework_is_that_of_the_packages(packages: list[str], framework: str) -> None:
    assert framework_of(packages, None) == framework


@pytest.mark.parametrize(
    ("packages", "cause"),
    [
        (["flask"], "found flask"),
        (["numpy"], "--framework torch"),
        (["jax", "torch"], "those of jax, torch"),
        ([], "no package"),
    ],
)
def test_packages_that_name_no_framework_need_it_said(packages: list[str], cause: str) -> None:
    with pytest.raises(InputError, match=cause):
        framework_of(packages, None)
    assert framework_of(packages, "torch") == "torch"


def test_a_framework_that_is_unknown_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="--framework: expected one of torch, jax, tensorflow, onnx, found 'mxnet'"):
        framework_of(["numpy"], "mxnet")


def test_builds_of_one_package_provide_the_same() -> None:
    assert provided_by("tensorflow") == provided_by("tensorflow-cpu") == "tensorflow"
    assert provided_by("numpy") == "numpy"
    assert FRAMEWORK_OF["onnxruntime-gpu"] == "onnx"


#: Lines that no installer understands, and what stands before each in its file.
MALFORMED = {
    "one equals sign": ("numpy==2.4\n", "jax=0.10.2", 2),
    "half an extra": ("", "jax[cuda==0.10.2", 1),
    "half a version": ("# a comment\n\n", "jax==", 3),
    "two requirements": ("", "jax==0.10.2 numpy==2.4", 1),
    "words": ("jax==1.0 \\\n    --hash=sha256:00\n", "to be done!", 3),
    "a conflict of a merge": ("", "<<<<<<< HEAD", 1),
    "no marker": ("", "jax==1.0; python_version", 1),
}


@pytest.mark.parametrize(("before", "line", "number"), MALFORMED.values(), ids=MALFORMED.keys())
def test_a_line_that_is_no_requirement_is_named_with_its_place(
    tmp_path: Path, before: str, line: str, number: int
) -> None:
    path = tmp_path / "new.txt"
    path.write_text(f"{before}{line}\n", encoding="utf-8")
    with pytest.raises(InputError) as error:
        parse("candidate", str(path))
    assert str(error.value).startswith(f"{path}:{number}: expected a requirement such as jax==0.10.2, found {line!r}")
    assert "\n" not in str(error.value)
    (tmp_path / "outer.txt").write_text("numpy==2.4\n-c new.txt\n", encoding="utf-8")
    with pytest.raises(InputError, match=f"new.txt:{number}: expected a requirement"):
        parse("candidate", str(tmp_path / "outer.txt"))


def test_what_an_installer_understands_and_is_no_requirement_is_left_to_it(tmp_path: Path) -> None:
    path = tmp_path / "new.txt"
    lines = [
        "\ufeffjax==0.10.2", "--index-url https://example.com/simple", "-e ./own", "https://example.com/a.whl",
        "./wheels/b-1.0-py3-none-any.whl", "./c-1.0.tar.gz", "own @ https://example.com/own.zip", "${OWN}==1",
        "git+https://example.com/d.git@main", "numpy>=2,<3 --config-settings=a=b",
    ]  # fmt: skip
    path.write_text("\n".join(lines), encoding="utf-8")
    assert set(parse("candidate", str(path)).requirements) == {"jax", "own", "numpy", "b"}


def test_files_that_are_included_are_found_once_within_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("--requirement=b.txt\n-cc.txt\njax==1.0\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("-r a.txt\n--constraint c.txt\nnumpy==2.4\n", encoding="utf-8")
    (tmp_path / "c.txt").write_text("flask==3.0\n", encoding="utf-8")
    assert {file.name for file in files_of(tmp_path / "a.txt")} == {"a.txt", "b.txt", "c.txt"}
    constraint = (True, "flask==3.0")
    assert contents_of(tmp_path / "a.txt") == [(False, "jax==1.0"), (False, "numpy==2.4"), constraint, constraint]
    (tmp_path / "c.txt").write_text("-r none.txt\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"none\.txt'?: expected a requirement file"):
        parse("baseline", str(tmp_path / "a.txt"))


def test_a_requirement_file_may_have_options_hashes_markers_and_other_files(tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "all.txt").write_text(
        "--extra-index-url https://example.com/simple\n-r more/base.txt\n# a line\n"
        "jax==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\n"
        'colorama==1 ; sys_platform == "win32"\nhttps://example.com/a.whl\n',
        encoding="utf-8",
    )
    (tmp_path / "more" / "base.txt").write_text("numpy==2.4  # why\n-r ../all.txt\n", encoding="utf-8")
    assert {name: str(r) for name, r in requirements_of(tmp_path / "all.txt").items()} == {
        "numpy": "numpy==2.4",
        "jax": "jax==1.0",
    }
    assert (False, "--extra-index-url https://example.com/simple") in contents_of(tmp_path / "all.txt")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_requirement_file_that_cannot_be_read_is_the_users_mistake(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="expected a requirement file"):
        parse("baseline", str(path))
