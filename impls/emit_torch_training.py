"""Emits what a spec says of training and evaluation, as torch functions that stand behind the network."""

from typing import assert_never

from impls.emission import WIDTH, batched, number, signature
from impls.emission_training import corners, initialisers, pca_colour
from impls.emit_torch_update import has_logits, logits, masks_parameter, optimiser, text
from impls.frameworks import Lowering
from spec.network import Network
from spec.operators import BatchNorm
from spec.recipe import Constant, Evaluation, Initialiser, Loss, Normal, PcaColour, Training, Uniform


def recipe(network: Network, name: str, lowering: Lowering) -> list[str]:
    """What stands behind the class `name` and `load`; nothing for a spec that states no more than a graph."""
    blocks: list[str] = []
    if network.training is not None:
        blocks += _training(network, network.training, name, lowering)
    if network.evaluation is not None:
        blocks.append(_predict(network, network.evaluation, name))
    if (colour := pca_colour(network)) is not None:
        blocks.append(_shift_colours(colour))
    return [f"\n{block}" for block in blocks]


def renames(network: Network) -> bool:
    """Whether torch has names of its own for some tensors, which the source then has in TORCH_NAMES."""
    return any(isinstance(layer.operator, BatchNorm) for layer in network.layers)


def _training(network: Network, training: Training, name: str, lowering: Lowering) -> list[str]:
    return [
        *_views(network, name),
        _initialise(network, name),
        _loss(training.loss),
        _gradients(network, name),
        *optimiser(network, training, name, lowering),
    ]


CANONICAL = '''\
def canonical(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors by canonical name; torch's own count of batches is none of them."""
    names = {own: name for name, own in TORCH_NAMES.items()}
    return {names.get(own, own): value for own, value in tensors if not own.endswith(".num_batches_tracked")}
'''


def _views(network: Network, name: str) -> list[str]:
    """What gives the model's tensors by name."""
    if renames(network):
        blocks, everything, trained = [CANONICAL], "canonical(model.state_dict().items())", "canonical({})"
    else:
        blocks, everything, trained = [], "model.state_dict()", "dict({})"
    save = f"""\
def save(model: {name}) -> dict[str, Tensor]:
    \"\"\"The tensors that `model` holds, by canonical name and without a copy: the reverse of `load`.\"\"\"
    return {everything}
"""
    parameters = f"""\
def parameters(model: {name}) -> dict[str, Tensor]:
    \"\"\"What training changes, by canonical name.\"\"\"
    return {trained.format("model.named_parameters()")}
"""
    return [*blocks, save, parameters]


def _initialise(network: Network, name: str) -> str:
    groups: dict[Initialiser, list[str]] = {}
    for tensor, initialiser in initialisers(network).items():
        groups.setdefault(initialiser, []).append(tensor)
    *special, usual = sorted(groups, key=lambda initialiser: len(groups[initialiser]))
    lines = [
        "def initialise(generator: torch.Generator) -> dict[str, Tensor]:",
        '    """Tensors to begin training with, by canonical name; `load` makes a model of them."""',
        '    with torch.device("meta"):',
        f"        shapes = {{name: value.shape for name, value in save({name}()).items()}}",
        "    tensors = {name: torch.empty(shape, device=generator.device) for name, shape in shapes.items()}",
    ]
    if not special:
        lines += ["    for value in tensors.values():", f"        {_draw(usual)}"]
    else:
        lines += ["    for name, value in tensors.items():", "        match name:"]
        for initialiser in special:
            lines += [_case(groups[initialiser]), f"                {_draw(initialiser)}"]
        lines += ["            case _:", f"                {_draw(usual)}"]
    return text(*lines, "    return tensors")


def _case(names: list[str]) -> str:
    """A case of several names; over several lines where one is too long."""
    first, *others = (f'"{name}"' for name in names)
    line = f"            case {' | '.join((first, *others))}:"
    if len(line) <= WIDTH:
        return line
    return "\n".join(
        [
            "            case (",
            f"                {first}",
            *(f"                | {name}" for name in others),
            "            ):",
        ]
    )


def _draw(initialiser: Initialiser) -> str:
    """The statement that fills `value`."""
    match initialiser:
        case Normal(mean=mean, std=std):
            return f"value.normal_({number(mean)}, {number(std)}, generator=generator)"
        case Uniform(low=low, high=high):
            return f"value.uniform_({number(low)}, {number(high)}, generator=generator)"
        case Constant(value=value):
            return f"value.fill_({number(value)})"
        case _:
            assert_never(initialiser)


def _loss(stated: Loss) -> str:
    match stated.reduction:
        case "mean":
            words, argument = "mean", ""
        case "sum":
            words, argument = "sum", ', reduction="sum"'
        case _:
            assert_never(stated.reduction)
    return text(
        "def loss(logits: Tensor, labels: Tensor) -> Tensor:",
        f'    """Softmax cross-entropy, the {words} over the batch."""',
        f"    return F.cross_entropy(logits, labels{argument})",
    )


def _gradients(network: Network, name: str) -> str:
    arguments = [f"model: {name}", "x: Tensor", "labels: Tensor", *masks_parameter(network)]
    return text(
        signature("gradients", arguments, "tuple[Tensor, dict[str, Tensor]]"),
        '    """The loss of a model in training mode, and its gradient for each parameter, by name."""',
        f"    value = loss({logits(network)}, labels)",
        "    weights = parameters(model)",
        "    slopes = torch.autograd.grad(value, list(weights.values()))",
        "    return value.detach(), dict(zip(weights, slopes, strict=True))",
    )


def _predict(network: Network, stated: Evaluation, name: str) -> str:
    _, height, width = network.input.shape
    function = "model._logits" if has_logits(network) else "model"
    classes = batched(network.layers[-1].output_shape)
    size = f"top : top + {height}, left : left + {width}"
    lines = [
        "@torch.inference_mode()",
        signature("predict", [f"model: {name}", "images: Tensor"], "Tensor"),
        f'    """Probabilities {classes} of images (N, C, H, W), from a model in evaluation mode.',
        "",
        f"    {_views_in_words(stated)}",
        '    """',
        f"    rows, columns = images.shape[2] - {height}, images.shape[3] - {width}",
    ]
    match stated.views:
        case "centre":
            top, left = corners(stated)[0]
            lines += [
                f"    top, left = {top}, {left}",
                f"    return F.softmax({function}(images[:, :, {size}]), dim=1)",
            ]
            return text(*lines)
        case "ten_crop":
            places = ", ".join(f"({top}, {left})" for top, left in corners(stated))
        case _:
            assert_never(stated.views)
    match stated.average:
        case "probabilities":
            averaged = "F.softmax(logits, dim=2).mean(dim=0)"
        case "logits":
            averaged = "F.softmax(logits.mean(dim=0), dim=1)"
        case _:
            assert_never(stated.average)
    lines += [
        f"    corners = [{places}]",
        f"    crops = torch.stack([images[:, :, {size}] for top, left in corners])",
        f"    views = torch.cat([crops, crops.flip(4)])  # {_shape(network, 10)}",
        f"    logits = {function}(views.flatten(0, 1)).unflatten(0, views.shape[:2])",
        f"    return {averaged}",
    ]
    return text(*lines)


def _views_in_words(stated: Evaluation) -> str:
    if stated.views == "centre":
        return "The network sees the centre of each image."
    return f"The mean of {stated.average} over the four corners, the centre, and their mirror images."


def _shape(network: Network, views: int) -> str:
    return f"({views}, {batched(network.input.shape)[1:]}"


def _shift_colours(stated: PcaColour) -> str:
    match stated.scale_by:
        case "eigenvalue":
            extents, words = "eigenvalues", "[p1 p2 p3]·[a1λ1 a2λ2 a3λ3]ᵀ"
        case "root_of_eigenvalue":
            extents, words = "eigenvalues.sqrt()", "[p1 p2 p3]·[a1√λ1 a2√λ2 a3√λ3]ᵀ"
        case _:
            assert_never(stated.scale_by)
    match stated.rescale:
        case "none":
            value = "images + shifts[:, :, None, None]"
        case "one_plus_std":
            value = f"(images + shifts[:, :, None, None]) / {number(1 + stated.std)}"
        case _:
            assert_never(stated.rescale)
    return text(
        "def shift_colours(images: Tensor, eigenvalues: Tensor, eigenvectors: Tensor, draws: Tensor) -> Tensor:",
        f'    """Add {words} to every pixel of images (N, 3, H, W); `draws` a ~ N(0, {number(stated.std)}) (N, 3)."""',
        f"    shifts = (draws * {extents}) @ eigenvectors.T  # (N, 3)",
        f"    return {value}",
    )
