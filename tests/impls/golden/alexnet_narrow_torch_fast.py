"""A narrow AlexNet for quick tests, in torch, fast lowering.

Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
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


class AlexNetNarrow(nn.Module):
    """(N, 3, 135, 99) → (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=11, stride=4)  # the paper's layers, fewer channels
        self.pool1 = nn.MaxPool2d(3, stride=2)  # the paper's layers, fewer channels
        self.conv2 = nn.Conv2d(8, 20, kernel_size=5, padding=2, groups=2)  # the paper's layers, fewer channels
        self.pool2 = nn.MaxPool2d(3, stride=2)  # the paper's layers, fewer channels
        self.conv3 = nn.Conv2d(20, 24, kernel_size=3, padding=1)  # the paper's layers, fewer channels
        self.conv4 = nn.Conv2d(24, 28, kernel_size=3, padding=1, groups=2)  # the paper's layers, fewer channels
        self.conv5 = nn.Conv2d(28, 12, kernel_size=3, padding=1, groups=2)  # the paper's layers, fewer channels
        self.pool5 = nn.MaxPool2d(3, stride=2)  # the paper's layers, fewer channels
        self.fc6 = nn.Linear(72, 40)  # the paper's layers, fewer channels
        self.fc7 = nn.Linear(40, 36)  # the paper's layers, fewer channels
        self.fc8 = nn.Linear(36, 10)  # the paper's layers, fewer channels

    def forward(self, x: Tensor, tap: Tap = no_tap) -> Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next."""
        x = x.contiguous(memory_format=torch.channels_last)  # as torch's convolutions are quickest
        x = tap("conv1", self.conv1(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
        x = tap("relu1", F.relu_(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
        # (N, 8, 32, 23)  the paper's layers, fewer channels
        x = tap("norm1", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool1", self.pool1(x))  # (N, 8, 15, 11)  the paper's layers, fewer channels
        x = tap("conv2", self.conv2(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
        x = tap("relu2", F.relu_(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
        # (N, 20, 15, 11)  the paper's layers, fewer channels
        x = tap("norm2", local_response_norm(x, n=5, k=2.0, alpha=0.0001, beta=0.75))
        x = tap("pool2", self.pool2(x))  # (N, 20, 7, 5)  the paper's layers, fewer channels
        x = tap("conv3", self.conv3(x))  # (N, 24, 7, 5)  the paper's layers, fewer channels
        x = tap("relu3", F.relu_(x))  # (N, 24, 7, 5)  the paper's layers, fewer channels
        x = tap("conv4", self.conv4(x))  # (N, 28, 7, 5)  the paper's layers, fewer channels
        x = tap("relu4", F.relu_(x))  # (N, 28, 7, 5)  the paper's layers, fewer channels
        x = tap("conv5", self.conv5(x))  # (N, 12, 7, 5)  the paper's layers, fewer channels
        x = tap("relu5", F.relu_(x))  # (N, 12, 7, 5)  the paper's layers, fewer channels
        x = tap("pool5", self.pool5(x))  # (N, 12, 3, 2)  the paper's layers, fewer channels
        x = tap("flatten", torch.flatten(x, 1))  # (N, 72)  the paper's layers, fewer channels
        x = tap("fc6", dense(x, self.fc6))  # (N, 40)  the paper's layers, fewer channels
        x = tap("relu6", F.relu_(x))  # (N, 40)  the paper's layers, fewer channels
        x = tap("drop6", x * 0.5)  # (N, 40)  the paper's layers, fewer channels
        x = tap("fc7", dense(x, self.fc7))  # (N, 36)  the paper's layers, fewer channels
        x = tap("relu7", F.relu_(x))  # (N, 36)  the paper's layers, fewer channels
        x = tap("drop7", x * 0.5)  # (N, 36)  the paper's layers, fewer channels
        return tap("fc8", dense(x, self.fc8))  # (N, 10)  the paper's layers, fewer channels


def load(tensors: dict[str, Tensor]) -> AlexNetNarrow:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts)."""
    with torch.device("meta"):
        model = AlexNetNarrow()
    tensors = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in tensors.items()
    }
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
