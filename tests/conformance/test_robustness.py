"""Whatever ends a run in the middle: results already obtained stay, the cause is named, nothing is left behind.

| what happens for real | where |
|---|---|
| a worker is killed by SIGKILL or SIGSEGV, hangs, prints on its output | below; tests/impls/test_client.py |
| it leaks to its limit | below; of Lockstep's own worker: tests/impls/test_worker.py |
| it answers a wrong shape, a wrong dtype, NaN everywhere, a truncated file, a pipe | tests/impls/test_client.py |
| the disk is full | below; at each of a report's files: tests/conformance/test_report.py |
| Ctrl-C, SIGTERM | below; of the gate: tests/gate/test_command_line.py |
| two runs at once | below; one cache: tests/spec/test_store.py; environments: tests/project/test_environments.py |
| a read-only checkout | below |
| a file of the cache is damaged by one bit | tests/spec/test_store.py |
| a journal of results is damaged by one bit | tests/spec/test_journal.py |
"""

import ctypes
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.spec.networks import SMALL

ROOT = Path(__file__).parents[2]
NAMES = ["conformance.json", "conformance.md", "conformance.xml"]

#: Long enough for a run of a few small cases on a busy machine.
TIMEOUT_S = 120

#: Of the bounding set of capabilities: without it, root too may write only where permissions say so.
_PR_CAPBSET_DROP = 24
_CAP_DAC_OVERRIDE = 1


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty folder with a spec. Its path is on the command line of every worker; in the end none of them is left."""
    (tmp_path / "small.yaml").write_text(SMALL, encoding="utf-8")
    yield tmp_path
    deadline_s = time.monotonic() + 5
    while (left := workers(tmp_path)) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []


def workers(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in process.cmdline():
                found.append(process)
        except psutil.Error:  # it has just ended
            continue
    return found


def runner(name: str, folder: Path, how: str = "well", when: str = "never", *mark: Path) -> tuple[str, str]:
    """The option that lets a worker take part which misbehaves so, at that request."""
    words = [sys.executable, "-m", "tests.impls.bad_workers", how, when, folder, *mark]
    return "--runner", f"{name}={' '.join(map(str, words))}"


def wait_for(path: Path) -> None:
    """Wait until there is something at `path`."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert time.monotonic() < deadline_s, f"{path} never came"
        time.sleep(0.05)


def start(
    folder: Path, *arguments: str, before: Callable[[], None] | None = None, root: Path = ROOT, **settings: str
) -> "subprocess.Popen[str]":
    """Start a run of the small network's forward lane on noise, with all that it writes below `folder`."""
    environment = os.environ | {"PYTHONPATH": str(root), "LOCKSTEP_CACHE": str(folder / "cache")} | settings
    command = [
        sys.executable,
        "-m",
        "conformance",
        "--spec",
        "small.yaml",
        "--frameworks",
        "none",
        "--lanes",
        "forward",
    ]
    return subprocess.Popen(
        [*command, "--inputs", "noise", "--weights", "scaled", *arguments],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        preexec_fn=before,
        start_new_session=True,
    )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, standard output, and standard error without a traceback."""
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert "Traceback (most recent call last)" not in err, err
    return process.returncode, out, err


def report(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "reports" / "conformance.json").read_text(encoding="utf-8"))
    return found


# --- Workers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("is_killed", "crashed: trace: the worker was ended by SIGKILL (out of memory, if nobody sent it)"),
        ("segfaults", "crashed: trace: the worker was ended by SIGSEGV"),
        ("leaks", " | MemoryError"),
    ],
)
def test_what_was_found_before_a_worker_failed_stays(how: str, cause: str, folder: Path) -> None:
    # A case is three traces: the fifth is in the middle of the second of three cases.
    process = start(folder, "--seeds", "3", *runner("bad", folder, how, "trace:5"), *runner("good", folder))
    code, out, _ = ended(process)
    assert code == 3
    results = report(folder)["results"]
    found = Counter((each["framework"], each["case"], each["outcome"]) for each in results)
    case = "scaled-noise-seed{}-batch2".format
    assert found == {
        ("good", case(0), "passed"): 12, ("good", case(1), "passed"): 12, ("good", case(2), "passed"): 12,
        ("bad", case(0), "passed"): 12, ("bad", case(1), "errored"): 1, ("bad", case(2), "passed"): 12,
    }  # fmt: skip
    (message,) = [each["message"] for each in results if each["outcome"] == "errored"]
    assert cause in message
    assert cause in " ".join(out.split())


# --- A full disk -----------------------------------------------------------------------------------------------------


def full_at(size_bytes: int) -> Callable[[], None]:
    """Let no file of a process grow beyond that size: its system then says what it says of a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, size_bytes))


def test_a_disk_that_is_full_when_the_report_is_written_leaves_the_old_one_and_shows_the_new(folder: Path) -> None:
    (folder / "reports").mkdir()
    for name in NAMES:
        (folder / "reports" / name).write_text("of before")
    # The tensors of a case take 8 KB, the report of four cases 40.
    process = start(folder, "--seeds", "4", *runner("good", folder), before=full_at(16 * 1024))
    code, out, err = ended(process)
    assert code == 3
    assert err.splitlines()[-1] == "error: reports: expected to write the report, found: File too large"
    assert "passed: 48 passed; report: none" in out
    assert sorted(path.name for path in (folder / "reports").iterdir()) == NAMES
    assert {(folder / "reports" / name).read_text() for name in NAMES} == {"of before"}


def test_a_disk_that_is_full_in_the_middle_of_a_run_is_one_line_with_the_file(folder: Path) -> None:
    process = start(folder, *runner("good", folder), before=full_at(4 * 1024))
    code, out, err = ended(process)
    assert (code, out) == (3, "")
    line = err.splitlines()[-1]
    assert line.startswith("error: ")
    assert line.endswith("substitutes.safetensors: expected room to write, found: File too large")
    assert not (folder / "reports").exists()


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """The folder of reports, on a small disk of its own, which has room for a report when the run begins."""
    place = folder / "reports"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a disk that is really full needs the right to mount one")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_really_full_leaves_the_old_report(folder: Path, small_disk: Path) -> None:
    for name in NAMES:
        (small_disk / name).write_text("of before")
    mark = folder / "mark"  # is there once the worker hangs
    process = start(folder, "--timeout", "3", *runner("hung", folder, "hangs", "trace", mark), *runner("good", folder))
    wait_for(mark)
    with (small_disk / "others").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    code, out, err = ended(process)
    assert code == 3
    assert err.splitlines()[-1] == "error: reports: expected to write the report, found: No space left on device"
    assert "12 passed" in out and "report: none" in out
    (small_disk / "others").unlink()
    assert {path.name: path.read_text() for path in small_disk.iterdir()} == dict.fromkeys(NAMES, "of before")


# --- Being told to end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["hello", "load", "trace"])
def test_being_told_to_end_ends_workers_and_leaves_no_report(when: str, number: signal.Signals, folder: Path) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    mark = folder / "mark"  # is there once the worker hangs
    arguments = (*runner("hung", folder, "hangs", when, mark), *runner("good", folder))
    process = start(folder, *arguments, TMPDIR=str(scratch))
    wait_for(mark)
    began_s = time.monotonic()
    os.killpg(process.pid, number)  # as a terminal does: workers have groups of their own
    code, out, err = ended(process)
    assert time.monotonic() - began_s < 15
    assert (code, out) == (3, "")
    assert err.splitlines()[-1] == "error: interrupted; no report was written"
    assert not (folder / "reports").exists()
    assert list(scratch.iterdir()) == []


# --- Two runs --------------------------------------------------------------------------------------------------------


def test_two_runs_at_once_leave_the_report_of_one_of_them(folder: Path) -> None:
    names = ("hazel", "walnut")
    for name in names:
        (folder / f"{name}.yaml").write_text(SMALL.replace("name: small", f"name: {name}"), encoding="utf-8")
    both = [start(folder, "--spec", f"{name}.yaml", *runner("good", folder)) for name in names]
    assert [ended(process)[0] for process in both] == [0, 0]
    texts = [(folder / "reports" / name).read_text(encoding="utf-8") for name in NAMES]
    assert sorted(path.name for path in (folder / "reports").iterdir()) == NAMES
    of = report(folder)["network"]["name"]
    (other,) = set(names) - {of}
    assert all(of in text and other not in text for text in texts)


def test_two_runs_at_once_share_generated_sources_and_weights(folder: Path) -> None:
    generated = str(folder / "generated")
    words = ("--frameworks", "onnx", "--locked")
    both = [
        start(folder, *words, "--report", str(folder / name), LOCKSTEP_GENERATED=generated) for name in ("one", "other")
    ]
    assert [ended(process)[0] for process in both] == [0, 0]
    found = [json.loads((folder / name / NAMES[0]).read_text(encoding="utf-8")) for name in ("one", "other")]
    one, other = (json.dumps(report["results"]) for report in found)
    assert one == other
    sources = [path.name for path in (folder / "generated").iterdir()]
    assert len(sources) == len({name.partition(".")[0] for name in sources}) == 1


# --- A read-only checkout --------------------------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of what a run needs, which nobody may write to."""
    root = tmp_path / "checkout"
    for name in ("conformance", "impls", "spec", "tests/impls", "tests/spec"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    yield root
    for path in folders:
        path.chmod(0o755)


def bound_by_permissions() -> None:
    """Be bound by permissions like any user, root or not."""
    if os.geteuid() == 0:
        ctypes.CDLL(None, use_errno=True).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0)


def require_permissions_to_bind(checkout: Path) -> None:
    done = subprocess.run(["touch", checkout / "x"], preexec_fn=bound_by_permissions, capture_output=True, check=False)
    if done.returncode == 0:
        (checkout / "x").unlink()
        pytest.skip("this user may write everywhere, and cannot be kept from it")


def files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_read_only_checkout_runs_where_cache_and_report_are_elsewhere(folder: Path, checkout: Path) -> None:
    require_permissions_to_bind(checkout)
    before = files(checkout)
    process = start(folder, *runner("good", folder), before=bound_by_permissions, root=checkout)
    code, _, err = ended(process)
    assert code == 0, err
    assert report(folder)["verdict"] == "passed"
    assert files(checkout) == before


def test_a_read_only_checkout_is_named_where_something_would_be_written_to_it(folder: Path, checkout: Path) -> None:
    require_permissions_to_bind(checkout)
    arguments = ("--frameworks", "torch", "--python", f"torch={sys.executable}")
    code, out, err = ended(start(folder, *arguments, before=bound_by_permissions, root=checkout))
    assert (code, out) == (3, "")
    said = "expected to write a generated source, found: Permission denied; LOCKSTEP_GENERATED can name another folder"
    assert err.count("\n") == 1
    assert str(checkout / "build" / "generated") in err
    assert err.endswith(f"{said}\n")
    assert not (folder / "reports").exists()


def test_a_read_only_checkout_generates_elsewhere(folder: Path, checkout: Path) -> None:
    require_permissions_to_bind(checkout)
    before = files(checkout)
    done = subprocess.run(
        [sys.executable, "-m", "impls.generate", "small.yaml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(checkout), "LOCKSTEP_GENERATED": str(folder / "generated")},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=bound_by_permissions,
    )
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "generated").rglob("small_*.py"))) == 8
    assert files(checkout) == before
