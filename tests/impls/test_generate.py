"""`python -m impls.generate`: writes what the specs give, or says what differs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from impls import generate
from impls.frameworks import FRAMEWORKS
from impls.generate import COMMITTED, main, source_text, write_source
from spec.exits import Exit, InputError, NotRunError
from spec.load import load
from tests.spec.networks import SMALL, small

ROOT = Path(__file__).parents[2]


@pytest.fixture
def committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the committed sources, in place of them."""
    folder = tmp_path / "generated"
    shutil.copytree(COMMITTED, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(generate, "COMMITTED", folder)
    monkeypatch.setattr(generate, "BUILD", tmp_path / "build")
    return folder


def texts(folder: Path) -> dict[str, tuple[str, int]]:
    return {path.name: (path.read_text(encoding="utf-8"), path.stat().st_mtime_ns) for path in folder.rglob("*.py")}


def run(*arguments: str, folder: Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of the program, on a copy of the checkout in `folder`."""
    for name in ("spec", "impls"):
        if not (folder / name).exists():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "impls.generate", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    return done.returncode, done.stdout, done.stderr


def test_committed_sources_are_what_their_specs_give() -> None:
    assert main(["--check"]) is Exit.PASSED


def test_check_shows_drift(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = committed / "alexnet_torch.py"
    path.write_text(path.read_text(encoding="utf-8").replace("stride=4", "stride=5"), encoding="utf-8")
    before = texts(committed)
    assert main(["--check"]) is Exit.DIVERGED
    out, err = capsys.readouterr()
    assert "--- committed/alexnet_torch.py\n+++ generated/alexnet_torch.py\n" in out
    assert [line for line in out.splitlines() if line.startswith(("-  ", "+  "))] == [
        "-        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=5)  # §3.5",
        "+        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4)  # §3.5",
    ]
    assert err == "error: 1 of the generated sources drifted; run: python -m impls.generate\n"
    assert texts(committed) == before


@pytest.mark.parametrize("name", ["alexnet_caffe.py", "vgg_torch.py", "notes.txt"])
def test_check_finds_an_orphan(name: str, committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (committed / name).touch()
    assert main(["--check"]) is Exit.DIVERGED
    assert f"orphan: impls/generated/{name} comes from no committed network; remove it" in capsys.readouterr().out


def test_check_finds_a_missing_source(committed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (committed / "alexnet_onnx.py").unlink()
    assert main(["--check"]) is Exit.DIVERGED
    assert '+"""AlexNet, the network of the paper, in ONNX.' in capsys.readouterr().out


def test_writing_twice_changes_nothing(committed: Path) -> None:
    (committed / "alexnet_jax.py").unlink()
    assert main([]) is Exit.PASSED
    first = {name: text for name, (text, _) in texts(committed).items()}
    assert main([]) is Exit.PASSED
    assert {name: text for name, (text, _) in texts(committed).items()} == first
    assert main(["--check"]) is Exit.PASSED


def test_another_network_goes_into_the_build_folder(
    committed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = texts(committed)
    spec = tmp_path / "small.yaml"
    spec.write_text(SMALL, encoding="utf-8")
    for _ in range(2):
        assert main([str(spec)]) is Exit.PASSED
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    folder = tmp_path / "build" / small().sha256[:16]
    names = [f"small_{name}{ending}.py" for name in FRAMEWORKS for ending in ("", "_fast")]
    assert [path.resolve() for path in paths] == 2 * [folder / name for name in names]
    assert sorted(path.name for path in folder.iterdir()) == sorted(names)
    assert texts(committed) == before


def test_a_spec_that_only_has_the_name_of_a_committed_one_replaces_nothing(committed: Path, tmp_path: Path) -> None:
    before = texts(committed)
    spec = tmp_path / "mine.yaml"
    spec.write_text(SMALL.replace("name: small", "name: alexnet"), encoding="utf-8")
    assert main([str(spec)]) is Exit.PASSED
    assert texts(committed) == before


def test_a_source_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    path = write_source(small(), "torch", tmp_path)
    first = path.stat().st_mtime_ns
    assert write_source(small(), "torch", tmp_path) == path
    assert path.stat().st_mtime_ns == first
    path.write_text("damaged", encoding="utf-8")
    write_source(small(), "torch", tmp_path)
    assert path.read_text(encoding="utf-8") == source_text(small(), "torch")


def test_networks_of_one_name_have_a_folder_each(tmp_path: Path) -> None:
    assert write_source(small(), "torch", tmp_path) != write_source(load("alexnet"), "torch", tmp_path)
    other = small().model_copy(update={"title": "Another"})
    assert write_source(small(), "torch", tmp_path) != write_source(other, "torch", tmp_path)


def test_check_takes_no_network() -> None:
    with pytest.raises(InputError, match="expected no NETWORK beside it"):
        main(["alexnet", "--check"])


def test_an_unknown_network_is_wrong_input(tmp_path: Path) -> None:
    code, out, err = run("lenet", folder=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "lenet" in err
    assert not (tmp_path / "build").exists()


def test_exit_codes_of_the_program(tmp_path: Path) -> None:
    assert run("--check", folder=tmp_path)[0] == 0
    (tmp_path / "impls" / "generated" / "alexnet_torch.py").unlink()
    assert run("--check", folder=tmp_path)[0] == 1
    assert run("--chekc", folder=tmp_path)[0] == 2


@pytest.mark.parametrize("network", ["alexnet_narrow", "alexnet"])
def test_a_folder_that_cannot_be_written_ends_with_one_line(network: str, tmp_path: Path) -> None:
    run("--check", folder=tmp_path)
    (tmp_path / "build").write_text("a file where a folder should be")
    folder = tmp_path / "impls" / "generated"
    for path in folder.glob("alexnet_*"):
        path.unlink()
        path.mkdir()
    code, out, err = run(network, folder=tmp_path)
    assert (code, out, err.count("\n")) == (3, "", 1)
    assert "expected to write a generated source, found: " in err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_raises_not_run(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NotRunError, match="expected to write a generated source, found: Permission denied"):
        write_source(small(), "torch", tmp_path)
    tmp_path.chmod(0o700)
