"""A worker that only says how long it took: `paced_worker.py SLOWER NOISE [HOW] [PATH]`.

It is SLOWER times as slow as another, with a relative NOISE. HOW is a misbehaviour of `_misbehave`, or nothing.
"""

import json
import os
import random
import sys
import time
from pathlib import Path
from typing import Any

STEP_S = 0.004
#: A process is stopped when the system next has a processor for it, and does nothing before.
PATIENCE_S = 5.0
RANDOM = random.Random()


def siblings_that_run() -> list[int]:
    """Other processes of our parent that run this program and are not stopped."""
    parent = os.getppid()
    found = []
    for number in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if int(number) == os.getpid():
            continue
        try:
            state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
            program = Path(f"/proc/{number}/cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if "paced_worker" in program and state not in ("T", "Z", "X"):
            found.append(int(number))
    return found


class Paced:
    def __init__(self, slower: float, noise: float, how: str) -> None:
        self.slower = slower
        self.noise = noise
        self.how = how
        self.lowering = ""

    def took(self, duration_s: float, quantity: str) -> float:
        return duration_s * self.factor(quantity) * RANDOM.lognormvariate(0.0, self.noise)

    def factor(self, quantity: str) -> float:
        return self.slower if self.how in (f"only_{quantity}", "") or not self.how.startswith("only_") else 1.0

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        do = request["do"]
        if do == "load":
            self.lowering = request["lowering"]
        if self.lowering == "fast":
            match self.how:
                case "refuses":
                    return {"error": {"kind": "failed", "message": "fast is broken"}}
                case "no_device":
                    return {"error": {"kind": "missing_device", "message": "no such device"}}
                case "ends":
                    print("it ended", file=sys.stderr, flush=True)
                    os._exit(7)
        return {"ok": getattr(self, do)(request)}

    def hello(self, _: dict[str, Any]) -> dict[str, Any]:
        told = {} if self.how == "no_import" else {"import_s": self.took(1.0, "import")}
        return {
            "protocol": "lockstep-worker/1",
            "framework": "paced",
            "version": "1",
            "substitutes": False,
            "devices": ["cpu"],
            "environment": {},
        } | told

    def load(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"build_s": self.took(0.5, "build")}

    def prepare(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"first_call_s": self.took(0.5, "first_call")}

    def time(self, request: dict[str, Any]) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while running := siblings_that_run():
            if time.monotonic() > until:
                raise RuntimeError(f"{running} run beside me")
            time.sleep(0.01)
        calls = min(request["max_calls"], max(4, int(min(request["min_s"], 1.0) / STEP_S)))
        pace = self.took(STEP_S, "step")
        return {
            "durations_s": [pace] * calls,
            "busy_threads": 1.0,
            "cpus": [4095] if self.how == "moved" else sorted(os.sched_getaffinity(0)),
            "peak_bytes": int(2**30 * self.factor("memory")),
            "device_peak_bytes": None,
        }

    def verify(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"relative_rms": None if self.how == "not_finite" and self.lowering == "fast" else 1.0}


def main(slower: str, noise: str, how: str = "", path: str = "") -> None:
    factor = float(slower)
    if how == "at_first":  # slower in as many of its first processes as the file counts
        left = int(Path(path).read_text())
        Path(path).write_text(str(max(0, left - 1)))
        factor = factor if left else 1.0
    if how == "sways":  # as slow as it is quick, by turns
        turn = int(Path(path).read_text())
        Path(path).write_text(str(turn + 1))
        factor = factor if turn % 2 else 1.0 / factor
    paced = Paced(factor, float(noise), how)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps({"id": request["id"], **paced.answer(request)}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
