"""A worker that trains in NumPy: `python -m tests.conformance.train.stand_in [FAULT STEP]`, faulty from a step on.

`kill_suite`: the suite, whose child this is, is killed. `crash`: this process ends. `nan`: the loss is no number.
`poison`: a parameter is no number, while the loss is.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, TypeAdapter

from conformance.power.wrong_runner import NumpyRunner
from impls.protocol import Load
from impls.runner import require_device
from impls.training import Batch
from impls.worker import serve
from spec.network import Expect, Input, Network
from spec.operators import AnyOperator
from spec.recipe import Evaluation, Preprocessing, Training
from spec.tensors import read

OPERATOR: TypeAdapter[AnyOperator] = TypeAdapter(Annotated[AnyOperator, Field(discriminator="op")])


class StandIn(NumpyRunner):
    """The NumPy runner, for any network: it is made of the description alone."""

    def __init__(self, fault: str, at_step: int) -> None:
        super().__init__("")
        self.planted = fault
        self.at_step = at_step
        self.steps = 0

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "stand-in")
        self.network = described(json.loads(Path(request.network).read_text(encoding="utf-8")))
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


def described(description: dict[str, Any]) -> Network:
    """The network of a description; what only its spec says is made up."""
    derived = ("output_shape", "tensors")
    graph = [{key: value for key, value in each.items() if key not in derived} for each in description["graph"]]
    preprocessing = description["preprocessing"]
    augmentation = {"pca_colour": None} | preprocessing["augmentation"]
    return Network.model_construct(
        format="lockstep-network/1",
        name=description["name"],
        title="described",
        source="a description",
        input=Input.model_validate(description["input"]),
        graph=tuple(OPERATOR.validate_python(each) for each in graph),
        expect=Expect(shapes={}, parameters=0, macs=0, neurons=0),
        preprocessing=Preprocessing.model_validate(preprocessing | {"augmentation": augmentation}),
        training=Training.model_validate(description["training"]),
        evaluation=Evaluation.model_validate(description["evaluation"] | {"results": [], "contradicted": []}),
    )


if __name__ == "__main__":
    fault, at_step = sys.argv[1:] or ("", "0")
    serve("stand-in", partial(StandIn, fault, int(at_step)))
