"""The functions that generated torch sources define for operators that take more than one call."""

from impls.emission import calls

#: By name; a source has those that it uses, in this order.
FUNCTIONS: dict[str, str] = {
    "dropped": '''\
def dropped(x: Tensor, p: float, masks: Masks | None, name: str) -> Tensor:
    """Zero what the mask `name` does not keep; without masks, each element with probability `p`."""
    kept = torch.rand_like(x) >= p if masks is None else masks[name]
    return x * kept

''',
    "on_eager_cpu": '''\
def on_eager_cpu(x: Tensor) -> bool:
    """Whether each operator runs by itself on a CPU, where its caches and libraries decide about the speed."""
    return x.is_cpu and not torch.compiler.is_compiling()

''',
    "dense": '''\
def dense(x: Tensor, linear: nn.Linear) -> Tensor:
    """Evaluate `linear`; on a CPU by oneDNN, which reads large weights quicker than torch's default does."""
    by_onednn = on_eager_cpu(x) and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    y: Tensor = linear(x.to_mkldnn()).to_dense() if by_onednn else linear(x)
    return y

''',
    "local_response_norm": '''\
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

''',
}


def called(body: str) -> list[str]:
    """The functions that `body` calls, and those that these call, in the order of their definition."""
    text = body
    for name, function in reversed(FUNCTIONS.items()):
        if calls(name, text):
            text += function
    return [function for function in FUNCTIONS.values() if function in text]
