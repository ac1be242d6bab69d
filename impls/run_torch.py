"""Runs generated torch sources."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impls.device import device_facts
from impls.protocol import Load, RefusedError
from impls.runner import Array, import_source, require_device, require_dtype
from spec.tensors import read

# Weights and inputs are mapped from files, read-only, and shared by all workers; no runner writes to them.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")

#: How tensors are stored in each precision.
STORED = {"float32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16}
#: Calls before a CUDA graph is captured: libraries choose their kernels and take their memory in them.
WARM_UP_CALLS = 3


class TorchRunner:
    """The torch runner."""

    version = str(torch.__version__)
    trains = False

    def devices(self) -> list[str]:
        return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    def environment(self) -> dict[str, str]:
        facts = {"build": " ".join(torch.__config__.show().split())}
        if torch.cuda.is_available():
            facts["cuda"] = str(torch.version.cuda)
            facts["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
            facts |= {"device": torch.cuda.get_device_name()} | device_facts()
        return facts

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "torch")
        require_dtype(request.dtype, tuple(STORED), "torch")
        torch.set_num_threads(request.threads)
        _declare_precision(request.dtype)
        self.device, self.dtype, self.mode = torch.device(request.device), STORED[request.dtype], request.mode
        tensors = {name: self._placed(value) for name, value in read(Path(request.weights)).items()}
        module = import_source(request.source)
        self.forward: Callable[..., Tensor] = _mode(module.load(tensors), self.mode, self.device)

    @torch.inference_mode()
    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        recorded: dict[str, Tensor] = {}
        given = {name: self._placed(value) for name, value in (substitutes or {}).items()}

        def tap(name: str, value: Tensor) -> Tensor:
            if name in taps:
                recorded[name] = value.clone()  # a fast source may overwrite it
            return given[name].clone() if name in given else value

        placed = self._placed(x)
        self._call(lambda: self.forward(placed, tap))()
        devices = {value.device.type for value in recorded.values()}
        return {name: self.fetch(value) for name, value in recorded.items()}, " and ".join(sorted(devices))

    def prepare(self, x: Array) -> Callable[[], Any]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        placed = self._placed(x)
        call = self._call(lambda: self.forward(placed))

        @torch.inference_mode()
        def step() -> Tensor:
            y = call()
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            return y

        return step

    def fetch(self, output: Tensor) -> Array:
        """As NumPy has it; bfloat16 is widened to float32, which loses nothing."""
        value: Array = (output.float() if output.dtype is torch.bfloat16 else output).numpy(force=True)
        return value

    def device_peak_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None

    def _placed(self, value: Array) -> Tensor:
        """`value` on the device, as it is stored there; without a copy where it is so already."""
        return torch.from_numpy(value).to(self.device, self.dtype)

    def _call(self, call: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return captured(call) if self.mode == "graphs" else call


@torch.inference_mode()
def captured(call: Callable[[], Tensor]) -> Callable[[], Tensor]:
    """A function that replays what `call` launches on the GPU, as a CUDA graph: same memory, no work for the CPU.

    https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warm up on a side stream, then capture.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        y = call()

    def replay() -> Tensor:
        graph.replay()
        return y

    return replay


def _declare_precision(dtype: str) -> None:
    """Whether float32 products may be rounded to TF32. Convolutions would be by default, matrix products not.

    Nor may products of bfloat16 be summed in less than float32, which torch allows itself by default.
    """
    allowed = dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction = False


def _mode(model: torch.nn.Module, mode: str, device: torch.device) -> Callable[..., Any]:
    match mode:
        case "eager":
            return model
        case "graphs":
            if device.type != "cuda":
                raise RefusedError("unsupported", f"torch has mode 'graphs' on cuda only, found {device.type}")
            return model
        case "compiled":
            compiled: Callable[..., Any] = torch.compile(model)
            return compiled
        case _:
            raise RefusedError("unsupported", f"torch has no mode {mode!r}")


Runner = TorchRunner
