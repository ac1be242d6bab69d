"""The worker's end of the protocol: every request has one answer, and nothing else is on its standard output."""

import json
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import pytest

from impls.description import describe
from impls.frameworks import FRAMEWORKS
from impls.protocol import PROTOCOL, ErrorKind, Load, Prepare, Time, Trace, Verify, untimed_calls
from impls.runner import Runner
from impls.timing import Stopwatch
from impls.worker import TRAINING
from spec import tensors
from spec.load import load

ROOT = Path(__file__).parents[2]
HELLO = {"id": 1, "do": "hello", "protocol": PROTOCOL}
LOAD = {
    "id": 2,
    "do": "load",
    "network": "",
    "source": None,
    "weights": "",
    "device": "cpu",
    "dtype": "float32",
    "mode": "compiled",
    "lowering": "native",
    "threads": 1,
}


def converse(*requests: object, module: str = "tests.impls.fake_worker", words: tuple[str, ...] = ()) -> Any:
    """What a worker answers to requests (text is sent as it is), and its standard error."""
    lines = [request if isinstance(request, str) else json.dumps(request) for request in requests]
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        input="".join(f"{line}\n" for line in lines),
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


VERBS = (
    "hello, load, trace, prepare, time, verify, gradients, train_trace, start, train, state, initialise, predict, "
    "colour or stop"
)


def error_of(*requests: object) -> tuple[str, str]:
    """The error in the last of the answers."""
    answers, _ = converse(*requests)
    return answers[-1]["error"]["kind"], answers[-1]["error"]["message"]


def test_hello_says_what_the_worker_is() -> None:
    (answer,), _ = converse(HELLO)
    assert answer["id"] == 1
    assert answer["ok"].pop("import_s") >= 0
    assert answer["ok"] | {"environment": None} == {
        "protocol": "lockstep-worker/1",
        "framework": "fake",
        "version": "1.2.3",
        "taps": True,
        "substitutes": True,
        "trains": False,
        "devices": ["cpu"],
        "environment": None,
    }
    environment = answer["ok"]["environment"]
    assert (environment["colour"], environment["numpy"]) == ("blue", np.__version__)


def test_trace_writes_the_taps_and_says_where_they_were(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float32).reshape(1, 3, 2, 2)
    tensors.write(tmp_path / "input", {"image": x})
    tensors.write(tmp_path / "given", {"a": np.array([10], np.float32)})
    trace = {"do": "trace", "input": str(tmp_path / "input"), "taps": ["a", "b"], "output": str(tmp_path / "output")}
    answers, _ = converse(
        LOAD,
        trace | {"id": 3, "substitutes": None},
        trace | {"id": 4, "substitutes": str(tmp_path / "given"), "output": str(tmp_path / "substituted")},
    )
    assert [answer["id"] for answer in answers] == [2, 3, 4]
    assert answers[0]["ok"].keys() == {"build_s"}
    assert answers[1]["ok"]["device"] == "cpu"
    assert answers[1]["ok"]["peak_bytes"] > 2**20
    for name, added in (("output", 1), ("substituted", 11)):
        recorded = tensors.read(tmp_path / name)
        assert recorded.keys() == {"a", "b"}
        assert np.array_equal(recorded["a"], x + added)


def test_noise_of_the_framework_goes_to_stderr() -> None:
    answers, stderr = converse(LOAD)
    assert [answer["id"] for answer in answers] == [2]
    for words in ("print while it starts", "print of Python", "write to descriptor 1", "print of a child"):
        assert words in stderr


def test_a_process_that_the_framework_starts_reads_no_requests() -> None:
    answers, _ = converse(LOAD, HELLO, HELLO)
    assert ["ok" in answer for answer in answers] == [True, True, True]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("", "expected a JSON object a line: "),
        ("not JSON", "expected a JSON object a line: "),
        ("[" * 100_000, "expected a JSON object a line"),
        ("[1]", "expected a JSON object a line, found '[1]'"),
        ('"word"', "expected a JSON object a line, found "),
        ({"id": 5}, "expected a JSON object with the key 'do'"),
        (
            {"id": 5, "do": "dance"},
            f"expected {VERBS}, found 'dance'",
        ),
        (
            {"id": 5, "do": None},
            f"expected {VERBS}, found None",
        ),
        ({"id": 5, "do": "load", "network": ""}, "load: expected the keys source, weights, device, dtype, mode"),
        ({"id": 5, "do": "trace"}, "trace: expected the keys input, substitutes, taps, output, found none"),
    ],
)
def test_a_bad_request_is_refused_and_the_next_one_answered(request_: object, message: str) -> None:
    answers, _ = converse(request_, HELLO)
    assert answers[0]["id"] == (request_["id"] if isinstance(request_, dict) else None)
    assert answers[0]["error"]["kind"] == "bad_request"
    assert message in answers[0]["error"]["message"]
    assert "ok" in answers[1]


@pytest.mark.parametrize("protocol", ["lockstep-worker/2", None, 1])
def test_another_protocol_is_refused(protocol: object) -> None:
    kind, message = error_of(HELLO | {"protocol": protocol})
    assert (kind, message) == ("wrong_protocol", f"expected protocol lockstep-worker/1, found {protocol!r}")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"device": "cuda"}, ("missing_device", "no cuda device for fake; found cpu")),
        ({"mode": "unknown"}, ("unsupported", "fake has no mode 'unknown'")),
        ({"mode": "broken"}, ("failed", r"KeyError: 'first line\nsecond line'")),
        ({"mode": "lacking"}, ("unsupported", "NotImplementedError: no kernel for 'BFloat16'")),
        ({"mode": "full"}, ("out_of_memory", "no room")),
        pytest.param(
            {"mode": "leaking"},
            ("out_of_memory", ""),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process"),
        ),
        (
            {"mode": "full_in_torch"},
            (
                "out_of_memory",
                "RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",
            ),
        ),
        ({"mode": "full_in_words"}, ("out_of_memory", "RuntimeError: RESOURCE_EXHAUSTED: while allocating 1 TiB")),
    ],
)
def test_what_goes_wrong_in_a_runner_has_its_kind(changes: dict[str, str], error: tuple[str, str]) -> None:
    assert error_of(LOAD | changes) == error


def test_a_missing_file_is_an_answer(tmp_path: Path) -> None:
    trace = {"id": 3, "do": "trace", "input": str(tmp_path / "none"), "substitutes": None, "taps": [], "output": ""}
    kind, message = error_of(LOAD, trace)
    assert kind == "failed"
    assert "No such file or directory" in message


def test_stop_and_the_end_of_requests_end_the_worker() -> None:
    assert converse({"do": "stop"}, HELLO)[0] == []
    assert converse()[0] == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_is_named_with_its_interpreter(framework: str) -> None:
    answers, _ = converse(HELLO, HELLO, module="impls.worker", words=(framework,))
    assert len(answers) == 2
    for answer in answers:
        assert answer["error"]["kind"] == "missing_framework"
        assert answer["error"]["message"].startswith(f"{framework} cannot be imported by {sys.executable}: No module")


def test_time_gives_one_duration_a_call_and_verify_compares_what_was_timed(tmp_path: Path) -> None:
    x = np.ones((1, 3, 2, 2), np.float32)
    tensors.write(tmp_path / "input", {"image": x})
    tensors.write(tmp_path / "right", {"expected": (x + 1).astype(np.float64)})
    tensors.write(tmp_path / "wrong", {"expected": (x + 3).astype(np.float64)})
    answers, _ = converse(
        LOAD,
        {"id": 3, "do": "prepare", "workload": "forward", "input": str(tmp_path / "input")},
        {"id": 4, "do": "time", "min_s": 60, "max_calls": 7},
        {"id": 5, "do": "time", "min_s": 0.01, "max_calls": 10**6},
        {"id": 6, "do": "verify", "expected": str(tmp_path / "right")},
        {"id": 7, "do": "verify", "expected": str(tmp_path / "wrong")},
    )
    prepared, few, many, right, wrong = (answer["ok"] for answer in answers[1:])
    assert prepared["first_call_s"] > 0
    assert len(few["durations_s"]) == 7
    assert sum(many["durations_s"]) >= 0.01
    assert all(duration > 0 for duration in many["durations_s"])
    assert few["cpus"]
    assert right["relative_rms"] == 0
    assert wrong["relative_rms"] == pytest.approx(0.5)


@pytest.mark.parametrize(("untimed", "calls"), [(0, 5), (1, 6)])
def test_calls_before_those_that_are_timed_are_as_many_as_asked_for(untimed: int, calls: int) -> None:
    done: list[None] = []
    stopwatch = Stopwatch(cast(Runner, None))
    stopwatch.step = lambda: done.append(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("impls.timing._memory", lambda _: {})
        assert len(stopwatch.time(Time(min_s=60, max_calls=5, untimed=untimed))["durations_s"]) == 5
    assert len(done) == calls


def test_long_calls_need_none_before_them() -> None:
    assert (untimed_calls(0.4), untimed_calls(0.6)) == (1, 0)


def test_time_before_prepare_is_refused() -> None:
    assert error_of(LOAD, {"id": 3, "do": "time", "min_s": 1, "max_calls": 1})[0] == "bad_request"


def test_examples_of_the_readme_are_requests_and_answers_as_they_are() -> None:
    text = (ROOT / "impls" / "README.md").read_text(encoding="utf-8")
    examples = [json.loads(example) for example in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    requests = {example["do"]: example for example in examples if "do" in example}
    kinds_of = {"load": Load, "trace": Trace, "prepare": Prepare, "time": Time, "verify": Verify}
    kinds_of |= {do: kind for do, (kind, _) in TRAINING.items()}
    assert requests.keys() == {"hello", "stop", *kinds_of}
    for do, kind in kinds_of.items():
        assert requests[do].keys() == {"id", "do"} | {field.name for field in fields(kind)}
    (network,) = (example for example in examples if "graph" in example)
    expected: dict[str, Any] = describe(load("alexnet_narrow"))
    assert expected["graph"][: len(network["graph"])] == network["graph"]
    assert {key: value for key, value in expected.items() if key != "graph"} == {
        key: value for key, value in network.items() if key != "graph"
    }
    kinds = set(re.findall(r"^\| `(\w+)` \| [^|]+ \| (?:asked on|ended)", text, re.MULTILINE))
    assert kinds == set(get_args(ErrorKind))
    operators = {
        word
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", text, re.MULTILINE)
        for word in re.findall(r"\w+", row)
    }
    schema = json.loads((ROOT / "spec" / "network.schema.json").read_text(encoding="utf-8"))
    assert set(schema["properties"]["graph"]["items"]["discriminator"]["mapping"]) <= operators
