"""AlexNet, the network of the paper, in torch.

Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet.yaml, sha256 164dcf272b09a019.
Generate it again with: python -m impls.generate alexnet
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYOUT = "NCHW"

Tap = Callable[[str, Tensor], Tensor]
Masks = Mapping[str, Tensor]  # by dropout: which elements to keep, as booleans


def no_tap(_name: str, value: Tensor) -> Tensor:
    """Leave every value as it is."""
    return value


def dropped(x: Tensor, p: float, masks: Masks | None, name: str) -> Tensor:
    """Zero what the mask `name` does not keep; without masks, each element with probability `p`."""
    kept = torch.rand_like(x) >= p if masks is None else masks[name]
    return x * kept


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

    def forward(self, x: Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        While training, dropouts draw what they keep, unless `masks` tell them.
        """
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
        x = tap("drop6", dropped(x, 0.5, masks, "drop6") if self.training else x * 0.5)  # (N, 4096)  §4.2
        x = tap("fc7", self.fc7(x))  # (N, 4096)  §3.5
        x = tap("relu7", F.relu(x))  # (N, 4096)  §3.1
        x = tap("drop7", dropped(x, 0.5, masks, "drop7") if self.training else x * 0.5)  # (N, 4096)  §4.2
        return tap("fc8", self.fc8(x))  # (N, 1000)  §3.5


def load(tensors: dict[str, Tensor]) -> AlexNet:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts) without a copy."""
    with torch.device("meta"):
        model = AlexNet()
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()


def save(model: AlexNet) -> dict[str, Tensor]:
    """The tensors that `model` holds, by canonical name and without a copy: the reverse of `load`."""
    return model.state_dict()


def parameters(model: AlexNet) -> dict[str, Tensor]:
    """What training changes, by canonical name."""
    return dict(model.named_parameters())


def initialise(generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors to begin training with, by canonical name; `load` makes a model of them."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in save(AlexNet()).items()}
    tensors = {name: torch.empty(shape, device=generator.device) for name, shape in shapes.items()}
    for name, value in tensors.items():
        match name:
            case "conv1.bias" | "conv3.bias" | "fc8.bias":
                value.fill_(0.0)
            case "conv2.bias" | "conv4.bias" | "conv5.bias" | "fc6.bias" | "fc7.bias":
                value.fill_(1.0)
            case _:
                value.normal_(0.0, 0.01, generator=generator)
    return tensors


def loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Softmax cross-entropy, the mean over the batch."""
    return F.cross_entropy(logits, labels)


def gradients(
    model: AlexNet, x: Tensor, labels: Tensor, masks: Masks | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a model in training mode, and its gradient for each parameter, by name."""
    value = loss(model(x, masks=masks), labels)
    weights = parameters(model)
    slopes = torch.autograd.grad(value, list(weights.values()))
    return value.detach(), dict(zip(weights, slopes, strict=True))


def start(model: AlexNet, velocities: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The velocity of each parameter before the first step, by name: as given, or zero."""
    still = {name: torch.zeros_like(w) for name, w in parameters(model).items()}
    for name, v in (velocities or {}).items():
        still[name].copy_(v)
    return still


def train_step(
    model: AlexNet,
    velocities: dict[str, Tensor],
    x: Tensor,
    labels: Tensor,
    rates: tuple[float, float],
    masks: Masks | None = None,
) -> Tensor:
    """Take a model in training mode one step on, in place; return the loss before it.

    `rates`: of weights and of biases.
    """
    value, slopes = gradients(model, x, labels, masks)
    with torch.no_grad():
        for name, w in parameters(model).items():
            v = velocities[name]
            rate = rates[1] if name.endswith(".bias") else rates[0]
            v.mul_(0.9).sub_(slopes[name], alpha=rate)
            if w.ndim > 1:  # weights of convolutions and dense layers; nothing else decays
                v.sub_(w, alpha=0.0005 * rate)
            w.add_(v)
    return value


@torch.inference_mode()
def predict(model: AlexNet, images: Tensor) -> Tensor:
    """Probabilities (N, 1000) of images (N, C, H, W), from a model in evaluation mode.

    The mean of probabilities over the four corners, the centre, and their mirror images.
    """
    rows, columns = images.shape[2] - 227, images.shape[3] - 227
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = torch.stack([images[:, :, top : top + 227, left : left + 227] for top, left in corners])
    views = torch.cat([crops, crops.flip(4)])  # (10, N, 3, 227, 227)
    logits = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    return F.softmax(logits, dim=2).mean(dim=0)


def shift_colours(images: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, draws: Tensor) -> Tensor:
    """Add [p1 p2 p3]·[a1λ1 a2λ2 a3λ3]ᵀ to every pixel of images (N, 3, H, W); `draws` a ~ N(0, 0.1) (N, 3)."""
    shifts = (draws * eigenvalues) @ eigenvectors.T  # (N, 3)
    return images + shifts[:, :, None, None]
