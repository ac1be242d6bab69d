"""Runs generated TensorFlow sources."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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
from impls.training import Batch
from spec.tensors import read

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow loads; else every start prints its build
os.environ["KERAS_BACKEND"] = "tensorflow"  # the optimisers of tf.keras work on no other

import tensorflow as tf

KINDS = {"cpu": "CPU", "cuda": "GPU"}

Tensors = dict[str, tf.Tensor]


class TensorflowRunner:
    """The TensorFlow runner."""

    version = tf.__version__
    trains = True
    taps = True

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
        self.device, self.mode = f"/{KINDS[request.device]}:0", request.mode
        self.module = import_source(request.source)
        self.network, self.tensors = Path(request.network), read(Path(request.weights))
        with tf.device(self.device):
            self.model = self.module.load(self.tensors)
        self.runs: dict[tuple[str, ...], Callable[..., Any]] = {}
        self.local_gradients = _mode(self._local_gradients, self.mode)
        self.train_step = _mode(self._train_step, self.mode)
        self.prediction = _mode(self._prediction, self.mode)
        self.batch: tuple[Batch, list[Any]] | None = None

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        return self._recorded(x, substitutes, taps, {})

    def prepare(self, x: Array) -> Callable[[], Any]:
        self._forget_peak()
        forward = _mode(self.model.forward, self.mode)
        with tf.device(self.device):
            placed = self._image(x)

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

    # --- Training ----------------------------------------------------------------------------------------------------

    def gradients(
        self,
        x: Array,
        substitutes: dict[str, Array],
        cotangents: dict[str, Array],
        masks: dict[str, Array],
        labels: Array,
    ) -> tuple[float, dict[str, Array]]:
        with tf.device(self.device):
            value, to_taps, to_parameters = self.local_gradients(
                self._image(x),
                self._images(substitutes),
                self._images(cotangents),
                self._masks(masks),
                tf.constant(labels),
            )
        found = {name: self.fetch(gradient) for name, gradient in to_taps.items()}
        return float(value), found | self.module.canonical(to_parameters)

    def train_trace(
        self,
        x: Array,
        substitutes: dict[str, Array] | None,
        masks: dict[str, Array] | None,
        seed: int,
        taps: list[str],
    ) -> tuple[dict[str, Array], str]:
        with tf.device(self.device):
            kept = self._drawn_masks(seed, len(x)) if masks is None else self._masks(masks)
        return self._recorded(x, substitutes, taps, kept)

    def start(self, velocities: dict[str, Array] | None) -> None:
        """Begin again from what was loaded, with the same variables, so that nothing is traced anew."""
        self._forget_peak()
        with tf.device(self.device):
            loaded = self.module.load(self.tensors)
            for variable, value in zip(self.model.variables, loaded.variables, strict=True):
                variable.assign(value)
            self.optimizer = self._of_source("start")(self.model, velocities)

    def step(self, batch: Batch) -> float:
        with tf.device(self.device):
            loss = self.train_step(self.optimizer, *self._placed(batch))
        tf.test.experimental.sync_devices()
        return float(loss)

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        velocities = self.module.velocities(self.optimizer) if hasattr(self.module, "velocities") else self.optimizer
        return self.module.save(self.model), self.module.canonical(velocities)

    def initialise(self, seed: int) -> dict[str, Array]:
        with tf.device(self.device):
            model = self._of_source("initialise")(tf.random.Generator.from_seed(seed))
        saved: dict[str, Array] = self.module.save(model)
        return saved

    def predict(self, images: Array) -> Array:
        with tf.device(self.device):
            return self.fetch(self.prediction(self._image(images)))

    def colour(self, images: Array, eigenvalues: Array, eigenvectors: Array, draws: Array) -> Array:
        shift = _mode(self._of_source("shift_colours"), self.mode)
        with tf.device(self.device):
            axes = [tf.constant(value, tf.float32) for value in (eigenvalues, eigenvectors, draws)]
            return self.fetch(shift(self._image(images), *axes))

    # --- What is compiled --------------------------------------------------------------------------------------------

    def _run(self, taps: tuple[str, ...]) -> Callable[..., Any]:
        def traced(x: tf.Tensor, substitutes: Tensors, masks: Tensors) -> Tensors:
            recorded = {}

            def tap(name: str, value: tf.Tensor) -> tf.Tensor:
                if name in taps:
                    recorded[name] = value
                return substitutes.get(name, value)

            self.model.forward(x, tap, **_given(masks))
            return recorded

        return _mode(traced, self.mode)

    def _local_gradients(
        self, x: tf.Tensor, leaves: Tensors, cotangents: Tensors, masks: Tensors, labels: tf.Tensor
    ) -> tuple[tf.Tensor, Tensors, Tensors]:
        """The loss, and the gradients of taps and parameters, each of one operator: all read leaves of their own."""
        network = _network(self.network)
        outputs = {}

        def tap(name: str, value: tf.Tensor) -> tf.Tensor:
            outputs[name] = value
            return leaves[name]

        with tf.GradientTape() as tape:
            tape.watch([x, leaves])
            self.model.forward(x, tap, **_given(masks))
            value = self.module.loss(leaves[network.logits], labels)
        read = {name: leaf for name, leaf in leaves.items() if name in network.read} | {network.input: x}
        to_taps, to_parameters = tape.gradient(
            [value, *(outputs[name] for name in cotangents)],
            [read, self.module.parameters(self.model)],
            output_gradients=[tf.ones_like(value), *cotangents.values()],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        return value, to_taps, to_parameters

    def _train_step(
        self, optimizer: Mapping[str, Any], x: tf.Tensor, labels: tf.Tensor, rates: tf.Tensor, masks: Tensors
    ) -> tf.Tensor:
        return self.module.train_step(self.model, optimizer, x, labels, rates, **_given(masks))

    def _prediction(self, images: tf.Tensor) -> tf.Tensor:
        return self._of_source("predict")(self.model, images)

    # --- From and to the suite's arrays ------------------------------------------------------------------------------

    def _recorded(
        self, x: Array, substitutes: dict[str, Array] | None, taps: list[str], masks: Tensors
    ) -> tuple[dict[str, Array], str]:
        """The taps of one run in canonical layout, and the device that held them."""
        run = self.runs.setdefault(tuple(taps), self._run(tuple(taps)))
        with tf.device(self.device):
            recorded = run(self._image(x), self._images(substitutes or {}), masks)
        kinds = {tf.DeviceSpec.from_string(value.device).device_type for value in recorded.values()}
        names = {kind: name for name, kind in KINDS.items()}
        return (
            {name: self.fetch(value) for name, value in recorded.items()},
            " and ".join(sorted(names.get(kind, str(kind)) for kind in kinds)),
        )

    def _image(self, x: Array) -> tf.Tensor:
        return tf.constant(from_canonical(x, self.module.LAYOUT))

    def _images(self, values: dict[str, Array]) -> Tensors:
        return {name: self._image(value) for name, value in values.items()}

    def _masks(self, masks: dict[str, Array]) -> Tensors:
        """The mask of each dropout; raises RefusedError where they are not those of the network."""
        expected = _network(self.network).dropouts
        if masks.keys() != expected:
            found = ", ".join(sorted(masks)) or "none"
            raise RefusedError("bad_request", f"masks: expected {', '.join(sorted(expected)) or 'none'}, found {found}")
        return self._images(masks)

    def _drawn_masks(self, seed: int, batch: int) -> Tensors:
        generator = tf.random.Generator.from_seed(seed)
        drawn: Tensors = self.module.draw_masks(generator, batch) if _network(self.network).dropouts else {}
        return drawn

    def _placed(self, batch: Batch) -> list[Any]:
        """A batch as the source takes it; one that comes again is not copied again."""
        if self.batch is None or self.batch[0] is not batch:
            masks, rates = self._masks(batch.masks), tf.constant(batch.rates, tf.float32)
            self.batch = batch, [self._image(batch.x), tf.constant(batch.labels), rates, masks]
        return self.batch[1]

    def _of_source(self, function: str) -> Callable[..., Any]:
        """A function that a source has only if its spec has the section for it; raises RefusedError."""
        found: Callable[..., Any] | None = getattr(self.module, function, None)
        if found is None:
            raise RefusedError("unsupported", f"the source has no function {function!r}: its spec lacks the section")
        return found

    def _forget_peak(self) -> None:
        if not self.device.startswith("/CPU"):
            tf.config.experimental.reset_memory_stats(self.device.removeprefix("/"))


@dataclass(frozen=True)
class _Network:
    """What gradients need to know of a network, from its JSON."""

    input: str
    logits: str
    """The tap that the loss reads: what the last operator reads if that is a softmax, or its output."""
    read: frozenset[str]
    """The taps that an operator or the loss reads."""
    dropouts: frozenset[str]


def _network(path: Path) -> _Network:
    described = json.loads(path.read_text(encoding="utf-8"))
    graph = described["graph"]
    logits = graph[-1]["inputs"][0] if graph[-1]["op"] == "softmax" else graph[-1]["name"]
    return _Network(
        input=described["input"]["name"],
        logits=logits,
        read=frozenset([logits, *(name for operator in graph for name in operator["inputs"])]),
        dropouts=frozenset(operator["name"] for operator in graph if operator["op"] == "dropout"),
    )


def _given(masks: Tensors) -> dict[str, Tensors]:
    """Masks as an argument: a source without dropouts takes none."""
    return {"masks": masks} if masks else {}


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
