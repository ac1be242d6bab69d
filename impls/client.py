"""The suite's end of a worker: starts the process, asks, and turns whatever goes wrong into one cause."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from impls.protocol import PROTOCOL, Load, Trace

ROOT = Path(__file__).parents[1]
STDERR_LINES = 12
GRACE_S = 5.0


class WorkerError(Exception):
    """A worker crashed, hung, refused or answered nonsense. `stderr` holds its last lines."""

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


@dataclass(frozen=True)
class Traced:
    """What a worker says of one run; the tensors are in the file that was asked for."""

    device: str
    """Where the recorded tensors were."""
    peak_bytes: int | None
    """The most memory that the process held so far, where it says so."""


def framework_command(framework: str, python: Path | str) -> list[str]:
    """The command of the worker that comes with Lockstep, in the environment of `python`."""
    return [str(python), "-m", "impls.worker", framework]


class Worker:
    """One process behind the protocol; a context manager that leaves no process behind."""

    def __init__(self, name: str, command: Sequence[str], timeout_s: float) -> None:
        self.name = name
        self.command = list(command)
        self.timeout_s = timeout_s
        self._count = 0
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str | None] = queue.Queue()
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the process, if it does not run; raises WorkerError."""
        if self.alive:
            return
        self._answers = queue.Queue()
        self._stderr = deque(maxlen=STDERR_LINES)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError("not_started", f"{self.command[0]} cannot be started: {error.strerror}") from None
        threading.Thread(target=_pump, args=(self._process.stdout, self._answers.put, True), daemon=True).start()
        self._reader = threading.Thread(
            target=_pump, args=(self._process.stderr, self._stderr.append, False), daemon=True
        )
        self._reader.start()

    def hello(self) -> Hello:
        """Start the worker and learn what it is; raises WorkerError."""
        answer = self._ask({"do": "hello", "protocol": PROTOCOL})
        if answer.get("protocol") != PROTOCOL:
            raise self._error("wrong_protocol", f"expected protocol {PROTOCOL}, found {answer.get('protocol')!r:.80}")
        try:
            return Hello(
                framework=str(answer["framework"]),
                version=str(answer["version"]),
                substitutes=bool(answer["substitutes"]),
                devices=tuple(map(str, answer["devices"])),
                environment={str(key): str(value) for key, value in answer.get("environment", {}).items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise self._error(
                "nonsense", f"hello: expected the keys of {PROTOCOL}, found none or a wrong one: {error}"
            ) from None

    def load(self, request: Load) -> None:
        """Have a network made ready; raises WorkerError."""
        self._ask({"do": "load", **asdict(request)})

    def trace(self, request: Trace) -> Traced:
        """Have the network run once; raises WorkerError."""
        answer = self._ask({"do": "trace", **asdict(request)})
        peak = answer.get("peak_bytes")
        return Traced(device=str(answer.get("device", "unknown")), peak_bytes=peak if isinstance(peak, int) else None)

    def stop(self) -> None:
        """End the process and all that it started."""
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            if process.stdin is not None:
                process.stdin.close()
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            _kill_group(process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_S)
        _kill_group(process, signal.SIGKILL)
        process.wait()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.start()
        process = self._process
        assert process is not None and process.stdin is not None
        self._count += 1
        try:
            process.stdin.write(json.dumps({"id": self._count, **request}) + "\n")
            process.stdin.flush()
        except OSError:
            raise self._crashed(request["do"]) from None
        return self._answer(request["do"])

    def _answer(self, asked: str) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self.timeout_s)
        except queue.Empty:
            raise self._error("hung", f"{asked}: no answer within {self.timeout_s:g} s") from None
        if line is None:
            raise self._crashed(asked)
        try:
            answer = json.loads(line)
        except ValueError:
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

    def _crashed(self, asked: str) -> WorkerError:
        process = self._process
        assert process is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        self._reader.join(GRACE_S)
        code = process.returncode
        if code is None:
            cause = "closed its standard output"
        elif code < 0:
            cause = f"was ended by {signal.Signals(-code).name}"
            if code == -signal.SIGKILL:
                cause += " (out of memory, if nobody sent it)"
        else:
            cause = f"ended with exit code {code}"
        return self._error("crashed", f"{asked}: the worker {cause}")

    def _error(self, kind: str, message: str, keep: bool = False) -> WorkerError:
        """The error, with the last lines of standard error; unless it is to be kept, the process ends with it."""
        if not keep:
            if self.alive and self._process is not None:
                _kill_group(self._process, signal.SIGKILL)
            self._reader.join(GRACE_S)
            self.stop()
        return WorkerError(kind, message, tuple(line.rstrip() for line in self._stderr if line.strip()))


def _pump(stream: Any, take: Any, mark_end: bool) -> None:
    with contextlib.suppress(ValueError, OSError):
        for line in stream:
            take(line)
    if mark_end:
        take(None)


def _kill_group(process: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
