"""A worker: one process that hosts one runner and answers JSON lines (impls/README.md).

`python -m impls.worker FRAMEWORK`, in an environment with NumPy and that framework.
"""

import gc
import importlib
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from impls import training
from impls.protocol import (
    PROTOCOL,
    Colour,
    Gradients,
    Initialise,
    Load,
    Predict,
    Prepare,
    RefusedError,
    Start,
    State,
    Time,
    Trace,
    Train,
    TrainTrace,
    Verify,
)
from impls.runner import Runner
from impls.timing import Stopwatch, peak_bytes
from spec.tensors import read, write

#: How frameworks say that memory is not enough; each has its own words, and only some an exception of its own.
OUT_OF_MEMORY = (
    "outofmemory",
    "out of memory",
    "resource_exhausted",
    "resourceexhausted",
    "not enough memory",
    "t allocate memory",  # "DefaultCPUAllocator: can't allocate memory"
    "cannot allocate memory",
    "failed to allocate memory",
    "could not allocate",
    "alloc_failed",  # of cuBLAS and cuDNN
    "bad_alloc",
)

#: The requests of training: what each brings, and who answers it.
TRAINING: dict[str, tuple[type[Any], Callable[[Runner, Any], dict[str, Any]]]] = {
    "gradients": (Gradients, training.gradients),
    "train_trace": (TrainTrace, training.train_trace),
    "start": (Start, training.start),
    "train": (Train, training.train),
    "state": (State, training.state),
    "initialise": (Initialise, training.initialise),
    "predict": (Predict, training.predict),
    "colour": (Colour, training.colour),
}


def serve(framework: str, make: Callable[[], Runner]) -> None:
    """Answer requests, with the runner that `make` gives, until `stop` or the end of standard input."""
    requests, answers = _private_stdin(), _private_stdout()
    host: _Host | None = None
    for line in requests:
        request: dict[str, Any] = {}
        try:
            request.update(_request(line))
            if "do" not in request:
                raise RefusedError("bad_request", "expected a JSON object with the key 'do'")
            if request["do"] == "stop":
                break
            if host is None:
                host = _Host(framework, make)
            answer: dict[str, Any] = {"ok": host.do(request)}
        except RefusedError as error:
            answer = _refusal(error.kind, str(error))
        except MemoryError as error:
            answer = _refusal("out_of_memory", str(error))
        except NotImplementedError as error:  # an operator that the framework lacks on that device in that dtype
            answer = _refusal("unsupported", f"{type(error).__name__}: {error}")
        except Exception as error:  # whatever a framework raises is an answer, and the next case may still run
            kind = "out_of_memory" if _is_out_of_memory(error) else "failed"
            answer = _refusal(kind, f"{type(error).__name__}: {error}")
        print(json.dumps({"id": request.get("id"), **answer}), file=answers, flush=True)


def _private_stdin() -> TextIO:
    """Keep the real standard input for requests; a process that the framework starts must not read them."""
    requests = os.fdopen(os.dup(0), encoding="utf-8", errors="replace")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests


def _private_stdout() -> TextIO:
    """Keep the real standard output for answers; whatever else prints there goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


def _request(line: str) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise RefusedError("bad_request", f"expected a JSON object a line: {error}") from None
    if not isinstance(request, dict):
        raise RefusedError("bad_request", f"expected a JSON object a line, found {line.strip()!r:.80}")
    return request


def framework_runner(framework: str, *words: str) -> Runner:
    """The runner of a framework that comes with Lockstep; raises RefusedError where the framework is missing.

    `words`: what this runner has to be told beside requests.
    """
    try:
        module = importlib.import_module(f"impls.run_{framework}")
    except ImportError as error:
        raise RefusedError(
            "missing_framework", f"{framework} cannot be imported by {sys.executable}: {error}"
        ) from None
    runner: Runner = module.Runner(*words)
    return runner


def _arguments(request: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    missing = [field.name for field in fields(kind) if field.name not in request and field.default is MISSING]
    if missing:
        raise RefusedError("bad_request", f"{request['do']}: expected the keys {', '.join(missing)}, found none")
    return {field.name: request[field.name] for field in fields(kind) if field.name in request}


class _Host:
    """A runner and what is known of its start: does what requests ask for."""

    def __init__(self, framework: str, make: Callable[[], Runner]) -> None:
        self.framework = framework
        start = time.perf_counter()
        self.runner = make()
        self.import_s = time.perf_counter() - start
        self.stopwatch = Stopwatch(self.runner)

    def do(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; raises RefusedError."""
        match request["do"]:
            case "hello":
                return self._hello(request)
            case "load":
                start = time.perf_counter()
                self.runner.load(Load(**_arguments(request, Load)))
                duration_s = time.perf_counter() - start
                gc.collect()
                return {"build_s": duration_s}
            case "trace":
                return self._trace(Trace(**_arguments(request, Trace)))
            case "prepare":
                return self.stopwatch.prepare(Prepare(**_arguments(request, Prepare)))
            case "time":
                return self.stopwatch.time(Time(**_arguments(request, Time)))
            case "verify":
                return self.stopwatch.verify(Verify(**_arguments(request, Verify)))
            case str() as verb if verb in TRAINING:
                kind, answer = TRAINING[verb]
                answered: dict[str, Any] = answer(self.runner, kind(**_arguments(request, kind)))
                return answered
            case unknown:
                known = ", ".join(("hello", "load", "trace", "prepare", "time", "verify", *TRAINING))
                raise RefusedError("bad_request", f"expected {known} or stop, found {unknown!r}")

    def _hello(self, request: dict[str, Any]) -> dict[str, Any]:
        if request.get("protocol") != PROTOCOL:
            raise RefusedError("wrong_protocol", f"expected protocol {PROTOCOL}, found {request.get('protocol')!r}")
        runner = self.runner
        return {
            "protocol": PROTOCOL,
            "framework": self.framework,
            "version": runner.version,
            "taps": runner.taps,
            "substitutes": runner.taps,
            "trains": runner.trains,
            "devices": runner.devices(),
            "environment": {"python": platform.python_version(), "numpy": np.__version__, **runner.environment()},
            "import_s": self.import_s,
        }

    def _trace(self, request: Trace) -> dict[str, Any]:
        substitutes = read(Path(request.substitutes)) if request.substitutes else None
        (x,) = read(Path(request.input)).values()
        recorded, device = self.runner.trace(x, substitutes, request.taps)
        write(Path(request.output), recorded)
        return {"device": device, "peak_bytes": peak_bytes()}


def _is_out_of_memory(error: Exception) -> bool:
    text = f"{type(error).__name__} {error}".lower()
    return any(sign in text for sign in OUT_OF_MEMORY)


def _refusal(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"kind": kind, "message": " ".join(message.split())[:2000]}}


if __name__ == "__main__":
    serve(sys.argv[1], partial(framework_runner, *sys.argv[1:]))
