"""Whatever a worker does wrong has one cause, ends it, and is nobody else's trouble."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from conformance.participants import Entrant, Files, Settings
from conformance.results import Case, Check, Column, Outcome
from conformance.suite import run
from impls.client import MAX_ANSWER, ROOT, STDERR_CHARACTERS, STDERR_LINES, Worker, WorkerError, framework_command
from impls.frameworks import Variant
from impls.protocol import Trace
from spec.network import Network
from spec.store import Store
from tests.spec.networks import small

#: Long enough for a worker to start on a busy machine.
TIMEOUT_S = 20.0
SHORT_S = 1.5


@pytest.fixture
def token(tmp_path: Path) -> Iterator[str]:
    """A word on the command line of every process of a test; when the test is over, none is left."""
    yield str(tmp_path)
    deadline_s = time.monotonic() + 2
    while (left := processes(str(tmp_path))) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert left == []


def processes(token: str) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if token in process.cmdline():
                found.append(str(process))
        except psutil.Error:  # it has just ended
            continue
    return found


def command(how: str, when: str, token: str, *mark: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.impls.bad_workers", how, when, token, *mark)


def error_of(how: str, token: str, timeout_s: float = TIMEOUT_S) -> WorkerError:
    """What a worker's wrong answer to `hello` is."""
    with Worker(how, command(how, "hello", token), timeout_s) as worker, pytest.raises(WorkerError) as caught:
        worker.hello()
    return caught.value


@pytest.mark.parametrize(
    ("how", "kind", "cause"),
    [
        ("ends", "crashed", "ended with exit code 7"),
        ("segfaults", "crashed", "was ended by SIGSEGV"),
        ("is_killed", "crashed", "was ended by SIGKILL (out of memory, if nobody sent it)"),
        pytest.param(
            "real_time_signal",
            "crashed",
            "was ended by signal 37",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux has real-time signals"),
        ),
        ("half_an_answer", "crashed", "ended with exit code 4"),
        ("closes_stdout", "crashed", "closed its standard output"),
        ("leaves_a_child", "crashed", "ended with exit code 7"),
        ("garbage", "nonsense", "expected the JSON answer 1, found 'Hello, world!'"),
        ("json_but_no_answer", "nonsense", "expected the JSON answer 1, found '[1, 2, 3]'"),
        ("nested", "nonsense", "expected the JSON answer 1, found '[[["),
        ("wrong_id", "nonsense", "expected the JSON answer 1, found"),
        ("incomplete_hello", "nonsense", "expected 'framework', 'version', 'substitutes' (a boolean)"),
        ("mistyped_hello", "nonsense", "expected 'framework', 'version', 'substitutes' (a boolean)"),
        ("huge_line", "nonsense", f"found one of over {MAX_ANSWER} characters"),
        ("endless_line", "nonsense", f"found one of over {MAX_ANSWER} characters"),
        ("wrong_protocol", "wrong_protocol", "expected protocol lockstep-worker/1, found 'lockstep-worker/2'"),
        ("refuses_protocol", "wrong_protocol", "expected lockstep-worker/2, found lockstep-worker/1"),
        ("missing_framework", "missing_framework", "No module named 'caffe'"),
        ("out_of_memory", "out_of_memory", "cannot allocate 9 TiB"),
    ],
)
def test_each_way_to_fail_has_its_cause(how: str, kind: str, cause: str, token: str) -> None:
    began_s = time.monotonic()
    error = error_of(how, token)
    assert (error.kind, cause in str(error)) == (kind, True), error
    assert time.monotonic() - began_s < 10


def test_a_worker_that_hangs_is_ended_when_its_time_is_over(token: str) -> None:
    began_s = time.monotonic()
    error = error_of("hangs", token, SHORT_S)
    assert (error.kind, str(error)) == ("hung", "hello: no answer within 1.5 s")
    assert error.stderr == ("thinking",)
    assert SHORT_S <= time.monotonic() - began_s < SHORT_S + 3


def test_a_worker_that_does_not_read_cannot_block_the_suite(token: str) -> None:
    request = Trace(input="", substitutes=None, taps=["a" * 64] * 4096, output="")
    with Worker("deaf", command("reads_nothing_more", "hello", token), SHORT_S) as worker:
        worker.timeout_s = TIMEOUT_S
        worker.hello()
        worker.timeout_s = SHORT_S
        with pytest.raises(WorkerError, match=r"trace: no answer within 1\.5 s"):
            worker.trace(request)


def test_last_lines_of_stderr_come_with_the_error(token: str) -> None:
    assert error_of("ends", token).stderr == ("about to end",)
    error = error_of("noisy_end", token)
    assert error.stderr[-1] == "the last line"
    assert len(error.stderr) == STDERR_LINES
    assert all(len(line) <= STDERR_CHARACTERS for line in error.stderr)


def test_a_worker_that_prints_much_to_stderr_may_still_answer(token: str) -> None:
    with Worker("noisy", command("noisy", "hello", token), TIMEOUT_S) as worker:
        assert worker.hello().framework == "example"


def test_a_refusal_keeps_the_worker_and_brings_its_stderr(token: str) -> None:
    with Worker("fails", command("fails", "hello", token), TIMEOUT_S) as worker:
        for _ in range(2):
            with pytest.raises(WorkerError, match="this layer is too wide") as caught:
                worker.hello()
            assert caught.value.stderr[-1:] == ("the reason why",)
            assert worker.alive


def test_out_of_memory_ends_the_worker(token: str) -> None:
    with Worker("full", command("out_of_memory", "hello", token), TIMEOUT_S) as worker:
        with pytest.raises(WorkerError, match="9 TiB"):
            worker.hello()
        assert not worker.alive


def test_a_worker_that_ended_is_started_again(token: str, tmp_path: Path) -> None:
    with Worker("once", command("ends", "hello", token, str(tmp_path / "mark")), TIMEOUT_S) as worker:
        with pytest.raises(WorkerError, match="exit code 7"):
            worker.hello()
        assert worker.hello().devices == ("cpu",)


def test_a_second_answer_is_not_taken_for_the_next_one(token: str) -> None:
    with Worker("two", command("two_answers", "hello", token), TIMEOUT_S) as worker:
        worker.hello()
        with pytest.raises(WorkerError, match="expected the JSON answer 2") as caught:
            worker.hello()
        assert caught.value.kind == "nonsense"


def test_what_a_worker_says_can_stand_in_any_report(token: str) -> None:
    message = str(error_of("unprintable", token))
    assert message == r"hello: red \x1b[31m nul \x00 half \ud800 newline end"
    assert message.isprintable()


@pytest.mark.parametrize("words", [("/no/such/program",), (str(Path(__file__).parent),), (__file__,)])
def test_a_command_that_cannot_be_started_is_an_error(words: tuple[str, ...]) -> None:
    with Worker("none", words, TIMEOUT_S) as worker, pytest.raises(WorkerError, match="cannot be started") as caught:
        worker.hello()
    assert caught.value.kind == "not_started"


def test_a_framework_that_is_not_there_is_named() -> None:
    command = framework_command("caffe", sys.executable)
    with Worker("caffe", command, TIMEOUT_S) as worker, pytest.raises(WorkerError, match="caffe cannot be imported by"):
        worker.hello()


def test_a_runner_of_the_user_keeps_its_own_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (tmp_path / "neighbour.py").write_text("")
    (tmp_path / "runner.py").write_text("import neighbour\nimport spec")
    with (
        Worker("mine", [sys.executable, str(tmp_path / "runner.py")], TIMEOUT_S) as worker,
        pytest.raises(WorkerError) as caught,
    ):
        worker.hello()
    assert caught.value.stderr[-1] == "ModuleNotFoundError: No module named 'spec'"


# The whole suite, with one worker that is right beside one that is not.


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Files]:
    store, network = Store(tmp_path_factory.mktemp("cache")), small()
    return [
        Files(
            Case("scaled", "noise", seed, 2),
            store.weights_file(network, "scaled", seed),
            store.input_file(network, "noise", seed, 2),
        )
        for seed in (0, 1)
    ]


def suite_run(how: str, when: str, token: str, cases: list[Files], *mark: str, timeout_s: float = TIMEOUT_S) -> Column:
    """The column of a bad worker, after a look at the right one's."""
    network: Network = small()
    bad, good = run(
        network,
        [
            Entrant(Variant("bad", "cpu", "float32", "runner", "native"), command(how, when, token, *mark), None),
            Entrant(Variant("good", "cpu", "float32", "runner", "native"), command("well", "never", token), None),
        ],
        cases,
        Settings(threads=1, timeout_s=timeout_s, progress=lambda _: None),
        lanes=("forward",),
    )
    assert [result for result in good.results if result.outcome is not Outcome.PASSED] == []
    assert len(good.results) == len(cases) * (2 * len(network.layers) + 2)
    return bad


@pytest.mark.parametrize(
    ("how", "when", "cause"),
    [
        ("ends", "hello", "crashed: hello: the worker ended with exit code 7; last lines of stderr: about to end"),
        ("segfaults", "load", "crashed: load: the worker was ended by SIGSEGV"),
        ("is_killed", "trace", "crashed: trace: the worker was ended by SIGKILL (out of memory, if nobody sent it)"),
        ("garbage", "trace", "found 'Hello, world!'"),
        ("wrong_protocol", "hello", "wrong_protocol: expected protocol lockstep-worker/1, found 'lockstep-worker/2'"),
        ("missing_framework", "hello", "missing_framework: hello: No module named 'caffe'"),
        ("out_of_memory", "trace", "out_of_memory: trace: cannot allocate 9 TiB; last lines of stderr: allocator: no"),
        ("unprintable", "trace", r"failed: trace: red \x1b[31m nul \x00 half \ud800 newline end"),
        ("another_device", "trace", "wrong_device: expected tensors on cpu, found them on abacus"),
        ("no_file", "trace", "nonsense: trace: "),
        ("truncated_file", "trace", "nonsense: trace: "),
        ("pipe_for_a_file", "trace", "expected a regular file, found none"),
        ("folder_for_a_file", "trace", "nonsense: trace: "),
        pytest.param(
            "leaks",
            "trace",
            " | MemoryError",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process"),
        ),
    ],
)
def test_suite_says_errored_and_why(how: str, when: str, cause: str, token: str, cases: list[Files]) -> None:
    results = suite_run(how, when, token, cases).results
    assert [(result.check, result.outcome) for result in results] == [(Check.RUN, Outcome.ERRORED)] * 2
    assert all(cause in result.message for result in results), results[0].message


def test_suite_says_errored_where_a_worker_hangs(token: str, cases: list[Files]) -> None:
    results = suite_run("hangs", "load", token, cases[:1], timeout_s=5.0).results
    assert [result.message for result in results] == [
        "hung: load: no answer within 5 s; last lines of stderr: thinking"
    ]


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("wrong_shape", "expected shape [2, 6, 4, 3], found [2, 6, 3, 3]"),
        ("wrong_dtype", "expected float32, found float64"),
        ("missing_tap", "missing tap: expected a tensor of that name in the trace, found none"),
        ("not_a_number", "nan, expected"),
        ("one_infinity", "[1, 2, 3, 1]"),
    ],
)
def test_suite_says_failed_at_the_tap_that_is_wrong(how: str, cause: str, token: str, cases: list[Files]) -> None:
    results = suite_run(how, "trace", token, cases[:1]).results
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    assert [(result.tap, result.check) for result in failed] == [("pool1", Check.LOCAL), ("pool1", Check.END_TO_END)]
    assert all(cause in result.message for result in failed), failed[0].message
    assert all(result.outcome is Outcome.PASSED for result in results if result not in failed)


def test_suite_says_failed_everywhere_where_nothing_is_a_number(token: str, cases: list[Files]) -> None:
    results = suite_run("nan_everywhere", "trace", token, cases[:1]).results
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert all("nan, expected" in result.message for result in results if result.check is not Check.PRECISION)


def test_a_worker_that_is_killed_has_its_error_at_once_and_is_not_started_again(token: str) -> None:
    with Worker("hangs", command("hangs", "hello", token), TIMEOUT_S) as worker:
        killer = threading.Timer(1.0, worker.kill)
        killer.start()
        began_s = time.monotonic()
        with pytest.raises(WorkerError, match=r"hello: the worker was ended by SIGKILL"):
            worker.hello()
        assert time.monotonic() - began_s < 5
        with pytest.raises(WorkerError, match="was killed, and is not started again"):
            worker.hello()


@pytest.mark.parametrize("how", ["ends", "hangs", "garbage", "truncated_file"])
def test_suite_starts_a_worker_again_for_the_next_case(
    how: str, token: str, tmp_path: Path, cases: list[Files]
) -> None:
    results = suite_run(how, "trace", token, cases, str(tmp_path / "mark"), timeout_s=5.0).results
    outcomes = {
        case: {result.outcome for result in results if result.case == case}
        for case in map(str, [cases[0].case, cases[1].case])
    }
    assert list(outcomes.values()) == [{Outcome.ERRORED}, {Outcome.PASSED}]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for processes in /proc")
def test_a_paused_worker_ends_when_the_suite_is_killed() -> None:
    program = (
        "import sys, time; from impls.client import Worker\n"
        "worker = Worker('fake', [sys.executable, '-m', 'tests.impls.fake_worker'], 60)\n"
        "worker.hello(); worker.pause(); print(worker.pid, flush=True); time.sleep(60)\n"
    )
    suite = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert suite.stdout is not None
    worker = psutil.Process(int(suite.stdout.readline()))
    deadline_s = time.monotonic() + TIMEOUT_S
    while worker.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert worker.status() == psutil.STATUS_STOPPED
    suite.kill()
    suite.communicate()
    assert psutil.wait_procs([worker], timeout=10)[1] == []


def test_a_resumed_worker_answers() -> None:
    with Worker("fake", [sys.executable, "-m", "tests.impls.fake_worker"], TIMEOUT_S) as worker:
        before = worker.hello()
        worker.pause()
        worker.resume()
        assert worker.hello() == before
        worker.pause()  # and one that is paused can be stopped, which leaving this block does
