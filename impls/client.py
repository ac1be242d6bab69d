"""The suite's end of a worker: starts the process, asks, and turns whatever goes wrong into one cause."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from impls.protocol import (
    PROTOCOL,
    Colour,
    Gradients,
    Initialise,
    Load,
    Predict,
    Prepare,
    Start,
    State,
    Time,
    Trace,
    Train,
    TrainTrace,
    Verify,
)
from spec.exits import one_line

ROOT = Path(__file__).parents[1]
#: How much of what a worker wrote to standard error is kept.
STDERR_LINES = 12
STDERR_CHARACTERS = 400
#: The longest answer, in characters: more than any worker has to say.
MAX_ANSWER = 1024 * 1024
#: How long a worker may take to end by itself once it is asked to, or has closed its output.
GRACE_S = 3.0
#: How often the suite looks whether a worker that does not answer is still there.
LOOK_S = 0.5
#: How long what it wrote to standard error before its answer may take to arrive after it.
SETTLE_S = 0.05


class WorkerError(Exception):
    """A worker crashed, hung, refused or answered nonsense: one printable line. `stderr` holds its last lines."""

    def __init__(self, kind: str, message: str, stderr: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.kind = kind
        self.stderr = tuple(stderr)


@dataclass(frozen=True)
class Hello:
    """What a worker says of itself."""

    framework: str
    version: str
    substitutes: bool
    """Whether it can replace what operators read; without that no check is layer-local."""
    devices: tuple[str, ...]
    environment: dict[str, str]
    taps: bool = True
    """Whether it records what operators give; else its output alone is compared."""
    trains: bool = False
    """Whether it answers the requests of training."""
    import_s: float | None = None
    """How long it took to import the framework, where the worker tells."""


@dataclass(frozen=True)
class Traced:
    """What a worker says of one run; the tensors are in the file that was asked for."""

    device: str
    """Where the recorded tensors were."""
    peak_bytes: int | None
    """The most memory that the process held so far, where it says so."""


@dataclass(frozen=True)
class Prepared:
    """What a worker says of the first call of a workload."""

    first_call_s: float
    """With everything that is compiled in it."""
    overhead_s: float | None = None
    """What the worker's own stopwatch adds to each timed call, where it tells."""


@dataclass(frozen=True)
class Timed:
    """What a worker says of a chunk of timed calls."""

    durations_s: tuple[float, ...]
    busy_threads: float
    """Processor time over time: how many threads were busy on average."""
    cpus: tuple[int, ...]
    """The processors that it was allowed to use."""
    peak_bytes: int | None
    device_peak_bytes: int | None


def framework_command(framework: str, python: Path | str) -> list[str]:
    """The command of the worker that comes with Lockstep, in the environment of `python`."""
    return [str(python), "-m", "impls.worker", framework]


class Worker:
    """One process behind the protocol; a context manager that leaves no process behind."""

    def __init__(
        self, name: str, command: Sequence[str], timeout_s: float, settings: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = list(command)
        self.timeout_s = timeout_s
        self.settings = dict(settings or {})
        """Environment variables of the process, beside the user's own."""
        self.loaded: Load | None = None
        """What was last made ready to run, if anything."""
        self._count = 0
        self._killed = False
        self._starting = threading.Lock()
        """Held while a process is started: one that is killed then has either none yet, or one to kill."""
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._stderr_reader: threading.Thread | None = None

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process's number; the worker must have been started."""
        if self._process is None:
            raise WorkerError("not_started", f"{self.name} was not started")
        return self._process.pid

    def start(self) -> None:
        """Start the process, if it does not run; raises WorkerError."""
        if self.alive:
            return
        with self._starting:
            if self._killed:
                raise WorkerError("not_started", f"{self.name} was killed, and is not started again")
            self.stop()  # one that ended by itself between two requests may have left others
            self.loaded = None
            self._answers = queue.Queue()
            self._stderr = deque(maxlen=STDERR_LINES)
            try:
                self._process = subprocess.Popen(
                    self.command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    errors="replace",
                    env=_environment(self.command) | self.settings,
                    process_group=0,  # if we are killed, the system ends a paused group, but no session of its own
                )
            except OSError as error:
                raise WorkerError("not_started", f"{self.command[0]} cannot be started: {error.strerror}") from None
        _thread(_pump_answers, self._process.stdout, self._answers)
        self._stderr_reader = _thread(_pump_stderr, self._process.stderr, self._stderr)

    def hello(self) -> Hello:
        """Start the worker and learn what it is; raises WorkerError."""
        answer = self._ask({"do": "hello", "protocol": PROTOCOL})
        if answer.get("protocol") != PROTOCOL:
            raise self._error("wrong_protocol", f"expected protocol {PROTOCOL}, found {answer.get('protocol')!r:.80}")
        match answer:
            case {
                "framework": str() as framework,
                "version": str() as version,
                "substitutes": bool() as substitutes,
                "devices": [*devices],
                **rest,
            } if isinstance(environment := rest.get("environment", {}), dict):
                return Hello(
                    framework=_printable(framework),
                    version=_printable(version),
                    substitutes=substitutes,
                    devices=tuple(map(_printable, devices)),
                    environment={_printable(key): _printable(value) for key, value in environment.items()},
                    taps=rest.get("taps") is not False,
                    trains=rest.get("trains") is True,
                    import_s=self._number(answer, "import_s") if "import_s" in answer else None,
                )
            case _:
                keys = "'framework', 'version', 'substitutes' (a boolean), 'devices' (a list) and 'environment'"
                raise self._error("nonsense", f"hello: expected {keys} of {PROTOCOL}, found {answer!s:.200}")

    def load(self, request: Load) -> float | None:
        """Have a network made ready; how long that took in seconds, where the worker tells. Raises WorkerError."""
        answer = self._ask({"do": "load", **asdict(request)})
        self.loaded = request
        return self._number(answer, "build_s") if "build_s" in answer else None

    def trace(self, request: Trace) -> Traced:
        """Have the network run once; raises WorkerError."""
        answer = self._ask({"do": "trace", **asdict(request)})
        return Traced(device=_printable(answer.get("device", "unknown")), peak_bytes=_bytes(answer.get("peak_bytes")))

    def gradients(self, request: Gradients) -> float:
        """Have the gradients of every operator written; the loss, NaN where it is not finite. Raises WorkerError."""
        answer = self._ask({"do": "gradients", **asdict(request)})
        return self._loss(answer.get("loss"))

    def train_trace(self, request: TrainTrace) -> Traced:
        """Have the network run once while training; raises WorkerError."""
        answer = self._ask({"do": "train_trace", **asdict(request)})
        return Traced(device=_printable(answer.get("device", "unknown")), peak_bytes=_bytes(answer.get("peak_bytes")))

    def begin(self, request: Start) -> None:
        """Have training begin from the loaded weights; raises WorkerError."""
        self._ask({"do": "start", **asdict(request)})

    def train(self, request: Train) -> list[float]:
        """Have some training steps done; the loss of each, NaN where it is not finite. Raises WorkerError."""
        answer = self._ask({"do": "train", **asdict(request)})
        match answer.get("losses"):
            case [*losses]:
                return [self._loss(loss) for loss in losses]
            case other:
                raise self._error("nonsense", f"train: expected a list of losses, found {other!s:.80}")

    def write(self, request: State | Initialise | Predict | Colour) -> None:
        """Have what the request asks for written to its file; raises WorkerError."""
        self._ask({"do": type(request).__name__.lower(), **asdict(request)})

    def _loss(self, value: object) -> float:
        if value is None:
            return float("nan")
        return self._number({"loss": value}, "loss")

    def prepare(self, request: Prepare) -> Prepared:
        """Have a workload made ready and run once; raises WorkerError."""
        answer = self._ask({"do": "prepare", **asdict(request)})
        return Prepared(
            first_call_s=self._number(answer, "first_call_s"),
            overhead_s=self._number(answer, "overhead_s") if "overhead_s" in answer else None,
        )

    def time(self, request: Time) -> Timed:
        """Have the prepared workload run again and again; raises WorkerError."""
        answer = self._ask({"do": "time", **asdict(request)})
        match answer.get("durations_s"):
            case [*durations] if durations and all(isinstance(duration, float) for duration in durations):
                return Timed(
                    durations_s=tuple(durations),
                    busy_threads=self._number(answer, "busy_threads"),
                    cpus=tuple(answer.get("cpus", ())),
                    peak_bytes=_bytes(answer.get("peak_bytes")),
                    device_peak_bytes=_bytes(answer.get("device_peak_bytes")),
                )
            case other:
                raise self._error("nonsense", f"time: expected a list of durations, found {other!s:.80}")

    def verify(self, request: Verify) -> float:
        """The relative RMS error of what was last timed, infinite where it is not finite; raises WorkerError."""
        answer = self._ask({"do": "verify", **asdict(request)})
        return float("inf") if answer.get("relative_rms") is None else self._number(answer, "relative_rms")

    def _number(self, answer: dict[str, Any], key: str) -> float:
        value = answer.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self._error("nonsense", f"expected a number {key!r}, found {value!s:.80}")
        return float(value)

    def pause(self) -> None:
        """Keep the process, and all that it started, from computing until `resume`: idle threads may spin."""
        if self._process is not None:
            _signal_group(self._process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on; one that is not paused does not notice."""
        if self._process is not None:
            _signal_group(self._process, signal.SIGCONT)

    def kill(self) -> None:
        """End the process for good, and at once: a thread that waits for its answer has its error now."""
        with self._starting:
            self._killed = True
            if self._process is not None:
                _signal_group(self._process, signal.SIGKILL)

    def stop(self) -> None:
        """End the process and all that it started."""
        self.resume()  # a paused one could not end by itself
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):  # what it did not read is lost, as is the process
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        _signal_group(process, signal.SIGKILL)
        process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        self._count += 1
        deadline_s = time.monotonic() + self.timeout_s
        line = json.dumps({"id": self._count, **request}) + "\n"
        # A worker that does not read lets the pipe fill up, so the writer must not be the one who watches the clock.
        writer = _thread(_write, process.stdin, line)
        writer.join(self.timeout_s)
        return self._answer(request["do"], max(0.0, deadline_s - time.monotonic()))

    def _answer(self, asked: str, within_s: float) -> dict[str, Any]:
        try:
            line = self._line(within_s)
        except queue.Empty:
            raise self._error("hung", f"{asked}: no answer within {self.timeout_s:g} s") from None
        if line is None:
            raise self._crashed(asked)
        if len(line) > MAX_ANSWER:
            raise self._error(
                "nonsense", f"{asked}: expected a line of JSON, found one of over {MAX_ANSWER} characters"
            )
        try:
            answer = json.loads(line)
        except (ValueError, RecursionError):
            answer = None
        match answer:
            case {"id": self._count, "ok": dict() as content}:
                return content
            case {"id": self._count, "error": {"kind": str() as kind, "message": str() as message}}:
                raise self._error(kind, f"{asked}: {message}", keep=kind not in ("out_of_memory", "wrong_protocol"))
            case _:
                raise self._error(
                    "nonsense", f"{asked}: expected the JSON answer {self._count}, found {line.strip()[:120]!r}"
                )

    def _line(self, within_s: float) -> str | None:
        """The next line, or nothing where there will be none; raises queue.Empty when time is over.

        A process that the worker started may hold its output open after the worker has ended.
        """
        deadline_s = time.monotonic() + within_s
        while True:
            ended = not self.alive
            try:
                return self._answers.get(timeout=max(0.0, min(deadline_s - time.monotonic(), LOOK_S)))
            except queue.Empty:
                if ended:
                    return None
                if time.monotonic() >= deadline_s:
                    raise

    def _crashed(self, asked: str) -> WorkerError:
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        code = process.returncode
        if code is None:
            cause = "closed its standard output"
        elif code < 0:
            cause = f"was ended by {_signal_name(-code)}"
            if code == -signal.SIGKILL:
                cause += " (out of memory, if nobody sent it)"
        else:
            cause = f"ended with exit code {code}"
        return self._error("crashed", f"{asked}: the worker {cause}")

    def _error(self, kind: str, message: str, keep: bool = False) -> WorkerError:
        """The error, with the last lines of standard error; unless it is to be kept, the process ends with it."""
        if not keep and self._process is not None:
            _signal_group(self._process, signal.SIGKILL)
            if self._stderr_reader is not None:
                self._stderr_reader.join(GRACE_S)
            self.stop()
        else:
            time.sleep(SETTLE_S)
        lines = tuple(_printable(line, STDERR_CHARACTERS) for line in list(self._stderr) if line.strip())
        return WorkerError(_printable(kind, 80), _printable(message, 2000), lines)


def _environment(command: Sequence[str]) -> dict[str, str]:
    """The user's environment; a worker that comes with Lockstep finds this checkout too, and not the current folder."""
    environment = dict(os.environ)
    match command:
        case [_, "-m", module, *_] if (ROOT / module.partition(".")[0]).is_dir():
            paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
            environment |= {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
    return environment


def _printable(text: object, length: int = 1000) -> str:
    """What a worker said, as one line that can stand in any report."""
    return one_line(str(text)[: 2 * length])[:length]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _thread(target: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=arguments, daemon=True)
    thread.start()
    return thread


def _write(stream: IO[str], line: str) -> None:
    with contextlib.suppress(ValueError, OSError):  # it ended: its closed output says so
        stream.write(line)
        stream.flush()


def _pump_answers(stream: IO[str], answers: "queue.Queue[str | None]") -> None:
    """Put every whole line, none longer than an answer may be, and None at the end."""
    with contextlib.suppress(ValueError, OSError), stream:
        while (line := stream.readline(MAX_ANSWER + 1)).endswith("\n") or len(line) > MAX_ANSWER:
            answers.put(line)
            if len(line) > MAX_ANSWER:
                break
    answers.put(None)


def _pump_stderr(stream: IO[str], lines: deque[str]) -> None:
    with contextlib.suppress(ValueError, OSError), stream:
        while line := stream.readline(STDERR_CHARACTERS):
            lines.append(line)


def _signal_group(process: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _bytes(value: object) -> int | None:
    """A number of bytes that a worker told, or nothing where it told none that can be one."""
    return value if type(value) is int and 0 <= value < 2**63 else None
