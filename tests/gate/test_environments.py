"""Both sides are resolved alike, made once, and compared by what is installed. All offline, with tiny packages."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gate import environments, resolve
from gate.environments import difference, installed_in, prepare
from gate.packages import parse
from gate.results import Change, Side, Sides
from impls.environments import uv_command
from spec.exits import InputError, NotRunError
from tests.gate.wheels import offer

Prepare = Callable[..., Sides]

pytestmark = pytest.mark.skipif(not uv_command(), reason="uv is not on this machine; the gate needs it")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Environments below `tmp_path`, made of tiny packages, with no index to ask; pins and ranges are of the test."""
    monkeypatch.setenv("LOCKSTEP_ENVIRONMENTS", str(tmp_path / "environments"))
    for name in ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    wheels, root = tmp_path / "wheels", tmp_path / "root"
    wheels.mkdir()
    offer(wheels)
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    for name in ("UV_NO_INDEX", "UV_OFFLINE"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))  # what is cached elsewhere is no offer
    (root / "requirements").mkdir(parents=True)
    (root / "requirements" / "jax.txt").write_text(
        "jax==1.0\njaxlib==1.0\nml-dtypes==0.5\nnumpy==2.3\n", encoding="utf-8"
    )
    (root / "pyproject.toml").write_text(
        '[dependency-groups]\njax = ["jax>=0.5,<1.5", "numpy>=2.1,<3", "safetensors"]\n', encoding="utf-8"
    )
    monkeypatch.setattr(resolve, "ROOT", root)
    return tmp_path / "environments"


def versions(side: Side) -> dict[str, str]:
    return {name: version for name, version in side.packages.items() if name != "python"}


def said(*sides: str, **options: str | bool | Side) -> tuple[Sides, list[str]]:
    lines: list[str] = []
    return prepare(sides, progress=lines.append, **options), lines  # type: ignore[arg-type]


def test_sides_differ_in_what_was_asked_and_what_had_to_move_with_it(place: Path) -> None:
    sides, _ = said("jax==1.0", "jax==2.0")
    assert sides.framework == "jax"
    assert sides.changes == (
        Change("jax", "1.0", "2.0", asked=True),
        Change("jaxlib", "1.0", "2.0", asked=False),
    )


def test_what_the_candidate_had_to_move_is_moved_in_the_baseline_too_where_it_can(place: Path) -> None:
    sides, _ = said("jax==1.0", "jax==2.0")
    # The pin is 0.5, which the candidate excludes: neither side keeps it, since the baseline takes any.
    assert versions(sides.baseline)["ml-dtypes"] == versions(sides.candidate)["ml-dtypes"] == "0.7"
    assert versions(sides.baseline)["numpy"] == versions(sides.candidate)["numpy"] == "2.3"


def test_what_is_asked_overrides_the_range_of_the_group(place: Path) -> None:
    sides, _ = said("jax==1.0", "jax==2.0")
    assert versions(sides.candidate)["jax"] == "2.0"  # the group says <1.5


def test_several_packages_move_at_once(place: Path) -> None:
    sides, _ = said("jax==1.0 numpy==2.3", "jax==2.0,numpy==2.4")
    assert [change.package for change in sides.changes if change.asked] == ["jax", "numpy"]


def test_numpy_under_a_framework_leaves_the_framework_at_its_pin(place: Path) -> None:
    sides, _ = said("numpy==2.3", "numpy==2.4", framework="jax")
    assert sides.changes == (Change("numpy", "2.3", "2.4", asked=True),)
    assert versions(sides.candidate)["jax"] == "1.0"


def test_requirement_files_are_sides(place: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    before.write_text("jax==1.0  # why\nnumpy==2.3\n", encoding="utf-8")
    after.write_text("jax==2.0\nnumpy==2.3\n", encoding="utf-8")
    sides, _ = said(str(before), str(after))
    assert [change.package for change in sides.changes if change.asked] == ["jax"]
    assert sides.candidate.label == str(after)


def test_constraints_are_among_what_is_asked(place: Path, tmp_path: Path) -> None:
    constraints, sides = tmp_path / "constraints.txt", [tmp_path / "before.txt", tmp_path / "after.txt"]
    sides[0].write_text("jax==1.0\n", encoding="utf-8")
    sides[1].write_text("jax\n-c constraints.txt\n", encoding="utf-8")
    constraints.write_text("jax==1.0\n", encoding="utf-8")
    with pytest.raises(InputError, match="was not exercised"):
        said(*map(str, sides))
    constraints.write_text("jax==2.0\n", encoding="utf-8")
    found, _ = said(*map(str, sides))
    assert versions(found.candidate)["jax"] == "2.0"
    for name, version in (("a", "1.0"), ("b", "2.0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "constraints.txt").write_text(f"jax=={version}\n", encoding="utf-8")
        (tmp_path / name / "all.txt").write_text("-c constraints.txt\njax\n", encoding="utf-8")
    found, _ = said(str(tmp_path / "a" / "all.txt"), str(tmp_path / "b" / "all.txt"))
    assert [change.package for change in found.changes if change.asked] == ["jax"]


def test_the_second_time_nothing_is_resolved_or_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, lines = said("jax==1.0", "jax==2.0")
    assert any("resolving" in line for line in lines)
    monkeypatch.setenv("PIP_FIND_LINKS", os.environ["PIP_FIND_LINKS"])
    second, lines = said("jax==1.0", "jax==2.0")
    assert (second, lines) == (first, [])


def test_a_file_that_is_not_pinned_sees_a_new_release_and_one_that_is_needs_no_index(
    place: Path, tmp_path: Path
) -> None:
    before, after, newer = (
        tmp_path / "before.txt",
        tmp_path / "after.txt",
        tmp_path / "wheels" / "jax-2.0-py3-none-any.whl",
    )
    before.write_text("jax==1.0\n", encoding="utf-8")
    after.write_text("jax>=1\n", encoding="utf-8")
    hidden = newer.rename(tmp_path / newer.name)
    with pytest.raises(InputError, match="was not exercised"):
        said(str(before), str(after))
    hidden.rename(newer)
    sides, _ = said(str(before), str(after))
    assert (versions(sides.baseline)["jax"], versions(sides.candidate)["jax"]) == ("1.0", "2.0")
    after.write_text("jax==2.0\n", encoding="utf-8")
    said(str(before), str(after))
    assert said(str(before), str(after))[1] == []
    assert any("resolving" in line for line in said(str(before), str(after), fresh=True)[1])


def test_an_interpreter_that_exists_is_a_side_and_the_other_is_resolved_after_it(place: Path) -> None:
    first, _ = said("jax==1.0 numpy==2.4", "jax==2.0")
    sides, _ = said("jax==2.0", baseline_python=first.baseline.python)
    assert sides.baseline.python == first.baseline.python
    assert [change.package for change in sides.changes if change.asked] == ["jax"]
    assert versions(sides.candidate)["numpy"] == "2.4"  # as in the interpreter, not as pinned


def test_two_interpreters_are_compared_as_they_are(place: Path) -> None:
    made, _ = said("jax==1.0", "jax==2.0")
    sides, lines = said(baseline_python=made.baseline.python, candidate_python=made.candidate.python)
    assert [change.package for change in sides.changes] == ["jax", "jaxlib"]
    assert lines == []


def test_an_earlier_report_stands_for_the_baseline(place: Path) -> None:
    made, _ = said("jax==1.0", "jax==2.0")
    sides, _ = said("jax==2.0", baseline_side=made.baseline)
    assert sides.baseline == made.baseline
    assert [change.package for change in sides.changes if change.asked] == ["jax"]


def test_a_version_that_does_not_exist_is_one_line_and_leaves_nothing(place: Path) -> None:
    with pytest.raises((InputError, NotRunError), match=r"candidate: .*jax==9\.9") as caught:
        said("jax==1.0", "jax==9.9")
    assert "\n" not in str(caught.value)
    assert [path for path in place.iterdir() if path.is_dir()] == []


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        (
            f"error: No solution found when resolving dependencies\n  cause: Because no a==9{resolve._CONCLUSION}",
            InputError,
        ),
        ("error: No solution found\n  cause: Because no a==9\n\nhint: the network was disabled", NotRunError),
        ("error: Request failed after 3 retries\n  cause: no route", NotRunError),
        ("error: Request failed: http://127.0.0.1:80/simple\n  cause: no route", NotRunError),
    ],
)
def test_versions_that_do_not_exist_are_the_users_mistake_and_no_network_is_not(stderr: str, kind: type) -> None:
    failure = resolve._failure(parse("baseline", "a==9"), stderr)
    assert type(failure) is kind
    assert "we can conclude" not in str(failure)
    assert str(failure).partition("none: ")[2].partition(" (")[0].endswith("Because no a==9") or kind is NotRunError


@pytest.mark.parametrize("line", ["--no-such-option", "numpy==1.0 --no-such-option=1"])
def test_what_uv_does_not_understand_of_a_file_is_the_users_mistake(place: Path, tmp_path: Path, line: str) -> None:
    before, after = tmp_path / "before.txt", tmp_path / "after.txt"
    before.write_text("jax==1.0\n", encoding="utf-8")
    after.write_text(f"jax==2.0\n{line}\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"candidate: expected a requirement file, uv found in '.*after\.txt': .*:2:\d+"
    ):
        said(str(before), str(after))


def test_an_upgrade_that_was_not_exercised_is_an_error(place: Path, tmp_path: Path) -> None:
    made, _ = said("jax==1.0", "jax==2.0")
    with pytest.raises(InputError, match="was not exercised"):
        said("jax==1.0", baseline_python=made.baseline.python)
    link = tmp_path / "python"
    link.write_text(f'#!/bin/sh\nexec {made.baseline.python} "$@"\n', encoding="utf-8")
    link.chmod(0o755)
    with pytest.raises(InputError, match=r"was not exercised.*; if they differ in what no package tells, name --frame"):
        said(baseline_python=made.baseline.python, candidate_python=str(link))
    sides, _ = said(baseline_python=made.baseline.python, candidate_python=str(link), framework="jax")
    assert (sides.framework, sides.changes, sides.candidate.python) == ("jax", (), str(link))


def test_another_version_than_the_one_asked_for_is_an_error(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = said("jax==1.0", "jax==2.0")
    monkeypatch.setattr(environments, "make", lambda *_: Path(made.baseline.python))
    with pytest.raises(NotRunError, match=r"not exercised: candidate: expected jax==2\.0, found jax 1\.0"):
        said("jax==1.0", "jax==2.0")


def test_an_interpreter_without_the_framework_is_one_line(place: Path) -> None:
    made, _ = said("jax==1.0", "jax==2.0")
    for module in Path(made.baseline.python).parents[1].glob("lib/python*/site-packages/jaxlib.py"):
        module.unlink()
    with pytest.raises(
        InputError, match=r"baseline: expected an interpreter with jax, jaxlib, numpy, found none with jaxlib"
    ):
        said("jax==2.0", baseline_python=made.baseline.python)


def test_a_program_that_is_no_python_is_one_line() -> None:
    with pytest.raises(NotRunError, match="expected a Python that lists its packages, found: exit code 0"):
        installed_in("/bin/true")


@pytest.mark.parametrize("answer", ["{}", '{"packages": [], "modules": [], "python": "3"}', "[1]"])
def test_a_program_that_prints_something_else_is_one_line(tmp_path: Path, answer: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n", encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(NotRunError, match="expected a Python that lists its packages, found: exit code 0"):
        installed_in(str(python))


@pytest.mark.parametrize("program", ["/bin/ls", "/bin/cat", "/bin/false"])
def test_a_program_that_is_asked_for_as_a_python_is_the_users_mistake_in_a_short_line(program: str) -> None:
    with pytest.raises(InputError, match=f"--baseline-python: {program}: expected a Python that lists") as error:
        prepare(["jax==2.0"], baseline_python=program, progress=lambda _: None)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_without_uv_there_is_one_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "uv_command", list)
    with pytest.raises(NotRunError, match="expected uv"):
        said("jax==1.0", "jax==2.0")


def test_a_full_disk_is_one_line_and_leaves_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(subprocess, "run", full)
    with pytest.raises(NotRunError, match="No space left on device"):
        said("jax==1.0", "jax==2.0")
    assert list(place.iterdir()) == []


def test_the_running_python_says_what_is_installed() -> None:
    found = installed_in(sys.executable, ["numpy", "no_such_module"])
    assert found.modules == {"numpy"}
    assert found.packages["python"].startswith("3.")
    assert "pytest" in found.packages


def test_a_package_that_one_side_lacks_differs() -> None:
    assert difference({"a": "1", "b": "1"}, {"b": "1", "c": "2"}) == {"a": ("1", None), "c": (None, "2")}
