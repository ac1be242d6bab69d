"""Emits a network as a torch `nn.Module`.

Native: torch's own operators. Fast: images channels last, normalisation as shifted sums, products with few rows by
oneDNN, and no large tensor that is not needed: on a CPU, the memory pages of a new one cost more than its arithmetic.
"""

from typing import assert_never

from impls.emission import (
    Step,
    batched,
    calls,
    class_name,
    code,
    comment,
    header,
    number,
    pads_with_overflow,
    same_or_pair,
    steps,
    wrapped,
)
from impls.frameworks import Lowering
from spec.network import Network
from spec.operators import (
    Add,
    AvgPool,
    BatchNorm,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool,
    Lrn,
    MaxPool,
    Relu,
    Softmax,
    Tanh,
)
from spec.shapes import Layer

NOTES = """\
Images are (N, C, H, W). Parameters have canonical names and layouts, which are torch's own: kernels
(O, I/groups, H, W), dense weights (out, in), features flattened channel first."""

#: Canonical name of a batch normalisation's tensors → torch's name.
BATCH_NORM_NAMES = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


def emit(network: Network, lowering: Lowering, origin: str) -> str:
    """The source text of `network`; `origin` says which spec it comes from."""
    name = class_name(network)
    fast = lowering == "fast"
    modules = [
        wrapped(f"        self.{layer.name} = {text}") for layer in network.layers if (text := _module(layer, lowering))
    ]
    body = [CHANNELS_LAST] if fast and len(network.input.shape) == 3 else []
    body += [line for step in steps(network) for line in _forward(step, lowering, _is_own(network, step))]
    functions = _functions(code(body)) if fast else []
    parts = [
        header(network, f"torch, {lowering} lowering" if fast else "torch", origin, NOTES),
        _imports([*body, *functions]),
        'LAYOUT = "NCHW"\n',
        TAP,
        *functions,
        f"class {name}(nn.Module):",
        f'    """{batched(network.input.shape)} → {batched(network.layers[-1].output_shape)}."""\n',
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *modules,
        "",
        "    def forward(self, x: Tensor, tap: Tap = no_tap) -> Tensor:",
        '        """Evaluate the network; `tap` sees every operator\'s output, and what it returns is read next."""',
        *body,
        "\n",
        *_load(network, name, lowering),
    ]
    return "\n".join(parts)


TAP = '''\
Tap = Callable[[str, Tensor], Tensor]


def no_tap(_name: str, value: Tensor) -> Tensor:
    """Leave every value as it is."""
    return value

'''


CHANNELS_LAST = "        x = x.contiguous(memory_format=torch.channels_last)  # as torch's convolutions are quickest"

#: The functions that a source of the fast lowering defines, if it uses them.
FUNCTIONS: dict[str, str] = {
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

''',
}


def _functions(body: str) -> list[str]:
    """The functions that `body` calls, and those that these call, in the order of their definition."""
    text = body
    for name, function in reversed(FUNCTIONS.items()):
        if calls(name, text):
            text += function
    return [function for function in FUNCTIONS.values() if function in text]


def _is_own(network: Network, step: Step) -> bool:
    """Whether nothing else reads the memory of what `step` reads, so that it may be overwritten."""
    name = step.layer.operator.reads[0]
    producers = {layer.name: layer for layer in network.layers}
    while name in producers:
        if sum(name in layer.operator.reads for layer in network.layers) > 1:
            return False
        operator = producers[name].operator
        if not isinstance(operator, Flatten | Dropout):  # which may give a view of what they read
            return True
        name = operator.reads[0]
    return False


def _imports(body: list[str]) -> str:
    functional = "F." in code(body)
    lines = ["from collections.abc import Callable", "", "import torch", "from torch import Tensor, nn"]
    if functional:
        lines.append("from torch.nn import functional as F")
    return "\n".join(lines) + "\n"


def _load(network: Network, name: str, lowering: Lowering) -> list[str]:
    renamed = {
        canonical: f"{layer.name}.{BATCH_NORM_NAMES[canonical.removeprefix(f'{layer.name}.')]}"
        for layer in network.layers
        if isinstance(layer.operator, BatchNorm)
        for canonical in layer.tensor_shapes
    }
    copy = " without a copy" if lowering == "native" else ""
    lines = [
        f"def load(tensors: dict[str, Tensor]) -> {name}:",
        f'    """A model in evaluation mode that holds `tensors` (canonical names and layouts){copy}."""',
        '    with torch.device("meta"):',
        f"        model = {name}()",
    ]
    if renamed:
        lines += ["    names = {", *(f'        "{old}": "{new}",' for old, new in renamed.items()), "    }"]
        lines.append("    tensors = {names.get(name, name): value for name, value in tensors.items()}")
    if lowering == "fast":
        lines += [
            "    tensors = {",
            "        name: value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value",
            "        for name, value in tensors.items()",
            "    }",
        ]
    lines.append("    model.load_state_dict(tensors, strict=True, assign=True)")
    return [*lines, "    return model.eval()", ""]


def _module(layer: Layer, lowering: Lowering) -> str | None:
    """The module that holds a layer's parameters and constants, or nothing for a plain function."""
    operator = layer.operator
    match operator:
        case Conv():
            arguments = [
                str(layer.input_shape[0]),
                str(operator.out_channels),
                f"kernel_size={same_or_pair(operator.kernel)}",
            ]
            if operator.stride != (1, 1):
                arguments.append(f"stride={same_or_pair(operator.stride)}")
            if _even(operator.pads) and any(operator.pads):
                arguments.append(f"padding={same_or_pair(operator.pads[:2])}")
            if operator.groups > 1:
                arguments.append(f"groups={operator.groups}")
            if not operator.bias:
                arguments.append("bias=False")
            return f"nn.Conv2d({', '.join(arguments)}){_remark(layer)}"
        case Dense():
            bias = "" if operator.bias else ", bias=False"
            return f"nn.Linear({operator.in_features}, {operator.out_features}{bias}){_remark(layer)}"
        case Lrn() if lowering == "native":
            alpha, beta = number(operator.alpha_mean), number(operator.beta)
            module = f"nn.LocalResponseNorm({operator.n}, alpha={alpha}, beta={beta}, k={number(operator.k)})"
            return f"{module}  # torch divides alpha by {operator.n}{_remark(layer, '; ')}"
        case MaxPool() if _plain(operator):
            arguments = _pool_arguments(operator)
            return f"nn.MaxPool2d({', '.join(arguments)}){_remark(layer)}"
        case AvgPool() if _plain(operator):
            arguments = _pool_arguments(operator)
            if any(operator.pads):
                arguments.append(f"count_include_pad={operator.padding_counted}")
            return f"nn.AvgPool2d({', '.join(arguments)}){_remark(layer)}"
        case BatchNorm():
            return f"nn.BatchNorm2d({layer.input_shape[0]}, eps={number(operator.epsilon)}){_remark(layer)}"
        case Dropout(convention="inverted"):
            return f"nn.Dropout({number(operator.drop_probability)}){_remark(layer)}"
        case (
            Lrn()
            | MaxPool()
            | AvgPool()
            | Relu()
            | Tanh()
            | GlobalAvgPool()
            | Flatten()
            | Dropout()
            | Softmax()
            | Add()
            | Concat()
        ):
            return None
        case _:
            assert_never(operator)


def _forward(step: Step, lowering: Lowering, is_own: bool) -> list[str]:
    """The lines of the forward pass that compute one operator; `is_own`: it may overwrite what it reads."""
    layer, x = step.layer, step.read
    operator, module = layer.operator, f"self.{layer.name}"
    before: list[str] = []
    match operator:
        case Conv() if not _even(operator.pads):
            value = f"{module}(F.pad({x}, {_torch_pads(operator.pads)}))"
        case Dense() if lowering == "fast":
            value = f"dense({x}, {module})"
        case Conv() | Dense() | BatchNorm():
            value = f"{module}({x})"
        case MaxPool() | AvgPool() if _plain(operator):
            value = f"{module}({x})"
        case MaxPool():
            pads = _torch_pads(pads_with_overflow(layer, operator))
            value = f"F.max_pool2d(F.pad({x}, {pads}, value=-torch.inf), {_window(operator)})"
        case AvgPool():
            before, value = _average(layer, operator, x)
        case Lrn():
            alpha, beta = number(operator.alpha_sum), number(operator.beta)
            constants = f"n={operator.n}, k={number(operator.k)}, alpha={alpha}, beta={beta}"
            normalised = f"{module}({{}})" if lowering == "native" else f"local_response_norm({{}}, {constants})"
            if lowering == "fast" and not is_own:
                x = f"{x}.clone()"
            if operator.towers == 1:
                value = normalised.format(x)
            else:
                towers = f"{x}.chunk({operator.towers}, dim=1)"
                value = f"torch.cat([{normalised.format('tower')} for tower in {towers}], dim=1)"
        case Relu():
            value = f"F.relu_({x})" if lowering == "fast" and is_own else f"F.relu({x})"
        case Tanh():
            value = f"torch.tanh({x})"
        case GlobalAvgPool():
            value = f"F.adaptive_avg_pool2d({x}, 1)"
        case Flatten():
            value = f"torch.flatten({x}, 1)"
        case Dropout(convention="test_time"):
            value = f"{x} * {number(operator.evaluation_scale)}"
        case Dropout():
            value = f"{module}({x})"
        case Softmax():
            value = f"F.softmax({x}, dim=1)"
        case Add():
            value = " + ".join(step.reads)
        case Concat():
            value = f"torch.cat([{', '.join(step.reads)}], dim=1)"
        case _:
            assert_never(operator)
    line = f'        {step.assigns}tap("{layer.name}", {value}){comment(layer)}'
    return [*map(wrapped, before), wrapped(line)]


def _average(layer: Layer, operator: AvgPool, x: str) -> tuple[list[str], str]:
    """Means over padded windows; where not all of a window counts, divided by the share that does."""
    _, height, width = layer.input_shape
    pads = pads_with_overflow(layer, operator)
    mean = f"F.avg_pool2d(F.pad({x}, {_torch_pads(pads)}), {_window(operator)})"
    if operator.padding_counted and pads == operator.pads:
        return [], mean
    top, left, bottom, right = operator.pads if operator.padding_counted else (0, 0, 0, 0)
    ones = f"{x}.new_ones(1, 1, {height + top + bottom}, {width + left + right})"
    rest = (pads[0] - top, pads[1] - left, pads[2] - bottom, pads[3] - right)
    counted = f"        counted = F.avg_pool2d(F.pad({ones}, {_torch_pads(rest)}), {_window(operator)})"
    return [counted], f"{mean} / counted"


def _even(pads: tuple[int, int, int, int]) -> bool:
    """Whether top equals bottom and left equals right: all that torch's own padding can say."""
    return pads[:2] == pads[2:]


def _torch_pads(pads: tuple[int, int, int, int]) -> str:
    """Top, left, bottom, right as torch's `F.pad` wants it: left, right, top, bottom."""
    top, left, bottom, right = pads
    return str((left, right, top, bottom))


def _plain(operator: MaxPool | AvgPool) -> bool:
    """Whether torch's pooling can say it itself: it pads evenly, and at most half the kernel."""
    half = all(2 * pad <= size for pad, size in zip(operator.pads[:2], operator.kernel, strict=True))
    return _even(operator.pads) and half


def _window(operator: MaxPool | AvgPool) -> str:
    return f"{same_or_pair(operator.kernel)}, {same_or_pair(operator.stride)}"


def _pool_arguments(operator: MaxPool | AvgPool) -> list[str]:
    arguments = [same_or_pair(operator.kernel), f"stride={same_or_pair(operator.stride)}"]
    if any(operator.pads):
        arguments.append(f"padding={same_or_pair(operator.pads[:2])}")
    if operator.rounding == "ceil":
        arguments.append("ceil_mode=True")
    return arguments


def _remark(layer: Layer, lead: str = "  # ") -> str:
    return f"{lead}{layer.operator.source}" if layer.operator.source else ""
