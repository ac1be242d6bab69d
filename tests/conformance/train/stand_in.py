"""A worker that trains in NumPy: `python -m tests.conformance.train.stand_in SPEC [FAULT STEP]`, faulty from a step on.

`kill_suite`: the suite, whose child this is, is killed. `crash`: this process ends. `nan`: the loss is no number.
`poison`: a parameter is no number, while the loss is.
"""

import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from conformance.meta.wrong_runner import NumpyRunner
from impls.protocol import Load
from impls.runner import require_device
from impls.training import Batch
from impls.worker import serve
from spec.load import load
from spec.tensors import read


class StandIn(NumpyRunner):
    """The NumPy runner, for any spec."""

    def __init__(self, spec: str, fault: str, at_step: int) -> None:
        super().__init__("")
        self.spec = spec
        self.planted = fault
        self.at_step = at_step
        self.steps = 0

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "stand-in")
        self.network = load(self.spec)
        self.tensors = self.loaded = read(Path(request.weights))

    def step(self, batch: Batch) -> float:
        self.steps += 1
        loss = super().step(batch)
        if self.steps >= self.at_step:
            match self.planted:
                case "kill_suite":
                    os.kill(os.getppid(), signal.SIGKILL)
                case "crash":
                    os._exit(7)
                case "nan":
                    return float("nan")
                case "poison":
                    name = next(iter(self._trained.parameters))
                    poisoned = {name: np.full_like(self.tensors[name], np.nan)}
                    self._trained = replace(self._trained, parameters=self._trained.parameters | poisoned)
                    self.tensors = self.tensors | poisoned
        return loss


if __name__ == "__main__":
    spec, fault, at_step = [*sys.argv[1:], "", "0"][:3]
    serve("stand-in", partial(StandIn, spec, fault, int(at_step)))
