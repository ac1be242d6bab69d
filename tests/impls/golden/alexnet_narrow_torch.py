"""A narrow AlexNet for quick tests, in torch.

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


class AlexNetNarrow(nn.Module):
    """(N, 3, 135, 99) → (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, kernel_size=11, stride=4)  # the paper's layers, fewer channels
        # torch divides alpha by 5; the paper's layers, fewer channels
        self.norm1 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
        self.pool1 = nn.MaxPool2d(3, stride=2)  # the paper's layers, fewer channels
        self.conv2 = nn.Conv2d(8, 20, kernel_size=5, padding=2, groups=2)  # the paper's layers, fewer channels
        # torch divides alpha by 5; the paper's layers, fewer channels
        self.norm2 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)
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
        x = tap("conv1", self.conv1(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
        x = tap("relu1", F.relu(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
        x = tap("norm1", self.norm1(x))  # (N, 8, 32, 23)  the paper's layers, fewer channels
        x = tap("pool1", self.pool1(x))  # (N, 8, 15, 11)  the paper's layers, fewer channels
        x = tap("conv2", self.conv2(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
        x = tap("relu2", F.relu(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
        x = tap("norm2", self.norm2(x))  # (N, 20, 15, 11)  the paper's layers, fewer channels
        x = tap("pool2", self.pool2(x))  # (N, 20, 7, 5)  the paper's layers, fewer channels
        x = tap("conv3", self.conv3(x))  # (N, 24, 7, 5)  the paper's layers, fewer channels
        x = tap("relu3", F.relu(x))  # (N, 24, 7, 5)  the paper's layers, fewer channels
        x = tap("conv4", self.conv4(x))  # (N, 28, 7, 5)  the paper's layers, fewer channels
        x = tap("relu4", F.relu(x))  # (N, 28, 7, 5)  the paper's layers, fewer channels
        x = tap("conv5", self.conv5(x))  # (N, 12, 7, 5)  the paper's layers, fewer channels
        x = tap("relu5", F.relu(x))  # (N, 12, 7, 5)  the paper's layers, fewer channels
        x = tap("pool5", self.pool5(x))  # (N, 12, 3, 2)  the paper's layers, fewer channels
        x = tap("flatten", torch.flatten(x, 1))  # (N, 72)  the paper's layers, fewer channels
        x = tap("fc6", self.fc6(x))  # (N, 40)  the paper's layers, fewer channels
        x = tap("relu6", F.relu(x))  # (N, 40)  the paper's layers, fewer channels
        x = tap("drop6", x * 0.5)  # (N, 40)  the paper's layers, fewer channels
        x = tap("fc7", self.fc7(x))  # (N, 36)  the paper's layers, fewer channels
        x = tap("relu7", F.relu(x))  # (N, 36)  the paper's layers, fewer channels
        x = tap("drop7", x * 0.5)  # (N, 36)  the paper's layers, fewer channels
        return tap("fc8", self.fc8(x))  # (N, 10)  the paper's layers, fewer channels


def load(tensors: dict[str, Tensor]) -> AlexNetNarrow:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts) without a copy."""
    with torch.device("meta"):
        model = AlexNetNarrow()
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
