"""Which frameworks an update of requirement files changes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gate.changed import check_out, main, updates
from spec.exits import Exit, InputError

JAX = "jax==0.9.2\njaxlib==0.9.2\nscipy==1.17.1\nnumpy==2.4.6\n"


def write(folder: Path, **files: str) -> Path:
    (folder / "requirements").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / "requirements" / f"{name}.txt").write_text(text, encoding="utf-8")
    return folder


def frameworks(before: Path, after: Path) -> list[str]:
    return [update.framework for update in updates(before, after)]


def test_a_framework_that_moved_is_listed_with_both_its_files(tmp_path: Path) -> None:
    before = write(tmp_path / "before", jax=JAX, suite="numpy==2.4.6\n")
    after = write(tmp_path / "after", jax=JAX.replace("0.9.2", "0.10.2"), suite="numpy==2.4.7\n")
    (update,) = updates(before, after)
    assert update.framework == "jax"
    assert update.packages == ("jax", "jaxlib")
    assert Path(update.baseline).read_text(encoding="utf-8") == JAX
    assert Path(update.candidate) == after / "requirements" / "jax.txt"


def test_a_package_below_a_framework_is_an_update_of_it(tmp_path: Path) -> None:
    before = write(tmp_path / "before", jax=JAX)
    assert frameworks(before, write(tmp_path / "a", jax=JAX.replace("1.17.1", "1.17.2"))) == ["jax"]
    assert frameworks(before, write(tmp_path / "b", jax=JAX + "flask==3.0\n")) == []
    assert frameworks(before, write(tmp_path / "c", jax=JAX + "# a comment\n")) == []


def test_of_several_frameworks_in_one_file_the_one_that_moved_is_listed(tmp_path: Path) -> None:
    both = JAX + "onnx==1.23.2\nonnxruntime==1.30.0\n"
    before = write(tmp_path / "before", all=both)
    assert frameworks(before, write(tmp_path / "a", all=both.replace("1.30.0", "1.31.1"))) == ["onnx"]
    assert frameworks(before, write(tmp_path / "b", all=both.replace("2.4.6", "2.4.7"))) == ["jax", "onnx"]


def test_a_file_or_framework_that_is_new_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    before = write(tmp_path / "before", other="flask==3.0\n")
    assert frameworks(before, write(tmp_path / "after", jax=JAX, other="flask==3.0\ntorch==2.13.0\n")) == []


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-C", str(folder), "-c", "user.name=n", "-c", "user.email=n@example.com", *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = write(tmp_path / "repository", jax=JAX)
    committed(folder)
    return write(folder, jax=JAX.replace("0.9.2", "0.10.2"))


def test_the_state_before_may_be_a_git_revision(
    repository: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--base", "main", "--into", str(tmp_path / "into"), str(repository)]) is Exit.PASSED
    (update,) = json.loads(capsys.readouterr().out)
    assert update["framework"] == "jax"
    assert Path(update["baseline"]).read_text(encoding="utf-8") == JAX
    assert Path(update["baseline"]).is_relative_to(tmp_path / "into")


#: Files of a layout before, what of them is changed, and what is listed: framework and packages.
LAYOUTS: dict[str, tuple[dict[str, str], dict[str, str], list[tuple[str, list[str]]]]] = {
    "constraints": (
        {"requirements.txt": "jax\n-c constraints.txt\n", "constraints.txt": "jax==1.0\n"},
        {"constraints.txt": "jax==2.0\n"},
        [("jax", ["jax"])],
    ),
    "an included file": (
        {"requirements.txt": "-r deps/base.txt\n", "deps/base.txt": "-r more.lock\n", "deps/more.lock": "jax==1.0\n"},
        {"deps/more.lock": "jax==2.0\n"},
        [("jax", ["jax"])],
    ),
    "a folder called build": (
        {"build/requirements.txt": "jax==1.0\n"},
        {"build/requirements.txt": "jax==2.0\n"},
        [("jax", ["jax"])],
    ),
    "a hidden folder": (
        {".ci/requirements.txt": "jax==1.0\n"},
        {".ci/requirements.txt": "jax==2.0\n"},
        [("jax", ["jax"])],
    ),
    "another index": (
        {"requirements.txt": "--index-url https://a.example\njax==1.0\n"},
        {"requirements.txt": "--index-url https://b.example\njax==1.0\n"},
        [("jax", ["--index-url https://a.example", "--index-url https://b.example"])],
    ),
    "a wheel's address": (
        {"requirements.txt": "torch==2.14.1\n"},
        {"requirements.txt": "https://a.example/torch-2.15.0-py3-none-any.whl\n"},
        [("torch", ["torch"])],
    ),
    "constraints at an address": (
        {"requirements.txt": "-c https://a.example/1.txt\njax\n"},
        {"requirements.txt": "-c https://a.example/1.txt\njax  # why\n"},
        [],
    ),
}


def written(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def committed(folder: Path) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=before")


def listed(*arguments: str | Path, capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    assert main([*map(str, arguments)]) is Exit.PASSED
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bump_is_seen_wherever_a_requirement_file_has_it(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, changes, expected = LAYOUTS[layout]
    folder = written(tmp_path / "repository", before)
    committed(folder)
    written(folder, changes)
    found = listed("--base", "main", "--into", tmp_path / "into", folder, capsys=capsys)
    assert [(update["framework"], update["packages"]) for update in found] == expected
    for update in found:
        assert Path(update["baseline"]).read_text(encoding="utf-8") == before[update["file"]]


def test_a_link_to_a_file_that_was_bumped_is_an_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "repository", {"locks/linux.lock": "jax==1.0\n"})
    (folder / "requirements.txt").symlink_to("locks/linux.lock")
    committed(folder)
    written(folder, {"locks/linux.lock": "jax==2.0\n"})
    (update,) = listed("--base", "main", "--into", tmp_path / "into", folder, capsys=capsys)
    assert Path(update["baseline"]).read_text(encoding="utf-8") == "jax==1.0\n"


def test_a_folder_within_a_repository_is_compared_with_what_it_includes_from_outside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    top = {"base.txt": "jax==1.0\n", "own/requirements.txt": "-r ../base.txt\n", "other/requirements.txt": "jax==1\n"}
    folder = written(tmp_path / "repository", top)
    committed(folder)
    written(folder, {"base.txt": "jax==2.0\n", "other/requirements.txt": "jax==2\n"})
    (update,) = listed("--base", "main", "--into", tmp_path / "into", folder / "own", capsys=capsys)
    assert (update["file"], update["packages"]) == ("requirements.txt", ["jax"])


def test_what_was_written_of_an_earlier_revision_is_no_requirement_file(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        found = listed("--base", "main", "--into", repository / "build" / "gate", repository, capsys=capsys)
        assert [update["file"] for update in found] == ["requirements/jax.txt"]


def test_names_of_files_may_be_said_and_have_to_be_those_of_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written(tmp_path / "before", {"reqs.in": "jax==1.0\n"})
    after = written(tmp_path / "after", {"reqs.in": "jax==2.0\n", "new.in": "torch\n"})
    (update,) = listed("--files", "reqs.in", "--files", "new.in", before, after, capsys=capsys)
    assert (update["file"], update["framework"]) == ("reqs.in", "jax")
    with pytest.raises(InputError, match=r"--files: expected names of requirement files, found none .*'deps\.in'"):
        main(["--files", "reqs.in", "--files", "deps.in", str(before), str(after)])


def test_a_revision_that_is_not_there_is_one_line(repository: Path, tmp_path: Path) -> None:
    for name in ("nowhere", "--help", ""):
        with pytest.raises(InputError, match="fetch-depth: 0"):
            check_out(name, repository, tmp_path / "into")
    assert not (tmp_path / "into").exists()


def test_two_folders_or_a_revision_are_needed(tmp_path: Path) -> None:
    for arguments in ([], [str(tmp_path)], ["--base", "main", "a", "b"]):
        with pytest.raises(InputError, match="expected"):
            main(arguments)
    with pytest.raises(InputError, match="expected a folder"):
        main([str(tmp_path), str(tmp_path / "nowhere")])


def test_it_runs_as_a_program_and_says_when_nothing_changed(tmp_path: Path) -> None:
    folder = str(write(tmp_path, jax=JAX))
    command = [sys.executable, "-m", "gate.changed", folder, folder]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n")
