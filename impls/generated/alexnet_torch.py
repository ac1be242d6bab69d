"""AlexNet, the network of the paper, in torch.

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


class AlexNet(nn.Module):
    """(N, 3, 227, 227) → (N, 1000)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 96, kernel_size=11, stride=4)  # §3.5
        self.norm1 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)  # torch divides alpha by 5; §3.3
        self.pool1 = nn.MaxPool2d(3, stride=2)  # §3.4
        self.conv2 = nn.Conv2d(96, 256, kernel_size=5, padding=2, groups=2)  # §3.5
        self.norm2 = nn.LocalResponseNorm(5, alpha=0.0005, beta=0.75, k=2.0)  # torch divides alpha by 5; §3.3
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
        x = tap("conv1", self.conv1(x))  # (N, 96, 55, 55)  §3.5
        x = tap("relu1", F.relu(x))  # (N, 96, 55, 55)  §3.1
        x = tap("norm1", self.norm1(x))  # (N, 96, 55, 55)  §3.3
        x = tap("pool1", self.pool1(x))  # (N, 96, 27, 27)  §3.4
        x = tap("conv2", self.conv2(x))  # (N, 256, 27, 27)  §3.5
        x = tap("relu2", F.relu(x))  # (N, 256, 27, 27)  §3.1
        x = tap("norm2", self.norm2(x))  # (N, 256, 27, 27)  §3.3
        x = tap("pool2", self.pool2(x))  # (N, 256, 13, 13)  §3.4
        x = tap("conv3", self.conv3(x))  # (N, 384, 13, 13)  §3.5
        x = tap("relu3", F.relu(x))  # (N, 384, 13, 13)  §3.1
        x = tap("conv4", self.conv4(x))  # (N, 384, 13, 13)  §3.5
        x = tap("relu4", F.relu(x))  # (N, 384, 13, 13)  §3.1
        x = tap("conv5", self.conv5(x))  # (N, 256, 13, 13)  §3.5
        x = tap("relu5", F.relu(x))  # (N, 256, 13, 13)  §3.1
        x = tap("pool5", self.pool5(x))  # (N, 256, 6, 6)  §3.4
        x = tap("flatten", torch.flatten(x, 1))  # (N, 9216)  §3.5
        x = tap("fc6", self.fc6(x))  # (N, 4096)  §3.5
        x = tap("relu6", F.relu(x))  # (N, 4096)  §3.1
        x = tap("drop6", x * 0.5)  # (N, 4096)  §4.2
        x = tap("fc7", self.fc7(x))  # (N, 4096)  §3.5
        x = tap("relu7", F.relu(x))  # (N, 4096)  §3.1
        x = tap("drop7", x * 0.5)  # (N, 4096)  §4.2
        return tap("fc8", self.fc8(x))  # (N, 1000)  §3.5


def load(tensors: dict[str, Tensor]) -> AlexNet:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts) without a copy."""
    with torch.device("meta"):
        model = AlexNet()
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
