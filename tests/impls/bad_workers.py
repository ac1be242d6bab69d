"""Workers that misbehave, and one that does not: `python -m tests.impls.bad_workers HOW WHEN TOKEN [MARK]`.

HOW is a function below, WHEN the request at which it is called: each of that kind, or with `trace:4` the fourth. TOKEN
only names the process, so that a test finds what is left of it. With MARK, a path, it misbehaves until that file is
there.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from spec.tensors import Array, read, write
from tests.impls.example_runner import PROTOCOL, Refusal, Runner

Request = dict[str, Any]
FOREVER_S = 600


def answer(request: Request, **content: Any) -> None:
    print(json.dumps({"id": request["id"], **content}), flush=True)


def well(request: Request) -> None:
    """Answer as it should be."""
    try:
        answer(request, ok=getattr(RUNNER, request["do"])(request))
    except Refusal as refusal:
        answer(request, error=dict(zip(("kind", "message"), refusal.args, strict=True)))


def ends(_: Request) -> None:
    print("about to end", file=sys.stderr, flush=True)
    os._exit(7)


def segfaults(_: Request) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def is_killed(_: Request) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def real_time_signal(_: Request) -> None:
    os.kill(os.getpid(), 37)


def hangs(_: Request) -> None:
    print("thinking", file=sys.stderr, flush=True)
    time.sleep(FOREVER_S)


def garbage(_: Request) -> None:
    print("Hello, world!", flush=True)


def json_but_no_answer(_: Request) -> None:
    print("[1, 2, 3]", flush=True)


def nested(_: Request) -> None:
    print("[" * 100_000, flush=True)


def wrong_id(request: Request) -> None:
    answer({"id": request["id"] + 1}, ok={})


def two_answers(request: Request) -> None:
    well(request)
    well(request)


def wrong_protocol(request: Request) -> None:
    answer(request, ok=RUNNER.hello(request) | {"protocol": "lockstep-worker/2"})


def refuses_protocol(request: Request) -> None:
    answer(request, error={"kind": "wrong_protocol", "message": f"expected lockstep-worker/2, found {PROTOCOL}"})


def incomplete_hello(request: Request) -> None:
    answer(request, ok={"protocol": PROTOCOL, "framework": "bad"})


def mistyped_hello(request: Request) -> None:
    answer(request, ok=RUNNER.hello(request) | {"substitutes": "false"})


def closes_stdout(_: Request) -> None:
    os.close(1)
    time.sleep(FOREVER_S)


def half_an_answer(_: Request) -> None:
    os.write(1, b'{"id": ')
    os._exit(4)


def huge_line(_: Request) -> None:
    print("x" * 3_000_000, flush=True)


def endless_line(_: Request) -> None:
    while True:
        os.write(1, b"x" * 65536)


def noisy_end(_: Request) -> None:
    for number in range(50_000):
        print(f"line {number}", file=sys.stderr)
    print("y" * 1_000_001, file=sys.stderr)
    print("the last line", file=sys.stderr, flush=True)
    os._exit(1)


def noisy(request: Request) -> None:
    for number in range(50_000):
        print(f"line {number}", file=sys.stderr)
    well(request)


def missing_framework(request: Request) -> None:
    answer(request, error={"kind": "missing_framework", "message": "No module named 'caffe'"})


def out_of_memory(request: Request) -> None:
    print("allocator: nothing left", file=sys.stderr, flush=True)
    answer(request, error={"kind": "out_of_memory", "message": "cannot allocate 9 TiB"})


def leaks(_: Request) -> None:
    """Take more and more memory, up to a limit of its own."""
    limit_memory()
    taken = []
    while True:
        taken.append(bytearray(2**20))


def limit_memory(more_bytes: int = 200 * 2**20) -> None:
    """Let this process have so much memory more than it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def fails(request: Request) -> None:
    print("the reason why", file=sys.stderr, flush=True)
    answer(request, error={"kind": "failed", "message": "this layer is too wide"})


def unprintable(request: Request) -> None:
    answer(request, error={"kind": "failed", "message": "red \x1b[31m nul \0 half \ud800 newline \n end"})


def leaves_a_child(_: Request) -> None:
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({FOREVER_S})", *sys.argv[1:]])
    os._exit(7)


def reads_nothing_more(request: Request) -> None:
    well(request)
    time.sleep(FOREVER_S)


def another_device(request: Request) -> None:
    RUNNER.trace(request)
    answer(request, ok={"device": "abacus"})


def no_file(request: Request) -> None:
    answer(request, ok={"device": "cpu"})


def truncated_file(request: Request) -> None:
    RUNNER.trace(request)
    path = Path(request["output"])
    path.write_bytes(path.read_bytes()[:-10])
    answer(request, ok={"device": "cpu"})


def pipe_for_a_file(request: Request) -> None:
    os.mkfifo(request["output"])
    answer(request, ok={"device": "cpu"})


def folder_for_a_file(request: Request) -> None:
    Path(request["output"]).mkdir()
    answer(request, ok={"device": "cpu"})


def changed(change: Callable[[dict[str, Array]], object], where: str = "pool1") -> Callable[[Request], None]:
    """Answer well, but for what `change` does to the recorded tensors, if `where` is among them."""

    def trace(request: Request) -> None:
        RUNNER.trace(request)
        output = Path(request["output"])
        tensors = {name: tensor.copy() for name, tensor in read(output).items()}
        if where in tensors:
            change(tensors)
        write(output, tensors)
        answer(request, ok={"device": "cpu"})

    return trace


wrong_shape = changed(lambda tensors: tensors.update(pool1=tensors["pool1"][:, :, :-1]))
wrong_dtype = changed(lambda tensors: tensors.update(pool1=tensors["pool1"].astype(np.float64)))
missing_tap = changed(lambda tensors: tensors.pop("pool1"))
not_a_number = changed(lambda tensors: tensors.update(pool1=np.full_like(tensors["pool1"], np.nan)))
nan_everywhere = changed(
    lambda tensors: tensors.update({name: np.full_like(tensor, np.nan) for name, tensor in tensors.items()}),
    where="fc2",  # the last: it is in every trace
)
one_infinity = changed(lambda tensors: tensors["pool1"].__setitem__((1, 2, 3, 1), np.inf))


RUNNER = Runner()


def main(how: str, when: str, _token: str, mark: str = "") -> None:
    misbehave: Callable[[Request], None] = globals()[how]
    asked = Counter[str]()
    for line in sys.stdin:
        request = json.loads(line)
        asked[request["do"]] += 1
        now = when in (request["do"], f"{request['do']}:{asked[request['do']]}")
        if now and not (mark and Path(mark).exists()):
            if mark:
                Path(mark).touch()
            misbehave(request)
        else:
            well(request)


if __name__ == "__main__":
    main(*sys.argv[1:])
