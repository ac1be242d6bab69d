"""Every operator once, with odd pads, groups, branches and both ways of rounding, in torch, fast lowering.

Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first.

DO NOT EDIT. Generated from the spec of all_operators, sha256 5bfc5b4fae0890e2.
Generate it again with: python -m impls.generate all_operators
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LAYOUT = "NCHW"

Tap = Callable[[str, Tensor], Tensor]
Masks = Mapping[str, Tensor]  # by dropout: which elements to keep, as booleans
TORCH_NAMES = {
    "bn1.scale": "bn1.weight",
    "bn1.shift": "bn1.bias",
    "bn1.mean": "bn1.running_mean",
    "bn1.variance": "bn1.running_var",
}


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


class AllOperators(nn.Module):
    """(N, 6, 17, 13) → (N, 11)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(6, 8, kernel_size=(3, 5), stride=(2, 1), groups=2, bias=False)
        self.bn1 = nn.BatchNorm2d(8, eps=1e-05)
        self.conv2 = nn.Conv2d(8, 8, kernel_size=3, padding=1)
        self.pool_e = nn.AvgPool2d(3, stride=2, padding=1, count_include_pad=False)
        self.pool_f = nn.MaxPool2d(2, stride=2, ceil_mode=True)
        self.pool_g = nn.AvgPool2d((2, 1), stride=1)
        self.fc = nn.Linear(72, 11, bias=False)
        self.drop_b = nn.Dropout(0.3)

    def train(self, mode: bool = True) -> Self:
        """Batch norms keep their stored statistics while training too."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, x: Tensor, tap: Tap = no_tap, masks: Masks | None = None) -> Tensor:
        """Evaluate the network; `tap` sees every operator's output, and what it returns is read next.

        While training, dropouts draw what they keep, unless `masks` tell them.
        """
        x = x.contiguous(memory_format=torch.channels_last)  # as torch's convolutions are quickest
        conv1 = tap("conv1", self.conv1(F.pad(x, (2, 1, 1, 0))))  # (N, 8, 8, 12)
        bn1 = tap("bn1", self.bn1(conv1))  # (N, 8, 8, 12)
        tanh1 = tap("tanh1", torch.tanh(bn1))  # (N, 8, 8, 12)
        conv2 = tap("conv2", self.conv2(bn1))  # (N, 8, 8, 12)
        sum1 = tap("sum1", tanh1 + conv2 + bn1)  # (N, 8, 8, 12)
        relu1 = tap("relu1", F.relu_(sum1))  # (N, 8, 8, 12)
        # (N, 8, 8, 12)
        norm1 = tap(
            "norm1",
            torch.cat(
                [local_response_norm(tower, n=5, k=1.0, alpha=0.02, beta=0.5) for tower in relu1.chunk(2, dim=1)], dim=1
            ),
        )
        pool_a = tap("pool_a", F.max_pool2d(F.pad(norm1, (1, 0, 0, 2), value=-torch.inf), 3, 2))  # (N, 8, 4, 6)
        counted = F.avg_pool2d(F.pad(norm1.new_ones(1, 1, 9, 12), (0, 1, 0, 0)), 3, 2)
        pool_b = tap("pool_b", F.avg_pool2d(F.pad(norm1, (0, 1, 1, 0)), 3, 2) / counted)  # (N, 8, 4, 6)
        counted = F.avg_pool2d(F.pad(norm1.new_ones(1, 1, 8, 12), (0, 1, 1, 0)), 3, 2)
        pool_c = tap("pool_c", F.avg_pool2d(F.pad(norm1, (0, 1, 1, 0)), 3, 2) / counted)  # (N, 8, 4, 6)
        join = tap("join", torch.cat([pool_a, pool_b, pool_c], dim=1))  # (N, 24, 4, 6)
        counted = F.avg_pool2d(F.pad(join.new_ones(1, 1, 6, 8), (0, 1, 0, 1)), 3, 2)
        pool_d = tap("pool_d", F.avg_pool2d(F.pad(join, (1, 2, 1, 2)), 3, 2) / counted)  # (N, 24, 3, 4)
        pool_e = tap("pool_e", self.pool_e(pool_d))  # (N, 24, 2, 2)
        pool_f = tap("pool_f", self.pool_f(pool_d))  # (N, 24, 2, 2)
        sum2 = tap("sum2", pool_e + pool_f)  # (N, 24, 2, 2)
        pool_g = tap("pool_g", self.pool_g(sum2))  # (N, 24, 1, 2)
        flat = tap("flat", torch.flatten(pool_g, 1))  # (N, 48)
        gap = tap("gap", F.adaptive_avg_pool2d(join, 1))  # (N, 24, 1, 1)
        flat2 = tap("flat2", torch.flatten(gap, 1))  # (N, 24)
        both = tap("both", torch.cat([flat, flat2], dim=1))  # (N, 72)
        fc = tap("fc", dense(both, self.fc))  # (N, 11)
        drop_a = tap("drop_a", dropped(fc, 0.3, masks, "drop_a") if self.training else fc * 0.7)  # (N, 11)
        drop_b = tap("drop_b", self.drop_b(drop_a) if masks is None else drop_a * masks["drop_b"] / 0.7)  # (N, 11)
        return tap("prob", F.softmax(drop_b, dim=1))  # (N, 11)


def load(tensors: dict[str, Tensor]) -> AllOperators:
    """A model in evaluation mode that holds `tensors` (canonical names and layouts)."""
    with torch.device("meta"):
        model = AllOperators()
    tensors = {TORCH_NAMES.get(name, name): value for name, value in tensors.items()}
    tensors = {
        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
        for name, value in tensors.items()
    }
    model.load_state_dict(tensors, strict=True, assign=True)
    return model.eval()
