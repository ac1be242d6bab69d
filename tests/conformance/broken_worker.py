"""A worker in NumPy that breaks one invariant, by its name: `python tests/conformance/broken_worker.py FAULT`."""

import sys
from functools import partial

import numpy as np

from conformance.oracle import Array
from conformance.power.wrong_runner import NumpyRunner
from impls.protocol import Load
from impls.worker import serve
from spec.shapes import Layer


class Broken(NumpyRunner):
    mode = ""

    def load(self, request: Load) -> None:
        super().load(request)
        self.mode = request.mode

    def _value(self, layer: Layer, inputs: tuple[Array, ...]) -> Array:
        value = super()._value(layer, inputs)
        match self.fault, layer.name:
            case "sees_neighbours", "conv5":
                value -= np.float32(0.01) * value.mean(axis=0)
            case "first_is_special", "conv5":
                value[0] *= np.float32(1.01)
            case "clipped", "relu5":
                value[value > 6] = 6
            case "unsteady", "conv1":
                return value * np.float32(1 + 1e-3 * np.random.default_rng().standard_normal())
            case "modes_differ", "conv5" if self.mode == "eager":
                return value * np.float32(1.01)
        return value


if __name__ == "__main__":
    serve("numpy", partial(Broken, sys.argv[1]))
