"""AlexNet written by hand in Keras 3 as a worker: `python -m conformance.outside.run_keras BACKEND`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Both are read by what is imported below.
os.environ |= {"KERAS_BACKEND": sys.argv[1], "CUDA_VISIBLE_DEVICES": ""}

import keras
import numpy as np

from conformance.outside.keras_alexnet import alexnet
from impls.protocol import Load
from impls.runner import Array, from_canonical, require_device, require_dtype, to_canonical
from impls.worker import serve
from spec.tensors import read


class KerasRunner:
    """The network of keras_alexnet.py, with weights by canonical names."""

    version = str(keras.__version__)
    taps = True
    trains = False

    def devices(self) -> list[str]:
        return ["cpu"]

    def environment(self) -> dict[str, str]:
        return {"backend": keras.backend.backend()}

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "keras")
        require_dtype(request.dtype, ("float32",), "keras")
        self.model = alexnet()
        tensors = read(Path(request.weights))
        for layer in self.model.layers:
            if layer.weights:
                weight = tensors[f"{layer.name}.weight"]
                axes = (2, 3, 1, 0) if weight.ndim == 4 else (1, 0)
                layer.set_weights([weight.transpose(axes), tensors[f"{layer.name}.bias"]])

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        images = from_canonical(x, "NHWC")
        if taps == [self.model.layers[-1].name] and not substitutes:  # the model as anyone calls it
            return {taps[0]: self.model.predict_on_batch(images)}, "cpu"
        recorded: dict[str, Array] = {}
        value: Any = images
        for layer in self.model.layers:
            value = layer(value)
            if layer.name in taps:
                recorded[layer.name] = to_canonical(_plain(value), "NHWC")
            if substitutes and layer.name in substitutes:
                value = from_canonical(substitutes[layer.name], "NHWC")
        return recorded, "cpu"

    def prepare(self, x: Array) -> Callable[[], Any]:
        images = from_canonical(x, "NHWC")
        return lambda: self.model.predict_on_batch(images)

    def fetch(self, output: Any) -> Array:
        return _plain(output)

    def device_peak_bytes(self) -> int | None:
        return None


def _plain(value: Any) -> Array:
    return np.array(keras.ops.convert_to_numpy(value))


if __name__ == "__main__":
    serve(f"keras on {sys.argv[1]}", KerasRunner)
