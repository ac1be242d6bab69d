"""Emits how a network is trained and evaluated, as pure JAX functions beside `forward`; both lowerings share it."""

from typing import assert_never

from impls.emission import batched, number, signature
from impls.emission_training import corners, dropouts, ends_in_softmax, initialisers, parameters, pca_colour
from impls.emit_jax_updates import updates
from spec.base import Shape
from spec.network import Network
from spec.operators import Dropout
from spec.recipe import Constant, Evaluation, Initialiser, Loss, Normal, PcaColour, Training, Uniform

MASKS = "Masks = dict[str, jax.Array]  # of each dropout, by its name: the elements that training keeps\n"


def recipe(network: Network, layout: str) -> list[str]:
    """The functions that the sections of the spec ask for; none where it has none."""
    training, evaluation, colour = network.training, network.evaluation, pca_colour(network)
    return [
        *([_draw_masks(network, layout)] if dropouts(network) else []),
        *(_training(network, training, layout) if training else []),
        *([_predict(network, evaluation, layout)] if evaluation else []),
        *([_shift_colours(colour, layout)] if colour else []),
    ]


def reads_logits(network: Network) -> bool:
    """Whether the recipe reads logits that `forward` does not return, so that another function computes them."""
    averaged = network.evaluation is not None and network.evaluation.average == "logits"
    return ends_in_softmax(network) and (network.training is not None or averaged)


def forward_signature(name: str, network: Network) -> str:
    """The first line of `forward`, or of another function with its arguments."""
    masks = ["masks: Masks | None = None"] if dropouts(network) else []
    return signature(name, ["parameters: Parameters", "x: jax.Array", "tap: Tap = no_tap", *masks], "jax.Array")


def _draw_masks(network: Network, layout: str) -> str:
    drawn = [(layer, layer.operator) for layer in network.layers if isinstance(layer.operator, Dropout)]
    lines = [
        "def draw_masks(key: jax.Array, batch: int) -> Masks:",
        '    """Masks for one batch, at random."""',
        f"    keys = jax.random.split(key, {len(drawn)})",
        "    return {",
    ]
    for index, (layer, operator) in enumerate(drawn):
        keep = number(1.0 - operator.drop_probability)
        shape = ", ".join(("batch", *map(str, _arranged(layer.output_shape, layout))))
        lines.append(f'        "{layer.name}": jax.random.bernoulli(keys[{index}], {keep}, ({shape})),')
    return "\n".join([*lines, "    }\n"])


# --- Training --------------------------------------------------------------------------------------------------------

TRAINED = '''\
def trained(parameters: Parameters) -> Parameters:
    """Those parameters that training changes: all but the statistics of batch norms."""
    return {
        layer: {name: value for name, value in named.items() if name not in ("mean", "variance")}
        for layer, named in parameters.items()
    }
'''

MERGED = '''\
def merged(parameters: Parameters, changed: Parameters) -> Parameters:
    """All parameters, with those that training changed."""
    return {layer: named | changed[layer] for layer, named in parameters.items()}
'''


def _training(network: Network, training: Training, layout: str) -> list[str]:
    """What the section `training` asks for."""
    has_statistics = any(layer.statistic_shapes for layer in network.layers)
    batch = ["x", "labels", "rates", *(["masks"] if dropouts(network) else [])]
    return [
        _loss(network, training.loss),
        *([TRAINED, MERGED] if has_statistics else []),
        _gradients(network, has_statistics),
        *updates(parameters(network, training), training.optimizer, batch, has_statistics),
        _initialise(network, layout),
        SAVE[layout],
    ]


def _loss(network: Network, stated: Loss) -> str:
    classes = network.layers[-1].output_shape
    how = "averaged over" if stated.reduction == "mean" else "summed over"
    return f'''\
def loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Softmax cross-entropy of logits {batched(classes)} for labels (N), {how} the batch."""
    log_likelihoods = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
    return -log_likelihoods.{stated.reduction}()
'''


def _gradients(network: Network, has_statistics: bool) -> str:
    masks = "masks: Masks" if dropouts(network) else ""
    arguments = ["parameters: Parameters", "x: jax.Array", "labels: jax.Array", *([masks] if masks else [])]
    scores = "logits" if reads_logits(network) else "forward"
    given = ", masks=masks" if masks else ""
    changed, of = (
        ("merged(parameters, changed)", "trained(parameters)") if has_statistics else ("changed", "parameters")
    )
    return f'''\
{signature("gradients", arguments, "tuple[jax.Array, Parameters]")}
    """The loss of a batch, and its gradient in every parameter; weight decay is not in it."""

    def objective(changed: Parameters) -> jax.Array:
        return loss({scores}({changed}, x{given}), labels)

    found: tuple[jax.Array, Parameters] = jax.value_and_grad(objective)({of})
    return found
'''


def _initialise(network: Network, layout: str) -> str:
    """Every tensor as the spec's initialisers have it, a layer at a time."""
    stated, shapes = initialisers(network), network.tensor_shapes
    drawn = [name for name, initialiser in stated.items() if not isinstance(initialiser, Constant)]
    body = []
    for layer in network.layers:
        named = list(layer.tensor_shapes)
        body += [f'        "{layer.name}": {{'] if named else []
        for name in named:
            key = f"keys[{drawn.index(name)}]" if name in drawn else ""
            value = _initial(stated[name], key, _kernel_arranged(shapes[name], layout))
            body += [f'            "{name.rpartition(".")[2]}": {value},']
        body += ["        },"] if named else []
    lines = [
        "def initialise(key: jax.Array) -> Parameters:",
        '    """Parameters as training begins with them."""',
        f"    keys = jax.random.split(key, {len(drawn)})" if drawn else "    del key  # nothing is drawn",
        *(["    return {", *body, "    }"] if body else ["    return {}"]),
    ]
    return "\n".join([*lines, ""])


def _initial(stated: Initialiser, key: str, shape: Shape) -> str:
    """One tensor, as code."""
    extents = str(shape[0]) if len(shape) == 1 else str(shape)
    match stated:
        case Constant(value=value):
            filled = {0.0: f"zeros({extents})", 1.0: f"ones({extents})"}
            return f"jnp.{filled.get(value, f'full({extents}, {number(value)})')}"
        case Normal(mean=mean, std=std):
            start = f"{number(mean)} + " if mean else ""
            return f"{start}{number(std)} * jax.random.normal({key}, {_tuple(shape)})"
        case Uniform(low=low, high=high):
            return f"jax.random.uniform({key}, {_tuple(shape)}, minval={number(low)}, maxval={number(high)})"
        case _:
            assert_never(stated)


def _tuple(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


SAVE = {
    "NCHW": '''\
def save(parameters: Parameters) -> dict[str, jax.Array]:
    """What `load` read, by canonical names; velocities and gradients can be saved too."""
    return {f"{layer}.{name}": value for layer, named in parameters.items() for name, value in named.items()}
''',
    "NHWC": '''\
def save(parameters: Parameters) -> dict[str, jax.Array]:
    """What `load` read, by canonical names and in canonical layouts; velocities and gradients can be saved too."""
    return {
        f"{layer}.{name}": jnp.transpose(value, (3, 2, 0, 1)) if value.ndim == 4 else value
        for layer, named in parameters.items()
        for name, value in named.items()
    }
''',
}


def _arranged(shape: Shape, layout: str) -> Shape:
    """The shape of an image in the source's layout; any other as it is."""
    return (*shape[1:], shape[0]) if layout == "NHWC" and len(shape) == 3 else shape


def _kernel_arranged(shape: Shape, layout: str) -> Shape:
    """The shape of a kernel in the source's layout; any other as it is."""
    return (shape[2], shape[3], shape[1], shape[0]) if layout == "NHWC" and len(shape) == 4 else shape


# --- Evaluation and preprocessing ------------------------------------------------------------------------------------

#: What a prediction is taken from, as the source says it.
VIEWS = {
    "centre": "The view of each is its centre.",
    "ten_crop": "Averaged over ten views of each: its corners and its centre, then their mirror images.",
}


def _predict(network: Network, stated: Evaluation, layout: str) -> str:
    shape = batched(network.input.shape, layout)
    channels, height, width = network.input.shape
    images, rows, columns = ("(N, {}, H, W)", 2, 3) if layout == "NCHW" else ("(N, H, W, {})", 1, 2)
    ahead, behind = (":, :, ", "") if layout == "NCHW" else (":, ", ", :")
    crop = f"images[{ahead}top : top + {height}, left : left + {width}]"
    scores = "logits" if reads_logits(network) and stated.average == "logits" else "forward"
    classes = batched(network.layers[-1].output_shape)
    lines = [
        "def predict(parameters: Parameters, images: jax.Array) -> jax.Array:",
        f'    """Probabilities {classes} of images {images.format(channels)}.',
        "",
        f"    {VIEWS[stated.views]}",
        '    """',
        f"    rows, columns = images.shape[{rows}] - {height}, images.shape[{columns}] - {width}",
    ]
    match stated.views:
        case "centre":
            ((top, left),) = corners(stated)
            lines += [f"    top, left = {top}, {left}", f"    scores = {scores}(parameters, {crop})  # {classes}"]
            softmax = "jax.nn.softmax(scores)"
        case "ten_crop":
            listed = ", ".join(f"({top}, {left})" for top, left in corners(stated))
            lines += [
                f"    corners = [{listed}]",
                f"    crops = jnp.stack([{crop} for top, left in corners])",
                f"    views = jnp.concatenate([crops, crops[..., ::-1{behind}]])  # (10, {shape[1:]}",
                f"    scores = lax.map(lambda view: {scores}(parameters, view), views)  # (10, {classes[1:]}",
            ]
            softmax = {
                "probabilities": "jax.nn.softmax(scores).mean(axis=0)",
                "logits": "jax.nn.softmax(scores.mean(axis=0))",
            }[stated.average]
        case _:
            assert_never(stated.views)
    if ends_in_softmax(network) and scores == "forward":
        softmax = "scores" if stated.views == "centre" else "scores.mean(axis=0)"
    return "\n".join([*lines, f"    return {softmax}", ""])


def _shift_colours(stated: PcaColour, layout: str) -> str:
    """The text of `conformance.colour`, as code."""
    match stated.scale_by:
        case "eigenvalue":
            extents = "eigenvalues"
        case "root_of_eigenvalue":
            extents = "jnp.sqrt(eigenvalues)"
        case _:
            assert_never(stated.scale_by)
    images, spread = ("(N, 3, H, W)", "[:, :, None, None]") if layout == "NCHW" else ("(N, H, W, 3)", "[:, None, None]")
    shifted = f"images + shifts{spread}"
    if stated.rescale == "one_plus_std":
        shifted = f"({shifted}) / (1.0 + {number(stated.std)})"
    arrays = ["images", "eigenvalues", "eigenvectors", "draws"]
    return f'''\
{signature("shift_colours", [f"{array}: jax.Array" for array in arrays], "jax.Array")}
    """Images {images} with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation {number(stated.std)}.
    """
    shifts = (draws * {extents}) @ eigenvectors.T  # (N, 3)
    return {shifted}
'''
