"""torchvision's own networks as a worker: `python -m conformance.outside.run_torchvision`.

The model is torchvision's, and so is its forward pass: torch.fx says in which order that calls modules and functions,
and these are the operators of the spec, in its order.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, fx, nn
from torchvision import models

from impls.protocol import Load, RefusedError
from impls.runner import Array, require_device, require_dtype
from impls.worker import serve
from spec.tensors import read

#: How torchvision makes the network of a spec, by the spec's name.
MODELS: dict[str, Callable[[], nn.Module]] = {
    "alexnet_owt": models.alexnet,
    "googlenet_torchvision": lambda: models.googlenet(aux_logits=False, init_weights=False),
    "resnet18": models.resnet18,
    "vgg11": models.vgg11,
}
#: What leaves a value as it is at this size of images, and a spec therefore leaves out.
IDENTITIES = {"alexnet_owt": ("avgpool",), "vgg11": ("avgpool",)}


class TorchvisionRunner:
    """A network of torchvision, with weights by canonical names."""

    version = str(torchvision.__version__)
    taps = True
    trains = False

    def devices(self) -> list[str]:
        return ["cpu"]

    def environment(self) -> dict[str, str]:
        return {"torch": str(torch.__version__)}

    def load(self, request: Load) -> None:
        require_device(request.device, self.devices(), "torchvision")
        require_dtype(request.dtype, ("float32",), "torchvision")
        torch.set_num_threads(request.threads)
        described = json.loads(Path(request.network).read_text(encoding="utf-8"))
        name = described["name"]
        if name not in MODELS:
            raise RefusedError(
                "unsupported", f"expected a network that torchvision has: {', '.join(MODELS)}; found {name}"
            )
        self.model = MODELS[name]().eval()
        names = [tensor for operator in described["graph"] for tensor in operator["tensors"]]
        self.model.load_state_dict(_by_its_own_names(self.model, names, read(Path(request.weights))), strict=False)
        self.graph = fx.symbolic_trace(self.model)
        taps = [operator["name"] for operator in described["graph"]]
        nodes = [
            node
            for node in self.graph.graph.nodes
            if node.op in ("call_module", "call_function") and node.target not in IDENTITIES.get(name, ())
        ]
        if len(nodes) != len(taps):
            raise RefusedError("failed", f"expected {len(taps)} operators, found {len(nodes)}")
        self.taps_of = dict(zip(nodes, taps, strict=True))

    @torch.inference_mode()
    def trace(self, x: Array, substitutes: dict[str, Array] | None, taps: list[str]) -> tuple[dict[str, Array], str]:
        images, last = torch.from_numpy(x.copy()), list(self.taps_of.values())[-1:]
        if taps == last and not substitutes:  # the model as anyone calls it
            return {last[0]: self.model(images).numpy()}, "cpu"
        given = {name: torch.from_numpy(value.copy()) for name, value in (substitutes or {}).items()}
        recorder = _Recorder(self.graph, self.taps_of, given)
        recorder.run(images)
        return {name: recorder.recorded[name].numpy() for name in taps}, "cpu"

    def prepare(self, x: Array) -> Callable[[], Any]:
        images = torch.from_numpy(x.copy())
        return torch.inference_mode()(lambda: self.model(images))

    def fetch(self, output: Tensor) -> Array:
        value: Array = output.numpy()
        return value

    def device_peak_bytes(self) -> int | None:
        return None


class _Recorder(fx.Interpreter):
    """Runs a model call by call; records what each gives, and lets later ones read another value."""

    def __init__(self, graph: fx.GraphModule, taps: dict[fx.Node, str], given: dict[str, Tensor]) -> None:
        super().__init__(graph)
        self.taps, self.given = taps, given
        self.recorded: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        name = self.taps.get(n)
        if name is None:
            return value
        self.recorded[name] = value.clone()  # a later operator may overwrite it
        return self.given[name].clone() if name in self.given else value


def _by_its_own_names(model: nn.Module, names: list[str], tensors: dict[str, Array]) -> dict[str, Tensor]:
    """Canonical tensors by torchvision's names: both have them in the order in which they are used."""
    own = {name: value for name, value in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    shapes = [tuple(value.shape) for value in own.values()]
    if shapes != [tensors[name].shape for name in names]:
        raise RefusedError("failed", f"expected tensors of the shapes of torchvision's {len(own)}, found others")
    return {theirs: torch.from_numpy(tensors[name].copy()) for theirs, name in zip(own, names, strict=True)}


if __name__ == "__main__":
    serve("torchvision", TorchvisionRunner)
