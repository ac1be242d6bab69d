"""Environments are made once, whole or not at all, and a failure is one line. All offline, with tiny requirements."""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from impls import environments
from impls.environments import for_uv, interpreter, make
from spec.exits import InputError, NotRunError

Said = list[str]


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package of one module `name`, as a wheel file in `folder`."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with ZipFile(path, "w") as archive:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(file, text)
    return path


@pytest.fixture(params=["uv", "pip"])
def installer(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With uv and without it, whatever this machine has."""
    name: str = request.param
    if name == "uv" and not environments.uv_command():
        pytest.skip("uv is not on this machine; environments are made with pip here")
    if name == "pip":
        monkeypatch.setattr(environments, "uv_command", list)
    return name


@pytest.fixture
def requirements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Requirements of one local package, for environments below `tmp_path`, with no index to ask."""
    monkeypatch.setenv("LOCKSTEP_ENVIRONMENTS", str(tmp_path / "environments"))
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "lockstep_dummy", "1.0")
    wheel(wheels, "lockstep_dummy", "2.0")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    for name in ("PIP_NO_INDEX", "UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    path = tmp_path / "dummy.txt"
    path.write_text("lockstep_dummy==1.0\n", encoding="utf-8")
    return path


def dummy_version(python: Path) -> str:
    command = [str(python), "-c", "import lockstep_dummy; print(lockstep_dummy.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_holds_what_is_required(requirements: Path, installer: str) -> None:
    said: Said = []
    python = make(requirements, "dummy", said.append)
    assert dummy_version(python) == "1.0"
    assert f"with {installer}" in said[0]


def test_the_second_time_costs_and_says_nothing(requirements: Path) -> None:
    first = make(requirements, "dummy", lambda _: None)
    said: Said = []
    started_s = time.monotonic()
    assert make(requirements, "dummy", said.append) == first
    assert time.monotonic() - started_s < 0.1
    assert said == []


def test_other_requirements_make_another_environment_and_leave_the_first(requirements: Path) -> None:
    first = make(requirements, "dummy", lambda _: None)
    requirements.write_text("lockstep_dummy==2.0\n", encoding="utf-8")
    second = make(requirements, "dummy", lambda _: None)
    assert (dummy_version(first), dummy_version(second)) == ("1.0", "2.0")


def test_an_interrupted_making_is_done_anew(requirements: Path) -> None:
    python = make(requirements, "dummy", lambda _: None)
    folder = python.parents[1]
    (folder / ".complete").unlink()
    for module in folder.glob("lib/python*/site-packages/lockstep_dummy.py"):
        module.unlink()
    said: Said = []
    assert make(requirements, "dummy", said.append) == python
    assert "not finished" in said[0]
    assert dummy_version(python) == "1.0"


def test_an_environment_whose_python_was_removed_is_made_anew(requirements: Path) -> None:
    python = make(requirements, "dummy", lambda _: None)
    python.unlink()
    make(requirements, "dummy", lambda _: None)
    assert dummy_version(python) == "1.0"


def test_an_interrupt_leaves_nothing_behind(requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make(requirements, "dummy", lambda _: None)
    assert [path.suffix for path in (requirements.parent / "environments").iterdir()] == [".lock"]


def test_a_requirement_that_nothing_satisfies_is_one_line_and_leaves_nothing(
    requirements: Path, installer: str
) -> None:
    requirements.write_text("lockstep_dummy==9.9\n", encoding="utf-8")
    with pytest.raises(NotRunError, match=r"environment for dummy could not be made: .*9\.9") as caught:
        make(requirements, "dummy", lambda _: None)
    assert "\n" not in str(caught.value)
    assert [path.suffix for path in (requirements.parent / "environments").iterdir()] == [".lock"]


def test_requirements_that_are_not_there_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(NotRunError, match=r"environment for dummy could not be made: .*nowhere\.txt"):
        make(tmp_path / "nowhere.txt", "dummy", lambda _: None)


def test_a_place_that_is_a_file_is_one_line(requirements: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSTEP_ENVIRONMENTS", str(requirements))
    with pytest.raises(NotRunError, match="could not be made"):
        make(requirements, "dummy", lambda _: None)


def _make_and_report(requirements: Path, report: Callable[[tuple[str, Said]], None]) -> None:
    said: Said = []
    report((str(make(requirements, "dummy", said.append)), said))


def test_of_several_runs_at_once_one_makes_it_and_the_others_wait(requirements: Path) -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    runs = [context.Process(target=_make_and_report, args=(requirements, queue.put)) for _ in range(3)]
    for run in runs:
        run.start()
    results = [queue.get() for _ in runs]
    for run in runs:
        run.join()
    assert len({python for python, _ in results}) == 1
    assert len([said for _, said in results if any("making its environment with" in line for line in said)]) == 1
    assert dummy_version(Path(results[0][0])) == "1.0"


def test_an_unknown_framework_is_the_users_mistake() -> None:
    with pytest.raises(InputError, match="'pytorch': expected a framework, one of torch, jax, tensorflow, onnx"):
        interpreter("pytorch", lambda _: None)


def test_a_python_without_pip_and_uv_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "uv_command", list)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    create, install = environments._commands(Path("folder"), Path("dummy.txt"))
    assert create == [sys.executable, "-m", "venv", "folder"]
    assert install[:3] == ["folder/bin/python", "-m", "pip"]


def test_uv_is_told_what_pip_is_told() -> None:
    told = for_uv(
        {"PIP_FIND_LINKS": "one two", "PIP_INDEX_URL": "index", "SSL_CERT_FILE": "mine", "PIP_CERT": "theirs"}
    )
    assert told["UV_FIND_LINKS"] == "one,two"
    assert told["UV_DEFAULT_INDEX"] == "index"
    assert told["SSL_CERT_FILE"] == "mine"


@pytest.mark.parametrize(
    ("output", "cause"),
    [
        (
            "Collecting a\nERROR: first\nERROR: No matching distribution for a==9\n\n",
            "No matching distribution for a==9",
        ),
        (
            "  × No solution found:\n  ╰─▶ Because a was not found\n      you lose.\n",
            "No solution found: Because a was not found you lose.",
        ),
        (
            "Using Python 3.11\nerror: Request failed\n  Caused by: no network\n",
            "Request failed Caused by: no network",
        ),
        (
            "WARNING: Retrying (Retry(total=0)) after refused\nERROR: No matching distribution for a==9\n",
            "No matching distribution for a==9 (the package index did not answer)",
        ),
        ("something\nlast words\n", "last words"),
        ("", ""),
        ("error: " + "x" * 1000, "x" * 200 + "…" + "x" * 199),
    ],
)
def test_the_cause_is_what_the_installer_said_last_and_meant(output: str, cause: str) -> None:
    assert environments.cause(output) == cause


def test_the_environment_variable_for_the_place_is_optional(
    requirements: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LOCKSTEP_ENVIRONMENTS")
    folder = environments._folder(requirements, "dummy")
    assert folder.parent == Path(environments.__file__).parents[1] / "build" / "environments"
