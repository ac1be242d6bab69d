"""Runs generated torch sources."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from impls.device import device_facts
from impls.protocol import Load, RefusedError
from impls.runner import Array, import_source, require_device, require_dtype
from impls.training import Batch
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
    trains = True
    taps = True

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
        self.network = Path(request.network)
        self.source: Any = import_source(request.source)
        self.weights = {name: self._placed(value) for name, value in read(Path(request.weights)).items()}
        self.model = self._made(self.weights)
        self.training: Any = None
        """What the source's `start` gave: velocities, or an optimiser that has them."""

    @torch.inference_mode()
    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        placed, tap, recorded = self._placed(x), *self._recorder(substitutes, taps)
        self.model.eval()
        self._call(lambda: self.model(placed, tap))()
        return self._recorded(recorded)

    def prepare(self, x: Array) -> Callable[[], Any]:
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        placed = self._placed(x)
        self.model.eval()
        call = self._call(lambda: self.model(placed))

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

    def gradients(
        self,
        x: Array,
        substitutes: dict[str, Array],
        cotangents: dict[str, Array],
        masks: dict[str, Array],
        labels: Array,
    ) -> tuple[float, dict[str, Array]]:
        """Every operator reads leaves, so that what flows into a leaf comes from its own readers alone."""
        loss, (before, logits, unread) = self._trainer("loss"), _ends(self.network)
        if logits not in substitutes:
            raise RefusedError("bad_request", f"gradients: expected a substitute for {logits!r}, found none")
        given = substitutes | {before: x}
        leaves = {name: self._placed(value).requires_grad_() for name, value in given.items() if name != unread}
        made: dict[str, Tensor] = {}

        def tap(name: str, value: Tensor) -> Tensor:
            made[name] = value
            return leaves[name].clone() if name in leaves else value  # a fast source may overwrite it

        self.model.train()(leaves[before], tap, **self._masks(masks))
        value = loss(leaves[logits], self._whole(labels))
        parameters = self.source.parameters(self.model)
        wanted = leaves | parameters
        outputs = [value, *(made[name] for name in cotangents)]
        flowing = [torch.ones_like(value), *map(self._placed, cotangents.values())]
        found: tuple[Tensor | None, ...] = torch.autograd.grad(
            outputs, list(wanted.values()), flowing, allow_unused=True
        )
        passed = {name: gradient for name, gradient in zip(wanted, found, strict=True) if gradient is not None}
        still = {name: torch.zeros_like(w) for name, w in parameters.items()}  # nothing flows into their operators
        return value.item(), self._fetched(still | passed)

    def train_trace(
        self,
        x: Array,
        substitutes: dict[str, Array] | None,
        masks: dict[str, Array] | None,
        seed: int,
        taps: list[str],
    ) -> tuple[dict[str, Array], str]:
        """With gradients to come, as in a training step: a fast source may compute otherwise without."""
        self._refuse_what_trains_not()
        placed, tap, recorded = self._placed(x), *self._recorder(substitutes, taps)
        torch.manual_seed(seed)
        self.model.train()(placed, tap, **self._masks(masks))
        return self._recorded(recorded)

    def start(self, velocities: dict[str, Array] | None) -> None:
        """The loaded weights may be mapped from their file: training changes a copy."""
        start = self._trainer("start")
        if self.training is None:
            self.model = self._made({name: value.clone() for name, value in self.weights.items()})
        else:
            for name, value in self.source.save(self.model).items():
                value.copy_(self.weights[name])
        given = {name: self._placed(value) for name, value in (velocities or {}).items()}
        self.training = start(self.model, given or None)

    def step(self, batch: Batch) -> float:
        self._require_start()
        x, labels, masks = self._placed(batch.x), self._whole(batch.labels), self._masks(batch.masks)
        loss: Tensor = self.source.train_step(self.model.train(), self.training, x, labels, batch.rates, **masks)
        return loss.item()

    def state(self) -> tuple[dict[str, Array], dict[str, Array]]:
        self._require_start()
        held = self.training
        velocities = held if isinstance(held, dict) else self.source.velocities(self.model, held)
        return self._fetched(self.source.save(self.model)), self._fetched(velocities)

    def initialise(self, seed: int) -> dict[str, Array]:
        generator = torch.Generator(self.device).manual_seed(seed)
        return self._fetched(self._function("initialise")(generator))

    def predict(self, images: Array) -> Array:
        return self.fetch(self._function("predict")(self.model.eval(), self._placed(images)))

    def colour(self, images: Array, eigenvalues: Array, eigenvectors: Array, draws: Array) -> Array:
        given = (self._placed(value) for value in (images, eigenvalues, eigenvectors, draws))
        return self.fetch(self._function("shift_colours")(*given))

    def _made(self, tensors: dict[str, Tensor]) -> nn.Module:
        model: nn.Module = self.source.load(tensors)
        match self.mode:
            case "eager":
                pass
            case "graphs":
                if self.device.type != "cuda":
                    raise RefusedError("unsupported", f"torch has mode 'graphs' on cuda only, found {self.device.type}")
            case "compiled":
                model.compile()
            case _:
                raise RefusedError("unsupported", f"torch has no mode {self.mode!r}")
        return model

    def _function(self, name: str) -> Callable[..., Any]:
        """A function that the source has if the spec states what it does; raises RefusedError."""
        if not hasattr(self.source, name):
            raise RefusedError(
                "unsupported", f"the generated source has no {name!r}: its spec does not state what it does"
            )
        function: Callable[..., Any] = getattr(self.source, name)
        return function

    def _trainer(self, name: str) -> Callable[..., Any]:
        """A function of the source that trains, in a precision and mode that do; raises RefusedError."""
        self._refuse_what_trains_not()
        return self._function(name)

    def _refuse_what_trains_not(self) -> None:
        if self.dtype is not torch.float32 or self.mode == "graphs":
            found = "graphs" if self.mode == "graphs" else str(self.dtype).removeprefix("torch.")
            raise RefusedError("unsupported", f"torch trains in float32 and tf32, eager and compiled; found {found}")

    def _require_start(self) -> None:
        if self.training is None:
            raise RefusedError("bad_request", "expected training to have begun, found none; ask to start it first")

    def _recorder(
        self, substitutes: dict[str, Array] | None, taps: list[str]
    ) -> tuple[Callable[[str, Tensor], Tensor], dict[str, Tensor]]:
        """A tap, and the values that it records."""
        recorded: dict[str, Tensor] = {}
        given = {name: self._placed(value) for name, value in (substitutes or {}).items()}

        def tap(name: str, value: Tensor) -> Tensor:
            if name in taps:
                recorded[name] = value.clone()  # a fast source may overwrite it
            return given[name].clone() if name in given else value

        return tap, recorded

    def _recorded(self, recorded: dict[str, Tensor]) -> tuple[dict[str, Array], str]:
        devices = {value.device.type for value in recorded.values()}
        return self._fetched(recorded), " and ".join(sorted(devices))

    def _fetched(self, tensors: dict[str, Tensor]) -> dict[str, Array]:
        return {name: self.fetch(value) for name, value in tensors.items()}

    def _placed(self, value: Array) -> Tensor:
        """`value` on the device, as it is stored there; without a copy where it is so already."""
        return torch.from_numpy(value).to(self.device, self.dtype)

    def _whole(self, value: Array) -> Tensor:
        """Labels or a mask on the device, as they are."""
        return torch.from_numpy(value).to(self.device)

    def _masks(self, masks: dict[str, Array] | None) -> dict[str, dict[str, Tensor]]:
        """The argument of that name; none for a network without dropouts, or one that draws for itself."""
        return {"masks": {name: self._whole(mask) for name, mask in masks.items()}} if masks else {}

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


def _ends(network: Path) -> tuple[str, str, str | None]:
    """The names of a network's input, of its logits, and of a last softmax behind these, which nothing reads."""
    described = json.loads(network.read_text(encoding="utf-8"))
    last = described["graph"][-1]
    softmax = last["op"] == "softmax"
    return described["input"]["name"], last["inputs"][0] if softmax else last["name"], last["name"] if softmax else None


Runner = TorchRunner
