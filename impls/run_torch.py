"""Runs generated torch sources."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from impls.protocol import Load, RefusedError
from impls.runner import Array, import_source, require_device, require_forward
from spec.tensors import read

# Weights and inputs are mapped from files, read-only, and shared by all workers; no runner writes to them.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class TorchRunner:
    """The torch runner."""

    version = str(torch.__version__)

    def devices(self) -> list[str]:
        return ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]

    def environment(self) -> dict[str, str]:
        facts = {"build": " ".join(torch.__config__.show().split())}
        if torch.cuda.is_available():
            facts["cuda"] = str(torch.version.cuda)
            facts["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
            facts["device"] = torch.cuda.get_device_name()
        return facts

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "torch")
        torch.set_num_threads(request.threads)
        _declare_precision(request.dtype)
        self.device = torch.device(request.device)
        tensors = {name: torch.from_numpy(value) for name, value in read(Path(request.weights)).items()}
        module = import_source(request.source)
        self.model = module.load(tensors).to(self.device)
        self.forward: Callable[..., Tensor] = _mode(self.model, request.mode)

    @torch.inference_mode()
    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        recorded: dict[str, Tensor] = {}
        given = {name: torch.from_numpy(value).to(self.device) for name, value in (substitutes or {}).items()}

        def tap(name: str, value: Tensor) -> Tensor:
            if name in taps:
                recorded[name] = value
            return given.get(name, value)

        self.forward(torch.from_numpy(x).to(self.device), tap)
        devices = {value.device.type for value in recorded.values()}
        return {name: value.numpy(force=True) for name, value in recorded.items()}, " and ".join(sorted(devices))

    def prepare(self, workload: str, x: Array) -> Callable[[], Any]:
        require_forward(workload, "torch")
        placed = torch.from_numpy(x).to(self.device)

        @torch.inference_mode()
        def step() -> Tensor:
            y = self.forward(placed)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            return y

        return step

    def fetch(self, output: Any) -> Array:
        value: Array = output.numpy(force=True)
        return value

    def device_peak_bytes(self) -> int | None:
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else None


def _declare_precision(dtype: str) -> None:
    """Whether float32 products may be rounded to TF32. Convolutions would be by default, matrix products not."""
    allowed = dtype == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision("high" if allowed else "highest")


def _mode(model: torch.nn.Module, mode: str) -> Callable[..., Any]:
    match mode:
        case "eager":
            return model
        case "compiled":
            compiled: Callable[..., Any] = torch.compile(model)
            return compiled
        case _:
            raise RefusedError("unsupported", f"torch has no mode {mode!r}")


Runner = TorchRunner
