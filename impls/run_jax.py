"""Runs generated JAX sources."""

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
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

os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # before JAX looks; else it takes most of a GPU

import jax
import jax.numpy as jnp
import jaxlib.version
import numpy as np

PLATFORMS = {"cpu": "cpu", "cuda": "gpu"}
#: How tensors are stored in each precision.
STORED: dict[str, Any] = {"float32": np.float32, "tf32": np.float32, "bf16": jnp.bfloat16}
#: The precisions in which it trains.
TRAINED = ("float32", "tf32")
#: Which arguments a function of the source may overwrite: those that it returns anew.
DONATED = {"train_step": (0, 1)}


class JaxRunner:
    """The JAX runner."""

    version = jax.__version__
    trains = True
    taps = True

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
        self.request = request
        self.device = _device(request.device)
        precision = "tensorfloat32" if request.dtype == "tf32" else "float32"
        jax.config.update("jax_default_matmul_precision", precision)  # type: ignore[no-untyped-call]
        jax.config.update("jax_default_device", self.device)  # type: ignore[no-untyped-call]
        self.module = _imported(request.source)
        self.loaded = self._tree(read(Path(request.weights)))
        self.parameters = self.loaded
        """Those of now: training changes them."""
        self.optimizer_state: Any = None
        """That of the source, once training has begun."""
        self.batch: tuple[Batch, tuple[Any, ...]] | None = None
        """The last batch, and what a step is given of it."""
        self.recipe: dict[str, Callable[..., Any]] = {}
        self.traced = self._mode(partial(_traced, self.module.forward), static_argnums=0)

    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        return self._recorded(taps, x, substitutes, {})

    def prepare(self, x: Array) -> Callable[[], Any]:
        placed = self._placed(x)
        forward = self._mode(self.module.forward)
        return lambda: forward(self.parameters, placed).block_until_ready()

    def fetch(self, output: Any) -> Array:
        return to_canonical(_fetched(output), self.module.LAYOUT)

    def device_peak_bytes(self) -> int | None:
        statistics = self.device.memory_stats() or {}
        peak: int | None = statistics.get("peak_bytes_in_use")
        return peak

    # --- Training ----------------------------------------------------------------------------------------------------

    def gradients(
        self,
        x: Array,
        substitutes: dict[str, Array],
        cotangents: dict[str, Array],
        masks: dict[str, Array],
        labels: Array,
    ) -> tuple[float, dict[str, Array]]:
        self._recipe("gradients")
        network = json.loads(Path(self.request.network).read_text(encoding="utf-8"))
        image, logits = network["input"]["name"], _logits(network)
        pull = self._mode(_pulled, static_argnums=(0, 1, 2))
        loss, parameters, taps = pull(
            self.module,
            logits,
            image,
            self.parameters,
            {image: self._placed(x)} | self._all_placed(substitutes),
            self._all_placed(cotangents),
            _labels(labels),
            **self._masks(masks),
        )
        are_read = {logits, *(name for operator in network["graph"] for name in operator["inputs"])}
        return float(loss), {name: self.fetch(taps[name]) for name in are_read} | self._saved(parameters)

    def train_trace(
        self,
        x: Array,
        substitutes: dict[str, Array] | None,
        masks: dict[str, Array] | None,
        seed: int,
        taps: list[str],
    ) -> tuple[dict[str, Array], str]:
        self._recipe("train_step")
        return self._recorded(taps, x, substitutes, self._drawn(seed, len(x)) if masks is None else self._masks(masks))

    def start(self, velocities: dict[str, Array] | None) -> None:
        self._recipe("train_step")
        self.parameters = jax.tree.map(jnp.copy, self.loaded)  # a step overwrites what it is given
        self.optimizer_state = self.module.start(self.parameters)
        if velocities is not None:
            tree = self._tree(velocities)
            optax = hasattr(self.module, "resumed")
            self.optimizer_state = self.module.resumed(self.optimizer_state, tree) if optax else tree

    def step(self, batch: Batch) -> float:
        self._require_begun()
        if self.batch is None or self.batch[0] is not batch:  # one that is timed is placed once
            placed = self._placed(batch.x), _labels(batch.labels), self._placed(np.asarray(batch.rates))
            self.batch = batch, (placed, self._masks(batch.masks))
        arrays, masks = self.batch[1]
        train_step = self._recipe("train_step")
        self.parameters, self.optimizer_state, loss = jax.block_until_ready(  # type: ignore[no-untyped-call]
            train_step(self.parameters, self.optimizer_state, *arrays, **masks)
        )
        return float(loss)

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        self._require_begun()
        optax = hasattr(self.module, "velocities")
        velocities = self.module.velocities(self.optimizer_state) if optax else self.optimizer_state
        return self._saved(self.parameters), self._saved(velocities)

    def initialise(self, seed: int) -> dict[str, Array]:
        return self._saved(self._recipe("initialise")(jax.random.key(seed)))

    def predict(self, images: Array) -> Array:
        return self.fetch(self._recipe("predict")(self.parameters, self._placed(images)))

    def colour(self, images: Array, eigenvalues: Array, eigenvectors: Array, draws: Array) -> Array:
        arrays = map(self._placed, (images, eigenvalues, eigenvectors, draws))
        return self.fetch(self._recipe("shift_colours")(*arrays))

    def _recipe(self, name: str) -> Callable[..., Any]:
        """A function of the source's recipe, in the mode of this runner; raises RefusedError where there is none."""
        if self.request.dtype not in TRAINED:
            found, known = self.request.dtype, " and ".join(TRAINED)
            raise RefusedError("unsupported", f"jax trains in {known} here, found {found}")
        if not hasattr(self.module, name):
            raise RefusedError("unsupported", f"the generated source has no {name!r}: its spec does not state it")
        if name not in self.recipe:
            self.recipe[name] = self._mode(getattr(self.module, name), donate_argnums=DONATED.get(name, ()))
        return self.recipe[name]

    def _require_begun(self) -> None:
        if self.optimizer_state is None:
            raise RefusedError("bad_request", "expected training to have begun, found none; ask to start first")

    # --- Between the protocol and the source -------------------------------------------------------------------------

    def _mode(self, run: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        match self.request.mode:
            case "compiled":
                return jax.jit(run, **options)
            case "eager":
                return run
            case mode:
                raise RefusedError("unsupported", f"jax has no mode {mode!r}")

    def _recorded(
        self, taps: list[str], x: Array, substitutes: dict[str, Array] | None, masks: dict[str, Any]
    ) -> tuple[dict[str, Array], str]:
        """Taps of one run in canonical layout, and the device that held them."""
        substituted = self._all_placed(substitutes or {})
        recorded = self.traced(tuple(taps), self.parameters, self._placed(x), substituted, **masks)
        platforms = {device.platform for value in recorded.values() for device in value.devices()}
        names = {platform: device for device, platform in PLATFORMS.items()}
        return (
            {name: self.fetch(value) for name, value in recorded.items()},
            " and ".join(sorted(names.get(platform, platform) for platform in platforms)),
        )

    def _placed(self, value: Array) -> jax.Array:
        """`value` on the device, as it is stored there and in the source's layout."""
        stored = from_canonical(value, self.module.LAYOUT).astype(STORED[self.request.dtype], copy=False)
        placed: jax.Array = jax.device_put(stored, self.device)
        return placed

    def _all_placed(self, values: dict[str, Array]) -> dict[str, jax.Array]:
        return {name: self._placed(value) for name, value in values.items()}

    def _tree(self, tensors: dict[str, Array]) -> Any:
        """Tensors by canonical name, in canonical layout, as the source keeps them."""
        stored = STORED[self.request.dtype]
        placed = {name: value.astype(stored, copy=False) for name, value in tensors.items()}
        return self.module.load({name: jax.device_put(value, self.device) for name, value in placed.items()})

    def _saved(self, tree: Any) -> dict[str, Array]:
        """The reverse of `_tree`."""
        return {name: _fetched(value) for name, value in self.module.save(tree).items()}

    def _masks(self, masks: dict[str, Array]) -> dict[str, Any]:
        """The argument of masks; none for a source without dropout. Raises RefusedError for other masks."""
        layout = self.module.LAYOUT
        expected = ", ".join(sorted(self._drawn(0, 1).get("masks", {}))) or "none"
        found = ", ".join(sorted(masks)) or "none"
        if found != expected:
            raise RefusedError("bad_request", f"masks: expected {expected}, found {found:.200}")
        placed = {name: jax.device_put(from_canonical(mask, layout), self.device) for name, mask in masks.items()}
        return {"masks": placed} if masks else {}

    def _drawn(self, seed: int, batch: int) -> dict[str, Any]:
        """As `_masks`, drawn by the source."""
        draw = getattr(self.module, "draw_masks", None)
        return {"masks": draw(jax.random.key(seed), batch)} if draw else {}


def _imported(source: str | None) -> ModuleType:
    """Import a generated source; raises RefusedError, by name, where the environment lacks what it imports (optax)."""
    try:
        return import_source(source)
    except ImportError as error:
        raise RefusedError(
            "missing_framework", f"the generated source needs more of {sys.executable}: {error}"
        ) from None


def _fetched(value: jax.Array) -> Array:
    """A value of the network as NumPy has it; bfloat16 is widened to float32, which loses nothing."""
    return np.asarray(value, np.float32 if value.dtype == jnp.bfloat16 else None)


def _labels(labels: Array) -> jax.Array:
    return jnp.asarray(labels, jnp.int32)


def _logits(network: dict[str, Any]) -> str:
    """The tap that the loss reads: the output, or what a last softmax reads."""
    last = network["graph"][-1]
    name: str = last["inputs"][0] if last["op"] == "softmax" else last["name"]
    return name


def _traced(
    forward: Callable[..., jax.Array],
    taps: tuple[str, ...],
    parameters: Any,
    x: jax.Array,
    substitutes: dict[str, jax.Array],
    **masks: Any,
) -> dict[str, jax.Array]:
    recorded: dict[str, jax.Array] = {}

    def tap(name: str, value: jax.Array) -> jax.Array:
        if name in taps:
            recorded[name] = value
        return substitutes.get(name, value)

    forward(parameters, x, tap, **masks)
    return recorded


def _pulled(
    module: ModuleType,
    logits: str,
    image: str,
    parameters: Any,
    stand_in: dict[str, jax.Array],
    cotangents: dict[str, jax.Array],
    labels: jax.Array,
    **masks: Any,
) -> tuple[jax.Array, Any, dict[str, jax.Array]]:
    """The loss, and what goes back to each parameter and to all that stands in for a tap (the input by its name).

    Every operator reads what stands in, and so its gradient is its own.
    """

    def run(parameters: Any, stand_in: dict[str, jax.Array]) -> tuple[dict[str, jax.Array], jax.Array]:
        recorded: dict[str, jax.Array] = {}

        def tap(name: str, value: jax.Array) -> jax.Array:
            recorded[name] = value
            return stand_in[name]

        module.forward(parameters, stand_in[image], tap, **masks)
        return recorded, module.loss(stand_in[logits], labels)

    (recorded, loss), pull = jax.vjp(run, parameters, stand_in)
    flowing = {name: cotangents.get(name, jnp.zeros_like(value)) for name, value in recorded.items()}
    trained = getattr(module, "trained", lambda tree: tree)
    to_parameters, to_taps = pull((flowing, jnp.ones_like(loss)))
    return loss, trained(to_parameters), to_taps


def _device(name: str) -> Any:
    """The first device of that name, or nothing."""
    try:
        return jax.devices(PLATFORMS[name])[0]
    except RuntimeError:
        return None


Runner = JaxRunner
