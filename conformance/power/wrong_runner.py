"""A runner in NumPy's float32, right or with one planted fault: `python -m conformance.power.wrong_runner [FAULT]`.

It evaluates the network with the oracle's own operators, so that whatever a fault of the runner may be, it can be said
in a line of NumPy.
"""

import json
import platform
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from conformance.dropout import drawn_masks
from conformance.oracle import Array, evaluate
from conformance.power.fault import Tensors
from conformance.power.numpy_training import NumpyTrainer
from impls.protocol import Load
from impls.runner import require_device
from impls.worker import serve
from spec.load import load, shipped
from spec.network import FORMAT, Network
from spec.shapes import Layer
from spec.tensors import read


class NumpyRunner(NumpyTrainer):
    """Evaluates and trains any network in float32."""

    version = np.__version__
    taps = True

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.stale: Tensors = {}

    def devices(self) -> list[str]:
        return ["cpu"]

    def environment(self) -> dict[str, str]:
        return {"platform": platform.platform(), "fault": self.fault or "none"}

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "numpy")
        self.network = described(json.loads(Path(request.network).read_text(encoding="utf-8")))
        tensors = read(Path(request.weights))
        if self.fault == "stale_tensor":
            self.stale = self.stale or {"conv3.weight": _others(tensors["conv3.weight"])}  # as if loaded before
        self.tensors = self.loaded = tensors | self.stale

    def trace(self, x: Array, substitutes: Tensors | None, taps: list[str]) -> tuple[Tensors, str]:
        fed = {self.network.input.name: x}
        recorded: Tensors = {}
        for layer in self.network.layers:
            value = self._value(layer, tuple(fed[name] for name in layer.operator.reads))
            recorded[layer.name] = value
            fed[layer.name] = substitutes[layer.name] if substitutes else value
        if self.fault == "echo" and substitutes:
            recorded = dict(substitutes)
        if self.fault == "missing_tap":
            del recorded["norm2"]
        if self.fault == "tap_renamed":
            recorded["relu_two"] = recorded.pop("relu2")
        return {name: value for name, value in recorded.items() if name in taps}, "cpu"

    def prepare(self, x: Array) -> Callable[[], Array]:
        return lambda: self.trace(x, None, [self.network.output])[0][self.network.output]

    def fetch(self, output: Array) -> Array:
        return output

    def device_peak_bytes(self) -> int | None:
        return None

    def _value(self, layer: Layer, inputs: tuple[Array, ...]) -> Array:
        value = evaluate(layer, inputs, self.tensors).astype(np.float32)
        match self.fault, layer.name:
            case "batch_reversed", "conv1":
                return value[::-1].copy()
            case "first_image_for_all", "pool2":
                return np.repeat(value[:1], len(value), axis=0)
            case "one_element", "conv5":
                value.flat[value.size // 2] += 1e-4 * np.abs(value).max()
            case "constant_output", "fc7":
                return np.full_like(value, value.mean())
            case "dropout_while_evaluating", "drop6":
                return value * drawn_masks(self.network, len(value), 0, 0)["drop6"]
            case "float16_sums", "fc6":
                return evaluate(layer, inputs, self.tensors).astype(np.float16).astype(np.float32)
        return value


def described(description: dict[str, Any]) -> Network:
    """The network of a description (impls/description.py); a shipped one is read from its spec."""
    if description["name"] in shipped():
        return load(description["name"])
    derived = ("output_shape", "tensors")
    graph = [{key: value for key, value in each.items() if key not in derived} for each in description["graph"]]
    content = {
        "format": FORMAT,
        "name": description["name"],
        "title": "described",
        "source": "a description",
        "input": description["input"],
        "graph": graph,
        "expect": {"shapes": {}, "parameters": 0, "macs": 0, "neurons": 0},
        "training": description.get("training"),
    }
    return Network.model_validate(content).with_expectations()


def _others(weights: Array) -> Array:
    """Weights as good as these, drawn from them: those of the network that was loaded before."""
    others: Array = np.random.default_rng(0).choice(weights.ravel(), weights.shape)
    return others


if __name__ == "__main__":
    serve("numpy", partial(NumpyRunner, sys.argv[1] if len(sys.argv) > 1 else ""))
