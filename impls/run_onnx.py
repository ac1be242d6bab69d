"""Runs generated ONNX models in ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx.helper import make_tensor_value_info, np_dtype_to_tensor_dtype
from onnx.numpy_helper import from_array
from onnx.reference import ReferenceEvaluator
from onnxruntime import InferenceSession, OrtValue, SessionOptions

from impls.device import device_facts
from impls.protocol import Load, RefusedError
from impls.runner import Array, import_source, require_device, require_dtype
from spec.tensors import read

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
SUBSTITUTE = ".substitute"
REFERENCE = "ONNX's ReferenceEvaluator"
#: Memory of the GPU is taken as it is needed, not in ever larger pieces.
CUDA_SETTINGS = {"arena_extend_strategy": "kSameAsRequested"}


class OnnxRunner:
    """The ONNX Runtime runner. A tap is an output of the graph; what replaces it is an input."""

    version = onnxruntime.__version__
    trains = False
    taps = True

    def devices(self) -> list[str]:
        there = onnxruntime.get_available_providers()
        return [name for name, provider in PROVIDERS.items() if provider in there]

    def environment(self) -> dict[str, str]:
        facts = {"onnx": onnx.__version__, "build": onnxruntime.get_build_info(), "built_for": onnxruntime.get_device()}
        return facts | (device_facts() if "cuda" in self.devices() else {})

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "onnx")
        require_dtype(request.dtype, ("float32", "tf32"), "onnx")
        if request.mode not in ("compiled", "reference"):
            raise RefusedError("unsupported", f"onnx has no mode {request.mode!r}")
        if request.mode == "reference" and (request.device, request.dtype) != ("cpu", "float32"):
            raise RefusedError("unsupported", f"{REFERENCE} runs in float32 on cpu, found {request.dtype}")
        self.request = request
        self.module = import_source(request.source)
        self.tensors = read(Path(request.weights))
        self.sessions: dict[tuple[tuple[str, ...], bool], InferenceSession] = {}

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        if self.request.mode == "reference":
            return self._evaluated(x, substitutes or {}, taps), "cpu"
        key = (tuple(taps), substitutes is not None)
        if key not in self.sessions:
            self.sessions.clear()  # each holds all weights
            self.sessions[key] = self._session(taps, substitutes or {})
        session = self.sessions[key]
        first = session.get_inputs()[0].name
        feed = {first: x} | {f"{name}{SUBSTITUTE}": value for name, value in (substitutes or {}).items()}
        wanted = {entry.name for entry in session.get_inputs()}
        values = session.run(taps, {name: value for name, value in feed.items() if name in wanted})
        used = session.get_providers()[0]
        device = next((name for name, provider in PROVIDERS.items() if provider == used), used)
        return dict(zip(taps, values, strict=True)), device

    def prepare(self, x: Array) -> Callable[[], Any]:
        if self.request.mode == "reference":
            raise RefusedError("unsupported", f"{REFERENCE} is not timed: it is there to be right")
        self.sessions.clear()  # each holds all weights
        session = self._session([], {})
        (first,), (last,) = ([entry.name for entry in ends] for ends in (session.get_inputs(), session.get_outputs()))
        binding = session.io_binding()  # else every call would move its input to the device, and its output back
        binding.bind_ortvalue_input(first, OrtValue.ortvalue_from_numpy(x, self.request.device, 0))
        binding.bind_output(last, self.request.device)

        def step() -> OrtValue:
            session.run_with_iobinding(binding)
            binding.synchronize_outputs()
            (y,) = binding.get_outputs()
            return y

        return step

    def fetch(self, output: Any) -> Array:
        value: Array = output.numpy()
        return value

    def device_peak_bytes(self) -> int | None:
        return None

    def _evaluated(self, x: Array, substitutes: dict[str, Array], taps: list[str]) -> dict[str, Array]:
        """The taps as ONNX's own evaluator computes them, in NumPy: it is what the standard's text means."""
        model = self._model(taps, substitutes)
        model.graph.initializer.extend(from_array(value, name) for name, value in self.tensors.items())
        feed = {model.graph.input[0].name: x}
        feed |= {f"{name}{SUBSTITUTE}": value for name, value in substitutes.items()}
        found = ReferenceEvaluator(model).run(taps, feed)
        # A step of it may widen to float64: a tap is float32, as the graph declares.
        return {name: np.asarray(value, np.float32) for name, value in zip(taps, found, strict=True)}

    def _model(self, taps: list[str], substitutes: dict[str, Array]) -> onnx.ModelProto:
        """The generated model without its tensors, giving `taps` if any, and reading what is substituted."""

        def tap(name: str, value: str) -> str:
            return f"{name}{SUBSTITUTE}" if name in substitutes else value

        model: onnx.ModelProto = self.module.build({}, tap)
        if taps:
            del model.graph.output[:]
            model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in taps)
        for name, value in substitutes.items():
            kind = np_dtype_to_tensor_dtype(value.dtype)
            model.graph.input.append(make_tensor_value_info(f"{name}{SUBSTITUTE}", kind, value.shape))
        return model

    def _session(self, taps: list[str], substitutes: dict[str, Array]) -> InferenceSession:
        model = self._model(taps, substitutes)
        model.graph.initializer.extend(_given(name, value) for name, value in self.tensors.items())
        options = SessionOptions()
        options.intra_op_num_threads = self.request.threads
        options.log_severity_level = 3
        values = [OrtValue.ortvalue_from_numpy(value) for value in self.tensors.values()]
        options.add_external_initializers(list(self.tensors), values)
        provider = PROVIDERS[self.request.device]
        settings = CUDA_SETTINGS | {"use_tf32": str(int(self.request.dtype == "tf32"))}
        chosen = (provider, settings if self.request.device == "cuda" else {})
        session = InferenceSession(model.SerializeToString(), options, providers=[chosen])
        if provider not in session.get_providers():  # ONNX Runtime warns, and computes elsewhere
            raise RefusedError(
                "missing_device", f"no {self.request.device} device for onnx; its {provider} did not start"
            )
        return session


def _given(name: str, value: Array) -> onnx.TensorProto:
    """An initialiser whose data the session takes from memory: the file of weights, shared and not copied."""
    tensor = onnx.TensorProto(name=name, dims=value.shape, data_type=np_dtype_to_tensor_dtype(value.dtype))
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="given to the session")
    return tensor


Runner = OnnxRunner
