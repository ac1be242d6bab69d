"""Lockstep's worker around a runner that needs no framework: `python -m tests.impls.fake_worker`."""

import os
import subprocess
import sys
from collections.abc import Callable

import numpy as np

from impls.protocol import Load, RefusedError
from impls.runner import Array, require_device
from impls.worker import serve
from tests.impls.bad_workers import limit_memory


class FakeRunner:
    """Adds one to its input, and is as noisy as frameworks are."""

    version = "1.2.3"
    trains = False
    taps = True

    def __init__(self) -> None:
        print("print while it starts")

    def devices(self) -> list[str]:
        return ["cpu"]

    def environment(self) -> dict[str, str]:
        return {"colour": "blue"}

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "fake")
        print("print of Python")
        os.write(1, b"write to descriptor 1\n")
        subprocess.run([sys.executable, "-c", "print('print of a child')"], check=True)
        subprocess.run([sys.executable, "-c", "import sys; sys.stdin.read()"], check=True)  # reads none of our requests
        match request.mode:
            case "broken":
                raise KeyError("first line\nsecond line")
            case "lacking":
                raise NotImplementedError("no kernel for 'BFloat16'")
            case "full":
                raise MemoryError("no room")
            case "leaking":
                limit_memory()
                taken = []
                while True:
                    taken.append(bytearray(2**20))
            case "full_in_words":
                raise RuntimeError("RESOURCE_EXHAUSTED: while allocating 1 TiB")
            case "full_in_torch":
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
            case "unknown":
                raise RefusedError("unsupported", "fake has no mode 'unknown'")

    def prepare(self, x: Array) -> Callable[[], Array]:
        return lambda: x + np.float32(1)

    def fetch(self, output: Array) -> Array:
        return output

    def device_peak_bytes(self) -> int | None:
        return None

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        given = sum(substitutes.values(), np.zeros(1, np.float32)) if substitutes else 0
        return dict.fromkeys(taps, x + given + 1), "cpu"


if __name__ == "__main__":
    serve("fake", FakeRunner)
