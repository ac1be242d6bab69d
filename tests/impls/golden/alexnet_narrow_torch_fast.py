"""A narrow AlexNet for quick tests, in torch, fast lowering.

Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from spec/networks/alexnet_narrow.yaml, sha256 5291392e685e8d9a.
Generate it again with: python -m impls.generate alexnet_narrow
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

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


def on_eager_cpu(x: Tensor) -> bool:
    """Whether each operator runs by itself on a CPU, where its caches and libraries decide about the speed."""
    return x.is_cpu and not torch.compiler.is_compiling()


def dense(x: Tensor, linear: nn.Linear) -> Tensor:
    """Evaluate `linear`; on a CPU by oneDNN, which reads large weights quicker than torch's default does."""
    by_onednn = on_eager_cpu(x) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    y: Tensor = linear(x.to_mkldnn()).to_dense() if by_onednn else linear(x)
    return y


def local_response_norm(x: Tensor, n: int, k: float, alpha: float, beta: float) -> Tensor:
    """Multiply by (k + alpha · Σ x²)^-beta over n neighbouring channels; alpha multiplies the sum.

    In place, unless gradients are to come. On a CPU image by image, so that what is computed on the way stays in the
    cache. A compiler finds such things by itself.
    """
    if torch.compiler.is_compiling():
        return x * power(denominators(x, n, k, alpha), beta)
    if torch.is_grad_enabled() and x.requires_grad:
        y: Tensor = LocalResponseNorm.apply(x, n, k, alpha, beta)  # type: ignore[no-untyped-call]
        return y
    for part in images(x):
        part.mul_(power(denominators(part, n, k, alpha), beta))
    return x


class LocalResponseNorm(torch.autograd.Function):
    """The same with gradients, of which torch's own would keep every step in memory."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, n: int, k: float, alpha: float, beta: float) -> Tensor:
        """y = x · d^-beta, with d = k + alpha · Σ x²."""
        ctx.save_for_backward(x)
        ctx.constants = n, k, alpha, beta
        y = torch.empty_like(x)
        for part, normalised in zip(images(x), images(y), strict=True):
            torch.mul(part, power(denominators(part, n, k, alpha), beta), out=normalised)
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        """∂L/∂x = g · d^-beta − 2 · alpha · beta · x · Σ g · x · d^(-beta-1); n is odd: who sees is seen."""
        (x,) = ctx.saved_tensors
        n, k, alpha, beta = ctx.constants
        slopes = torch.empty_like(x)
        for part, above, slope in zip(images(x), images(g), images(slopes), strict=True):
            d = denominators(part, n, k, alpha)
            passed = power(d.clone(), beta).mul_(above)
            others = sums(d.reciprocal_().mul_(passed).mul_(part), n).mul_(part)
            torch.sub(passed, others, alpha=2 * alpha * beta, out=slope)
        return slopes, None, None, None, None


def images(x: Tensor) -> Sequence[Tensor]:
    """On a CPU, where caches decide, image by image; elsewhere all at once."""
    return x.chunk(len(x)) if x.is_cpu else [x]


def sums(x: Tensor, n: int) -> Tensor:
    """Sums over n neighbouring channels."""
    channels = x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, n // 2, n // 2))
    y = padded[:, :channels].clone()
    for shift in range(1, n):
        y += padded[:, shift : shift + channels]
    return y


def denominators(x: Tensor, n: int, k: float, alpha: float) -> Tensor:
    """k + alpha · Σ x²."""
    return sums(x * x, n).mul_(alpha).add_(k)


def power(d: Tensor, beta: float) -> Tensor:
    """d^-beta, in the memory of d."""
    if beta == 0.75:
        root = d.rsqrt_()
        return root.rsqrt() * root * root  # r^-1/2 · r · r, which is quicker than a power
    return d.pow_(-beta)


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

    def forward(self, x: Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        While training, dropouts draw what they keep, unless `masks` tell them.
        """
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
        x = tap("relu6", F.relu(x))  # (N, 40)  the paper's layers, fewer channels
        # (N, 40)  the paper's layers, fewer channels
        x = tap("drop6", dropped(x, 0.5, masks, "drop6") if self.training else x * 0.5)
        x = tap("fc7", dense(x, self.fc7))  # (N, 36)  the paper's layers, fewer channels
        x = tap("relu7", F.relu(x))  # (N, 36)  the paper's layers, fewer channels
        # (N, 36)  the paper's layers, fewer channels
        x = tap("drop7", dropped(x, 0.5, masks, "drop7") if self.training else x * 0.5)
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


def save(model: AlexNetNarrow) -> dict[str, Tensor]:
    """The tensors that `model` holds, by canonical name and without a copy: the reverse of `load`."""
    return model.state_dict()


def parameters(model: AlexNetNarrow) -> dict[str, Tensor]:
    """What training changes, by canonical name."""
    return dict(model.named_parameters())


def initialise(generator: torch.Generator) -> dict[str, Tensor]:
    """Tensors to begin training with, by canonical name; `load` makes a model of them."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in save(AlexNetNarrow()).items()}
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
    model: AlexNetNarrow, x: Tensor, labels: Tensor, masks: Masks | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a model in training mode, and its gradient for each parameter, by name."""
    value = loss(model(x, masks=masks), labels)
    weights = parameters(model)
    slopes = torch.autograd.grad(value, list(weights.values()))
    return value.detach(), dict(zip(weights, slopes, strict=True))


def start(model: AlexNetNarrow, velocities: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The velocity of each parameter before the first step, by name: as given, or zero."""
    still = {name: torch.zeros_like(w) for name, w in parameters(model).items()}
    for name, v in (velocities or {}).items():
        still[name].copy_(v)
    return still


READ_BY_DENSE = {
    "fc6": "flatten",
    "fc7": "drop6",
    "fc8": "drop7",
}


def train_step(
    model: AlexNetNarrow,
    velocities: dict[str, Tensor],
    x: Tensor,
    labels: Tensor,
    rates: tuple[float, float],
    masks: Masks | None = None,
) -> Tensor:
    """Take a model in training mode one step on, in place; return the loss before it.

    `rates`: of weights and of biases. The gradient of dense weights is a product of what their layer reads
    and of what flows into its output. It goes into the velocity at once, and is never in memory.
    """
    kept = {*READ_BY_DENSE, *READ_BY_DENSE.values()}
    taps: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> Tensor:
        if name in kept and not torch.compiler.is_compiling():  # what compiled code puts out has no gradient
            taps[name] = value
        return value

    value = loss(model(x, keep, masks=masks), labels)
    weights, dense = parameters(model), [layer for layer in READ_BY_DENSE if layer in taps]
    wanted = {layer: taps[layer] for layer in dense}
    wanted |= {name: w for name, w in weights.items() if name.partition(".")[0] not in dense}
    slopes = dict(zip(wanted, torch.autograd.grad(value, list(wanted.values())), strict=True))
    slopes |= {f"{layer}.bias": slopes[layer].sum(dim=0) for layer in dense}
    with torch.no_grad():
        for name, w in weights.items():
            layer, v = name.partition(".")[0], velocities[name]
            rate = rates[1] if name.endswith(".bias") else rates[0]
            if name in slopes:
                v.mul_(0.9).sub_(slopes[name], alpha=rate)
            else:
                v.addmm_(slopes[layer].T, taps[READ_BY_DENSE[layer]], beta=0.9, alpha=-rate)
            if w.ndim > 1:  # weights of convolutions and dense layers; nothing else decays
                v.sub_(w, alpha=0.0005 * rate)
            w.add_(v)
    return value.detach()


@torch.inference_mode()
def predict(model: AlexNetNarrow, images: Tensor) -> Tensor:
    """Probabilities (N, 10) of images (N, C, H, W), from a model in evaluation mode.

    The mean of probabilities over the four corners, the centre, and their mirror images.
    """
    rows, columns = images.shape[2] - 135, images.shape[3] - 99
    corners = [(0, 0), (0, columns), (rows, 0), (rows, columns), (rows // 2, columns // 2)]
    crops = torch.stack([images[:, :, top : top + 135, left : left + 99] for top, left in corners])
    views = torch.cat([crops, crops.flip(4)])  # (10, N, 3, 135, 99)
    logits = model(views.flatten(0, 1)).unflatten(0, views.shape[:2])
    return F.softmax(logits, dim=2).mean(dim=0)


def shift_colours(images: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, draws: Tensor) -> Tensor:
    """Add [p1 p2 p3]·[a1λ1 a2λ2 a3λ3]ᵀ to every pixel of images (N, 3, H, W); `draws` a ~ N(0, 0.1) (N, 3)."""
    shifts = (draws * eigenvalues) @ eigenvectors.T  # (N, 3)
    return images + shifts[:, :, None, None]
