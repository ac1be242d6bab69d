"""Runs generated JAX sources."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from impls.device import device_facts
from impls.protocol import Load, RefusedError
from impls.runner import (
    Array,
    from_canonical,
    import_source,
    require_device,
    require_dtype,
    to_canonical,
)
from spec.tensors import read

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX looks; else it takes most of a GPU

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

PLATFORMS = {"cpu": "cpu", "cuda": "gpu"}
#: How tensors are stored in each precision.
STORED: dict[str, Any] = {"float32": np.float32, "tf32": np.float32, "bf16": jnp.bfloat16}


class JaxRunner:
    """The JAX runner."""

    version = jax.__version__
    trains = False

    def devices(self) -> list[str]:
        return [device for device in PLATFORMS if _device(device) is not None]

    def environment(self) -> dict[str, str]:
        facts = {"jaxlib": jaxlib.version.__version__, "xla_flags": os.environ.get("XLA_FLAGS", "")}
        device = _device("cuda")
        if device is None:
            return facts
        return facts | {"cuda": device.client.platform_version} | device_facts()

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "jax")
        require_dtype(request.dtype, tuple(STORED), "jax")
        self.dtype = STORED[request.dtype]
        self.device = _device(request.device)
        precision = "tensorfloat32" if request.dtype == "tf32" else "float32"
        jax.config.update("jax_default_matmul_precision", precision)  # type: ignore[no-untyped-call]
        self.module = import_source(request.source)
        with jax.default_device(self.device):
            tensors = {name: self._placed(value) for name, value in read(Path(request.weights)).items()}
        self.parameters = self.module.load(tensors)
        self.mode = request.mode
        run = partial(_traced, self.module.forward)
        self.run: Callable[..., dict[str, jax.Array]] = _mode(run, self.mode, static_argnums=0)

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        layout = self.module.LAYOUT
        with jax.default_device(self.device):
            placed = self._placed(from_canonical(x, layout))
            given = {name: self._placed(from_canonical(value, layout)) for name, value in (substitutes or {}).items()}
            recorded = self.run(tuple(taps), self.parameters, placed, given)
        platforms = {device.platform for value in recorded.values() for device in value.devices()}
        names = {platform: device for device, platform in PLATFORMS.items()}
        return (
            {name: to_canonical(_fetched(value), layout) for name, value in recorded.items()},
            " and ".join(sorted(names.get(platform, platform) for platform in platforms)),
        )

    def prepare(self, x: Array) -> Callable[[], Any]:
        placed = self._placed(from_canonical(x, self.module.LAYOUT))
        forward = _mode(self.module.forward, self.mode)
        return lambda: forward(self.parameters, placed).block_until_ready()

    def fetch(self, output: Any) -> Array:
        return to_canonical(_fetched(output), self.module.LAYOUT)

    def device_peak_bytes(self) -> int | None:
        statistics = self.device.memory_stats() or {}
        peak: int | None = statistics.get("peak_bytes_in_use")
        return peak

    def _placed(self, value: Array) -> jax.Array:
        """`value` on the device, as it is stored there."""
        placed: jax.Array = jax.device_put(value.astype(self.dtype, copy=False), self.device)
        return placed


def _fetched(value: jax.Array) -> Array:
    """A value of the network as NumPy has it; bfloat16 is widened to float32, which loses nothing."""
    return np.asarray(value, np.float32 if value.dtype == jnp.bfloat16 else None)


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
