"""Emits a network as a torch `nn.Module`.

Native: torch's own operators. Fast: images channels last, normalisation as shifted sums, products with few rows by
oneDNN, and no large tensor that is not needed: on a CPU, the memory pages of a new one cost more than its arithmetic.
"""

import re
from collections import Counter
from dataclasses import replace
from typing import assert_never

from impls.emission import (
    Step,
    batched,
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
from impls.emission_training import dropouts
from impls.emit_torch_functions import called
from impls.emit_torch_training import recipe, renames
from impls.emit_torch_update import has_logits, masks_parameter
from impls.frameworks import Lowering
from spec.network import Network
from spec.operators import (
    Add,
    AnyOperator,
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
    body = _methods(network, lowering)
    functions = called(code(body))
    trained = recipe(network, name, lowering)
    aliases, train_mode = _aliases(network), _train_mode(network)
    parts = [
        header(network, f"torch, {lowering} lowering" if fast else "torch", origin, NOTES),
        _imports([aliases, *functions, *train_mode, *body, *trained]),
        'LAYOUT = "NCHW"\n',
        aliases,
        TAP,
        *functions,
        f"class {name}(nn.Module):",
        f'    """{batched(network.input.shape)} → {batched(network.layers[-1].output_shape)}."""\n',
        "    def __init__(self) -> None:",
        "        super().__init__()",
        *modules,
        "",
        *train_mode,
        *body,
        "\n",
        *_load(network, name, lowering),
        *trained,
    ]
    return "\n".join(parts)


TAP = '''\
def no_tap(_name: str, value: Tensor) -> Tensor:
    """Leave every value as it is."""
    return value

'''

CHANNELS_LAST = "        x = x.contiguous(memory_format=torch.channels_last)  # as torch's convolutions are quickest"


def _aliases(network: Network) -> str:
    """What the types of functions are called."""
    lines = ["Tap = Callable[[str, Tensor], Tensor]"]
    if dropouts(network):
        lines.append("Masks = Mapping[str, Tensor]  # by dropout: which elements to keep, as booleans")
    if renames(network):
        names = [
            f'    "{name}": "{layer.name}.{BATCH_NORM_NAMES[name.removeprefix(f"{layer.name}.")]}",'
            for layer in network.layers
            if isinstance(layer.operator, BatchNorm)
            for name in layer.tensor_shapes
        ]
        lines += ["TORCH_NAMES = {", *names, "}"]
    return "\n".join([*lines, "\n"])


def _train_mode(network: Network) -> list[str]:
    """Torch's batch norms would train on statistics of the batch, and change those that are stored."""
    return TRAIN_MODE.splitlines() if renames(network) else []


TRAIN_MODE = '''\
    def train(self, mode: bool = True) -> Self:
        """Batch norms keep their stored statistics while training too."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

'''


def _methods(network: Network, lowering: Lowering) -> list[str]:
    """`forward`; and `_logits`, if the recipe leaves a last softmax out."""
    first = [CHANNELS_LAST] if lowering == "fast" and len(network.input.shape) == 3 else []
    forward = [_head(network, "forward"), *_words(network)]
    each = steps(network)
    if not has_logits(network):
        return [*forward, *first, *_body(network, each, lowering)]
    *before, last = each
    before[-1:] = [replace(step, assigns="return ") for step in before[-1:]]
    whole = replace(last, reads=(f"self._logits(x, tap{', masks' if dropouts(network) else ''})",))
    return [
        _head(network, "_logits"),
        '        """Evaluate the network but for its last softmax, which the loss has in itself."""',
        *first,
        *(_body(network, before, lowering) or ["        return x"]),
        "",
        *forward,
        *_body(network, [whole], lowering),
    ]


def _head(network: Network, method: str) -> str:
    arguments = ["self", "x: Tensor", "tap: Tap = no_tap", *masks_parameter(network)]
    return f"    def {method}({', '.join(arguments)}) -> Tensor:"


def _words(network: Network) -> list[str]:
    line = '        """Evaluate the network; `tap` sees every operator\'s output, and what it returns is read next.'
    if not dropouts(network):
        return [f'{line}"""']
    return [line, "", "        While training, dropouts draw what they keep, unless `masks` tell them.", '        """']


def _body(network: Network, each: list[Step], lowering: Lowering) -> list[str]:
    makers = _makers(network)
    return [line for step in each for line in _forward(step, lowering, makers.get(step.layer.operator.reads[0]))]


def _makers(network: Network) -> dict[str, AnyOperator]:
    """The operator that made the memory of each value which only one other reads: that one may overwrite it."""
    readers = Counter(name for operator in network.graph for name in set(operator.reads))
    makers: dict[str, AnyOperator] = {}
    for operator in network.graph:
        if readers[operator.name] > 1:
            continue
        if not isinstance(operator, Flatten | Dropout):  # which may give a view of what they read
            makers[operator.name] = operator
        elif operator.reads[0] in makers:
            makers[operator.name] = makers[operator.reads[0]]
    return makers


def _imports(body: list[str]) -> str:
    text = code(body)
    types = [name for name in ("Callable", "Iterable", "Mapping", "Sequence") if re.search(rf"\b{name}\[", text)]
    lines = [f"from collections.abc import {', '.join(types)}"]
    if words := [name for name in ("Any", "Self") if re.search(rf"(: |-> ){name}\b", text)]:
        lines.append(f"from typing import {', '.join(words)}")
    lines += ["", "import torch", "from torch import Tensor, nn"]
    if "F." in text:
        lines.append("from torch.nn import functional as F")
    return "\n".join(lines) + "\n"


def _load(network: Network, name: str, lowering: Lowering) -> list[str]:
    copy = " without a copy" if lowering == "native" else ""
    lines = [
        f"def load(tensors: dict[str, Tensor]) -> {name}:",
        f'    """A model in evaluation mode that holds `tensors` (canonical names and layouts){copy}."""',
        '    with torch.device("meta"):',
        f"        model = {name}()",
    ]
    if renames(network):
        lines.append("    tensors = {TORCH_NAMES.get(name, name): value for name, value in tensors.items()}")
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
        case AvgPool() if _is_torchs_mean(layer, operator, lowering):
            arguments = _pool_arguments(operator)
            if any(operator.pads):
                arguments.append(f"count_include_pad={operator.padding_counted}")
            return f"nn.AvgPool2d({', '.join(arguments)}){_remark(layer)}"
        case Dropout(convention="inverted"):
            return f"nn.Dropout({number(operator.drop_probability)}){_remark(layer)}"
        case BatchNorm():
            return f"nn.BatchNorm2d({layer.input_shape[0]}, eps={number(operator.epsilon)}){_remark(layer)}"
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


def _forward(step: Step, lowering: Lowering, owned: AnyOperator | None) -> list[str]:
    """The lines of the forward pass that compute one operator; what `owned` made may be overwritten."""
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
        case MaxPool() if _plain(operator):
            value = f"{module}({x})"
        case AvgPool() if _is_torchs_mean(layer, operator, lowering):
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
            if lowering == "fast" and owned is None:
                x = f"{x}.clone()"
            if operator.towers == 1:
                value = normalised.format(x)
            else:
                towers = f"{x}.chunk({operator.towers}, dim=1)"
                value = f"torch.cat([{normalised.format('tower')} for tower in {towers}], dim=1)"
        case Relu():
            needs_output = isinstance(owned, Dense | Relu | Tanh | Softmax)  # on the way back
            in_place = lowering == "fast" and owned is not None and not needs_output
            value = f"F.relu_({x})" if in_place else f"F.relu({x})"
        case Tanh():
            value = f"torch.tanh({x})"
        case GlobalAvgPool():
            value = f"F.adaptive_avg_pool2d({x}, 1)"
        case Flatten():
            value = f"torch.flatten({x}, 1)"
        case Dropout():
            value = _dropout(operator, x)
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


def _dropout(operator: Dropout, x: str) -> str:
    """Dropout while training, and what stands in its place in evaluation."""
    name, drop, keep = operator.name, number(operator.drop_probability), number(1 - operator.drop_probability)
    match operator.convention:
        case "test_time":
            return f'dropped({x}, {drop}, masks, "{name}") if self.training else {x} * {keep}'
        case "inverted":
            return f'self.{name}({x}) if masks is None else {x} * masks["{name}"] / {keep}'
        case _:
            assert_never(operator.convention)


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


def _is_torchs_mean(layer: Layer, operator: AvgPool, lowering: Lowering) -> bool:
    """Whether torch's own module is used: where windows reach beyond counted padding, in the native lowering only.

    There the gradient of compiled code (torch 2.13) is wrong: https://github.com/pytorch/pytorch/issues/198119
    """
    overflows = pads_with_overflow(layer, operator) != operator.pads
    return _plain(operator) and not (lowering == "fast" and overflows and operator.padding_counted)


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
