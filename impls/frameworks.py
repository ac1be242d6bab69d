"""The frameworks, and the variants in which each can run a network. Standard library only: workers import it too."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

FrameworkName = Literal["torch", "jax", "tensorflow", "onnx"]
Device = Literal["cpu", "cuda"]
Dtype = Literal["float32", "tf32", "bf16"]
Mode = Literal["eager", "compiled", "xla", "graphs", "reference"]
Lowering = Literal["native", "fast"]

FRAMEWORKS: tuple[FrameworkName, ...] = get_args(FrameworkName)
DEVICES: tuple[Device, ...] = get_args(Device)
DTYPES: tuple[Dtype, ...] = get_args(Dtype)
LOWERINGS: tuple[Lowering, ...] = get_args(Lowering)

#: How each framework can run a generated source; the first is what its users do.
MODES: dict[FrameworkName, tuple[Mode, ...]] = {
    "torch": ("eager", "compiled", "graphs"),
    "jax": ("compiled", "eager"),
    "tensorflow": ("compiled", "eager", "xla"),
    "onnx": ("compiled", "reference"),
}


#: Modes that only a GPU has; elsewhere a worker refuses them by name.
CUDA_MODES: tuple[Mode, ...] = ("graphs",)


@dataclass(frozen=True)
class Variant:
    """One way to run a network: what a column of the conformance matrix stands for."""

    framework: str
    """One of FRAMEWORKS, or the name that the user gave to a runner of their own."""
    device: Device
    dtype: Dtype
    """`tf32`: float32 tensors, operands of products rounded to TF32. `bf16`: all tensors stored as bfloat16."""
    mode: str
    lowering: str

    def __str__(self) -> str:
        return f"{self.framework} {self.device} {self.dtype} {self.mode} {self.lowering}"

    def fields(self) -> dict[str, str]:
        """The variant as reports write it."""
        return asdict(self)
