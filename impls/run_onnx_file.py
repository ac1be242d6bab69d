"""Runs an ONNX file as it is in ONNX Runtime: the original that an imported network is held against.

It has weights of its own, so a case must have the same: those that `python -m spec import --weights` wrote.
"""

import json
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime import InferenceSession, SessionOptions

from impls.protocol import Load, RefusedError
from impls.run_onnx import CUDA_SETTINGS, PROVIDERS, OnnxRunner
from impls.runner import Array, require_device, require_dtype


class OnnxFileRunner(OnnxRunner):
    """The ONNX Runtime runner for a model that nobody generated. It shows its output, and no tap before that."""

    taps = False

    def __init__(self, output: str | None = None) -> None:
        self.output = output
        """The value that is compared: an output of the model, or any other; none if it has one output only."""

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "onnx")
        require_dtype(request.dtype, ("float32", "tf32"), "onnx")
        if request.source is None:
            raise RefusedError("bad_request", "expected the path of an ONNX file, found none")
        description = json.loads(Path(request.network).read_text(encoding="utf-8"))
        self.output_shape: tuple[int, ...] = tuple(description["graph"][-1]["output_shape"])
        options = SessionOptions()
        options.intra_op_num_threads = request.threads
        options.log_severity_level = 3
        settings = CUDA_SETTINGS | {"use_tf32": str(int(request.dtype == "tf32"))}
        provider = (PROVIDERS[request.device], settings if request.device == "cuda" else {})
        self.session = InferenceSession(request.source, options, providers=[provider])
        outputs = [entry.name for entry in self.session.get_outputs()]
        if self.output is None and len(outputs) > 1:
            found = ", ".join(outputs)[:200]
            raise RefusedError("bad_request", f"expected --output-name beside a file of several outputs, found {found}")
        self.output = self.output or outputs[0]
        if self.output not in outputs:
            model = _with_output(request.source, self.output)
            self.session = InferenceSession(model, options, providers=[provider])
        if provider[0] not in self.session.get_providers():
            raise RefusedError("missing_device", f"no {request.device} device for onnx; {provider[0]} did not start")
        inputs = self.session.get_inputs()
        fitting = [entry for entry in inputs if entry.type == "tensor(float)" and len(entry.shape) > 1]
        shape = tuple(description["input"]["shape"])
        fitting = [entry for entry in fitting if _fits(entry.shape[1:], shape)]
        if not fitting:
            raise RefusedError("failed", f"expected an input that takes {list(shape)}, found {inputs[0].shape}")
        self.entry = fitting[0]
        self.others = {
            entry.name: np.zeros([size if isinstance(size, int) else 1 for size in entry.shape], np.float32)
            for entry in inputs
            if entry.name != self.entry.name and entry.type == "tensor(float)"
        }

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        if substitutes is not None or len(taps) != 1:
            raise RefusedError("unsupported", "an original shows its output alone")
        used = self.session.get_providers()[0]
        device = next((name for name, provider in PROVIDERS.items() if provider == used), used)
        return {taps[0]: self._run(x)}, device

    def prepare(self, x: Array) -> Callable[[], Any]:
        return lambda: self._run(x)

    def fetch(self, output: Any) -> Array:
        value: Array = output
        return value

    def _run(self, x: Array) -> Array:
        """The output (N, *output shape); a model whose batch is fixed gets as many images at once as it takes."""
        batch = self.entry.shape[0]
        size = batch if isinstance(batch, int) and batch > 0 else len(x)
        if len(x) % size:
            raise RefusedError("unsupported", f"expected a batch in multiples of the file's {size}, found {len(x)}")
        parts = [
            self.session.run([self.output], {self.entry.name: x[start : start + size]} | self.others)[0]
            for start in range(0, len(x), size)
        ]
        y = np.concatenate(parts)
        if y.size != len(x) * prod(self.output_shape):
            raise RefusedError("failed", f"expected outputs of {list(self.output_shape)}, found {list(y.shape)}")
        value: Array = y.reshape(len(x), *self.output_shape)
        return value


def _with_output(path: str, output: str) -> bytes:
    """The model with one more of its values as an output."""
    model = onnx.load(path)
    if all(output not in node.output for node in model.graph.node):
        raise RefusedError("bad_request", f"expected an output that a node of the file computes, found {output!r:.80}")
    model.graph.output.append(onnx.ValueInfoProto(name=output))
    return bytes(model.SerializeToString())


def _fits(stated: list[Any], shape: tuple[int, ...]) -> bool:
    """Whether extents that a file states, where it states them, are those of `shape`."""
    return len(stated) == len(shape) and all(
        not isinstance(size, int) or size < 1 or size == wanted for size, wanted in zip(stated, shape, strict=True)
    )


Runner = OnnxFileRunner
