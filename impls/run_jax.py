"""Runs generated JAX sources."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from impls.protocol import Load, RefusedError
from impls.runner import Array, from_canonical, import_source, require_device, require_forward, to_canonical
from spec.tensors import read

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX looks; else it takes most of a GPU

import jax
import jaxlib.version
import numpy as np

PLATFORMS = {"cpu": "cpu", "cuda": "gpu"}


class JaxRunner:
    """The JAX runner."""

    version = jax.__version__

    def devices(self) -> list[str]:
        return [device for device in PLATFORMS if _device(device) is not None]

    def environment(self) -> dict[str, str]:
        facts = {"jaxlib": jaxlib.version.__version__, "xla_flags": os.environ.get("XLA_FLAGS", "")}
        device = _device("cuda")
        return facts | ({"device": device.device_kind} if device is not None else {})

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "jax")
        self.device = _device(request.device)
        precision = "tensorfloat32" if request.dtype == "tf32" else "float32"
        jax.config.update("jax_default_matmul_precision", precision)  # type: ignore[no-untyped-call]
        self.module = import_source(request.source)
        with jax.default_device(self.device):
            tensors = {name: jax.device_put(value, self.device) for name, value in read(Path(request.weights)).items()}
        self.parameters = self.module.load(tensors)
        self.mode = request.mode
        run = partial(_traced, self.module.forward)
        self.run: Callable[..., dict[str, jax.Array]] = _mode(run, self.mode, static_argnums=0)

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        layout = self.module.LAYOUT
        given = {name: from_canonical(value, layout) for name, value in (substitutes or {}).items()}
        with jax.default_device(self.device):
            placed, given_placed = jax.device_put((from_canonical(x, layout), given), self.device)
            recorded = self.run(tuple(taps), self.parameters, placed, given_placed)
        platforms = {device.platform for value in recorded.values() for device in value.devices()}
        names = {platform: device for device, platform in PLATFORMS.items()}
        return (
            {name: to_canonical(np.asarray(value), layout) for name, value in recorded.items()},
            " and ".join(sorted(names.get(platform, platform) for platform in platforms)),
        )

    def prepare(self, workload: str, x: Array) -> Callable[[], Any]:
        require_forward(workload, "jax")
        placed = jax.device_put(from_canonical(x, self.module.LAYOUT), self.device)
        forward = _mode(self.module.forward, self.mode)
        return lambda: forward(self.parameters, placed).block_until_ready()

    def fetch(self, output: Any) -> Array:
        return to_canonical(np.asarray(output), self.module.LAYOUT)

    def device_peak_bytes(self) -> int | None:
        statistics = self.device.memory_stats() or {}
        peak: int | None = statistics.get("peak_bytes_in_use")
        return peak


def _traced(
    forward: Callable[..., jax.Array],
    taps: tuple[str, ...],
    parameters: Any,
    x: jax.Array,
    substitutes: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    recorded: dict[str, jax.Array] = {}

    def tap(name: str, value: jax.Array) -> jax.Array:
        if name in taps:
            recorded[name] = value
        return substitutes.get(name, value)

    forward(parameters, x, tap)
    return recorded


def _device(name: str) -> Any:
    """The first device of that name, or nothing."""
    try:
        return jax.devices(PLATFORMS[name])[0]
    except RuntimeError:
        return None


def _mode(run: Callable[..., Any], mode: str, **options: Any) -> Callable[..., Any]:
    match mode:
        case "compiled":
            return jax.jit(run, **options)
        case "eager":
            return run
        case _:
            raise RefusedError("unsupported", f"jax has no mode {mode!r}")


Runner = JaxRunner
