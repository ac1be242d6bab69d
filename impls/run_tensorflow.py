"""Runs generated TensorFlow sources."""

import os
from collections.abc import Callable
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

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow loads; else every start prints its build

import tensorflow as tf

KINDS = {"cpu": "CPU", "cuda": "GPU"}


class TensorflowRunner:
    """The TensorFlow runner."""

    version = tf.__version__
    trains = False

    def devices(self) -> list[str]:
        return [name for name, kind in KINDS.items() if tf.config.list_physical_devices(kind)]

    def environment(self) -> dict[str, str]:
        build = tf.sysconfig.get_build_info()
        facts = {"onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "")}
        facts |= {name: str(build.get(f"{name}_version", "none")) for name in ("cuda", "cudnn")}
        return facts | (device_facts() if "cuda" in self.devices() else {})

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "tensorflow")
        require_dtype(request.dtype, ("float32", "tf32"), "tensorflow")
        _set_threads(request.threads)
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        tf.config.experimental.enable_tensor_float_32_execution(request.dtype == "tf32")
        self.device = f"/{KINDS[request.device]}:0"
        self.module = import_source(request.source)
        with tf.device(self.device):
            self.model = self.module.load(read(Path(request.weights)))
        self.mode = request.mode
        self.runs: dict[tuple[str, ...], Callable[..., Any]] = {}

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        layout = self.module.LAYOUT
        run = self.runs.setdefault(tuple(taps), self._run(tuple(taps)))
        with tf.device(self.device):
            given = {name: tf.constant(from_canonical(value, layout)) for name, value in (substitutes or {}).items()}
            recorded = run(tf.constant(from_canonical(x, layout)), given)
        kinds = {tf.DeviceSpec.from_string(value.device).device_type for value in recorded.values()}
        names = {kind: name for name, kind in KINDS.items()}
        return (
            {name: to_canonical(value.numpy(), layout) for name, value in recorded.items()},
            " and ".join(sorted(names.get(kind, str(kind)) for kind in kinds)),
        )

    def prepare(self, x: Array) -> Callable[[], Any]:
        if not self.device.startswith("/CPU"):
            tf.config.experimental.reset_memory_stats(self.device.removeprefix("/"))
        forward = _mode(self.model.forward, self.mode)
        with tf.device(self.device):
            placed = tf.constant(from_canonical(x, self.module.LAYOUT))

        def step() -> tf.Tensor:
            with tf.device(self.device):
                y = forward(placed)
            tf.test.experimental.sync_devices()
            return y

        return step

    def fetch(self, output: Any) -> Array:
        return to_canonical(output.numpy(), self.module.LAYOUT)

    def device_peak_bytes(self) -> int | None:
        if self.device.startswith("/CPU"):
            return None
        return int(tf.config.experimental.get_memory_info(self.device.removeprefix("/"))["peak"])

    def _run(self, taps: tuple[str, ...]) -> Callable[..., Any]:
        def traced(x: tf.Tensor, substitutes: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
            recorded = {}

            def tap(name: str, value: tf.Tensor) -> tf.Tensor:
                if name in taps:
                    recorded[name] = value
                return substitutes.get(name, value)

            self.model.forward(x, tap)
            return recorded

        return _mode(traced, self.mode)


def _mode(run: Callable[..., Any], mode: str) -> Callable[..., Any]:
    match mode:
        case "eager":
            return run
        case "compiled" | "xla":
            compiled: Callable[..., Any] = tf.function(run, jit_compile=mode == "xla")
            return compiled
        case _:
            raise RefusedError("unsupported", f"tensorflow has no mode {mode!r}")


def _set_threads(threads: int) -> None:
    """TensorFlow takes its threads once, before it first computes."""
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise RefusedError("unsupported", f"tensorflow computes already and keeps its threads: {error}") from None


Runner = TensorflowRunner
