"""AlexNet, the network of the paper, in torch, fast lowering.

Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYOUT = "NCHW"

Tap = Callable[[str, Tensor], Tensor]


def no_tap(_name: str, value: Tensor) -> Tensor:
    """Leave every value as it is."""
    return value


def on_eager_cpu(x: Tensor) -> bool:
    """Whether each operator runs by itself on a CPU, where its caches and libraries decide about the speed."""
    return x.is_cpu and not torch.compiler.is_compiling()


def dense(x: Tensor, linear: nn.Linear) -> Tensor:
    """Evaluate `linear`; on a CPU by oneDNN, which reads large weights quicker than torch's default does."""
    by_onednn = on_eager_cpu(x) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    y: Tensor = linear(x.to_mkldnn()).to_dense() if by_onednn else linear(x)
    return y


def local_response_norm(x: Tensor, n: int, k: float, alpha: float, beta: float) -> Tensor:
    """Multiply by (k + alpha · Σ x²)^-beta over n neighbouring channels, in place; alpha multiplies the sum.

    On a CPU image by image, so that what is computed on the way stays in the cache.
    """
    for part in x.chunk(len(x)) if on_eager_cpu(x) else [x]:
        part.mul_(power(part, n, k, alpha, beta))
    return x


def power(x: Tensor, n: int, k: float, alpha: float, beta: float) -> Tensor:
    """(k + alpha · Σ x²)^-beta."""
    channels = x.shape[1]
    squares = F.pad(x * x, (0, 0, 0, 0, n // 2, n // 2))
    sums = squares[:, :channels].clone()
    for shift in range(1, n):
        sums += squares[:, shift : shift + channels]
    denominator = sums.mul_(alpha).add_(k)
    if beta == 0.75:
        root = denominator.rsqrt_()
        return root.rsqrt().mul_(root).mul_(root)  # r^-1/2 · r · r, which is quicker than a power
    return denominator.pow_(-beta)


class AlexNet(nn.Module):
    """(N, 3, 227, 227) → (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4)  # §3.5
        self.pool1 = nn.MaxPool2d(3, stride=2)  # §3.4
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2)  # §3.5
        self.pool2 = nn.MaxPool2d(3, stride=2)  # §3.4
        self.conv3 = nn.Conv2d(256, 384, kernel_size=3, padding=1)  # §3.5
        self.conv4 = nn.Conv2d(384, 384, kernel_size=3, padding=1, groups=2)  # §3.5
        self.conv5 = nn.Conv2d(384, 256, kernel_size=3, padding=1, groups=2)  # §3.5
        self.pool5 = nn.MaxPool2d(3, stride=2)  # §3.4
        self.fc6 = nn.Linear(9216, 4096)  # §3.5
        self.fc7 = nn.Linear(4096, 4096)  # §3.5
        self.fc8 = nn.Linear(4096, 1000)  # §3.5

    def forward(self, x: Tensor, tap: Tap = no_tap) -> Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next."""
        x = x.contiguous(memory_format=torch.channels_last)  # as torch's convolutions are quickest
        x = tap("conv1", self.conv1(x))  # (N, 96, 55, 55)  §3.5
        x = tap("relu1", F.relu_(x))  # (N, 96, 55, 55)  §3.1
        x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 96, 55, 55)  §3.3
        x = tap("pool1", self.pool1(x))  # (N, 96, 27, 27)  §3.4
        x = tap("conv2", self.conv2(x))  # (N, 256, 27, 27)  §3.5
        x = tap("relu2", F.relu_(x))  # (N, 256, 27, 27)  §3.1
        x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))  # (N, 256, 27, 27)  §3.3
        x = tap("pool2", self.pool2(x))  # (N, 256, 13, 13)  §3.4
        x = tap("conv3", self.conv3(x))  # (N, 384, 13, 13)  §3.5
        x = tap("relu3", F.relu_(x))  # (N, 384, 13, 13)  §3.1
        x = tap("conv4", self.conv4(x))  # (N, 384, 13, 13)  §3.5
        x = tap("relu4", F.relu_(x))  # (N, 384, 13, 13)  §3.1
        x = tap("conv5", self.conv5(x))  # (N, 256, 13, 13)  §3.5
        x = tap("relu5", F.relu_(x))  # (N, 256, 13, 13)  §3.1
        x = tap("pool5", self.pool5(x))  # (N, 256, 6, 6)  §3.4
        x = tap("flatten", torch.flatten(x, 1))  # (N, 9216)  §3.5
        x = tap("fc6", dense(x, self.fc6))  # (N, 4096)  §3.5
        x = tap("relu6", F.relu_(x))  # (N, 4096)  §3.1
        x = tap("drop6", x * 0.5)  # (N, 4096)  §4.2
        x = tap("fc7", dense(x, self.fc7))  # (N, 4096)  §3.5
        x = tap("relu7", F.relu_(x))  # (N, 4096)  §3.1
        x = tap("drop7", x * 0.5)  # (N, 4096)  §4.2
        return tap("fc8", dense(x, self.fc8))  # (N, 1000)  §3.5


def load(tensors: dict[str, Tensor]) -> AlexNet:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts)."""
    with torch.device("meta"):
        model = AlexNet()
    tensors = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in tensors.items()
    }
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
