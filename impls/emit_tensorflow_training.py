"""Emits how a network is trained and evaluated, as functions beside its TensorFlow module."""

from typing import assert_never

from impls.emission import batched, class_name, number, signature, wrapped
from impls.emission_training import (
    corners,
    dropouts,
    ends_in_softmax,
    initialisers,
    logits_tap,
    parameters,
    pca_colour,
)
from impls.emit_tensorflow_update import Update, update
from impls.frameworks import Lowering
from spec.base import Shape
from spec.network import Network
from spec.operators import Dropout
from spec.recipe import Constant, Evaluation, Initialiser, Loss, Normal, PcaColour, Training, Uniform

MASKS = "Masks = Mapping[str, tf.Tensor]  # of each dropout, by its name: the elements that training keeps"


def recipe(network: Network, lowering: Lowering) -> list[str]:
    """The functions that the sections of the spec ask for; none where it has none."""
    training, evaluation, colour = network.training, network.evaluation, pca_colour(network)
    functions = [
        *([_draw_masks(network)] if dropouts(network) else []),
        *([_logits(network)] if _reads_logits(network) else []),
        *(_training(network, training, lowering) if training else []),
        *([_predict(network, evaluation)] if evaluation else []),
        *([_shift_colours(colour)] if colour else []),
    ]
    return [f"\n{function}" for function in functions]


def _draw_masks(network: Network) -> str:
    lines = [
        "def draw_masks(generator: tf.random.Generator, batch: int) -> dict[str, tf.Tensor]:",
        '    """Masks for one batch, at random."""',
        "    return {",
    ]
    for layer in network.layers:
        if isinstance(layer.operator, Dropout):
            shape = ", ".join(("batch", *map(str, _arranged(layer.output_shape))))
            keep = number(1.0 - layer.operator.drop_probability)
            lines.append(wrapped(f'        "{layer.name}": generator.uniform(({shape})) < {keep},'))
    return "\n".join([*lines, "    }\n"])


def _reads_logits(network: Network) -> bool:
    """Whether the recipe reads logits that `forward` does not return."""
    averaged = network.evaluation is not None and network.evaluation.average == "logits"
    return ends_in_softmax(network) and (network.training is not None or averaged)


def _logits(network: Network) -> str:
    masks, given = (["masks: Masks | None = None"], ", masks") if dropouts(network) else ([], "")
    return f'''\
{signature("logits", [f"model: {class_name(network)}", "x: tf.Tensor", *masks], "tf.Tensor")}
    """What the last softmax reads."""
    read = {{}}

    def keep(name: str, value: tf.Tensor) -> tf.Tensor:
        read[name] = value
        return value

    model.forward(x, keep{given})
    return read["{logits_tap(network)}"]
'''


def _scores(network: Network, logits: bool) -> str:
    """The start of a call that gives logits, or what the network puts out."""
    return "logits(model, " if logits and ends_in_softmax(network) else "model.forward("


# --- Training --------------------------------------------------------------------------------------------------------

PARAMETERS = '''\
def parameters(model: {model}) -> dict[str, tf.Variable]:
    """What training changes, by canonical name."""
    return {{variable.name.removesuffix(":0"): variable for variable in model.trainable_variables}}
'''

TRAIN_STEP = '''\
    """One step on a batch, in place; the loss before it. `rates` (2) are those of weights and of biases."""
    value, slopes = gradients({given})
    update(model, {state}, slopes, rates)
    return value
'''

CANONICAL = '''\
def canonical(values: Mapping[str, tf.Variable]) -> dict[str, np.ndarray]:
    """Parameters, gradients or velocities in canonical layout: kernels (O, I/groups, H, W), dense weights (out, in)."""
    axes = {axes}  # by rank
    return {{name: value.numpy().transpose(axes[len(value.shape)]) for name, value in values.items()}}
'''

#: From how each lowering stores tensors back to canonical layout, by their rank.
AXES: dict[Lowering, str] = {
    "native": "{4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}",
    "fast": "{4: (3, 2, 0, 1), 2: (0, 1), 1: (0,)}",
}

SAVE = '''\
def save(model: {model}) -> dict[str, np.ndarray]:
    """All tensors by canonical names and layouts: the reverse of `load`."""
    return canonical({{variable.name.removesuffix(":0"): variable for variable in model.variables}})
'''


def _training(network: Network, training: Training, lowering: Lowering) -> list[str]:
    """What the section `training` asks for."""
    model = class_name(network)
    step = update(model, parameters(network, training), training.optimizer, lowering)
    return [
        _initialise(network),
        _loss(network, training.loss),
        PARAMETERS.format(model=model),
        _gradients(network),
        *step.functions,
        _train_step(network, step),
        CANONICAL.format(axes=AXES[lowering]),
        SAVE.format(model=model),
    ]


def _initialise(network: Network) -> str:
    """Every tensor as the spec's initialisers have it, a line each."""
    shapes = network.tensor_shapes
    return "\n".join(
        [
            f"def initialise(generator: tf.random.Generator) -> {class_name(network)}:",
            '    """A model to train from the start; `generator` draws what is random."""',
            "    return load(",
            "        {",
            *(
                wrapped(f'            "{name}": {_drawn(initialiser, shapes[name])},')
                for name, initialiser in initialisers(network).items()
            ),
            "        }",
            "    )\n",
        ]
    )


def _drawn(initialiser: Initialiser, shape: Shape) -> str:
    """An array of a canonical shape, as code."""
    match initialiser:
        case Constant(value=value):
            return f"np.full({shape if len(shape) > 1 else shape[0]}, {number(value)}, np.float32)"
        case Normal(mean=mean, std=std):
            return f"generator.normal({shape}, mean={number(mean)}, stddev={number(std)}).numpy()"
        case Uniform(low=low, high=high):
            return f"generator.uniform({shape}, minval={number(low)}, maxval={number(high)}).numpy()"
        case _:
            assert_never(initialiser)


def _loss(network: Network, stated: Loss) -> str:
    how = "averaged over" if stated.reduction == "mean" else "summed over"
    return f'''\
def loss(scores: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Softmax cross-entropy of logits {batched(network.layers[-1].output_shape)} for labels (N), {how} the batch."""
    each = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
    return tf.reduce_{stated.reduction}(each)
'''


def _gradients(network: Network) -> str:
    arguments = [f"model: {class_name(network)}", "x: tf.Tensor", "labels: tf.Tensor"]
    masks, given = (["masks: Masks"], ", masks=masks") if dropouts(network) else ([], "")
    return f'''\
{signature("gradients", [*arguments, *masks], "tuple[tf.Tensor, dict[str, tf.Tensor]]")}
    """The loss of a batch, and its gradient in every parameter; weight decay is not in it."""
    with tf.GradientTape() as tape:
        value = loss({_scores(network, logits=True)}x{given}), labels)
    return value, tape.gradient(value, parameters(model))
'''


def _train_step(network: Network, step: Update) -> str:
    arguments = [f"model: {class_name(network)}", step.state, "x: tf.Tensor", "labels: tf.Tensor", "rates: tf.Tensor"]
    masks, given = (["masks: Masks"], ", masks") if dropouts(network) else ([], "")
    head = signature("train_step", [*arguments, *masks], "tf.Tensor")
    state, _, _ = step.state.partition(":")
    return f"{head}\n{TRAIN_STEP.format(given=f'model, x, labels{given}', state=state)}"


# --- Evaluation and preprocessing ------------------------------------------------------------------------------------

VIEWS = {
    "centre": "The centre of each image is what the network sees.",
    "ten_crop": "Averaged over ten views of each image: four corners and the centre, then their mirror images.",
}


def _predict(network: Network, stated: Evaluation) -> str:
    channels, height, width = network.input.shape
    view = f"{height}, {width}, {channels}"
    crop = f"images[:, top : top + {height}, left : left + {width}]"
    scores = _scores(network, logits=stated.average == "logits")
    classes = network.layers[-1].output_shape[0]
    probabilities = ends_in_softmax(network) and stated.average == "probabilities"
    lines = [
        f"def predict(model: {class_name(network)}, images: tf.Tensor) -> tf.Tensor:",
        f'    """Probabilities (N, {classes}) of images (N, H, W, {channels}).',
        "",
        f"    {VIEWS[stated.views]}",
        '    """',
        f"    rows, columns = images.shape[1] - {height}, images.shape[2] - {width}",
    ]
    match stated.views:
        case "centre":
            ((top, left),) = corners(stated)
            lines += [f"    top, left = {top}, {left}", f"    scores = {scores}{crop})  # (N, {classes})"]
            averaged = "scores" if probabilities else "tf.nn.softmax(scores)"
        case "ten_crop":
            mapped = "model.forward" if scores == "model.forward(" else f"lambda view: {scores}view)"
            listed = ", ".join(f"({top}, {left})" for top, left in corners(stated))
            lines += [
                f"    corners = [{listed}]",
                f"    crops = tf.stack([{crop} for top, left in corners])",
                f"    views = tf.concat([crops, crops[..., ::-1, :]], axis=0)  # (10, N, {view})",
                f"    scores = tf.map_fn({mapped}, views)  # (10, N, {classes})",
            ]
            each = "scores" if probabilities or stated.average == "logits" else "tf.nn.softmax(scores)"
            mean = f"tf.reduce_mean({each}, axis=0)"
            averaged = f"tf.nn.softmax({mean})" if stated.average == "logits" else mean
        case _:
            assert_never(stated.views)
    return "\n".join([*lines, f"    return {averaged}", ""])


def _shift_colours(stated: PcaColour) -> str:
    """The text of `conformance.colour`, as code."""
    match stated.scale_by:
        case "eigenvalue":
            extents = "eigenvalues"
        case "root_of_eigenvalue":
            extents = "tf.sqrt(eigenvalues)"
        case _:
            assert_never(stated.scale_by)
    shifted = "images + shifts[:, tf.newaxis, tf.newaxis]"
    if stated.rescale == "one_plus_std":
        shifted = f"({shifted}) / (1.0 + {number(stated.std)})"
    arrays = ["images", "eigenvalues", "eigenvectors", "draws"]
    return f'''\
{signature("shift_colours", [f"{array}: tf.Tensor" for array in arrays], "tf.Tensor")}
    """Images (N, H, W, 3) with each one's colours shifted along the principal axes of all colours.

    `eigenvectors` are columns (3 colours, 3 axes); `draws` (N, 3) are from a normal distribution with standard
    deviation {number(stated.std)}.
    """
    shifts = tf.linalg.matmul(draws * {extents}, eigenvectors, transpose_b=True)  # (N, 3)
    return {shifted}
'''


def _arranged(shape: Shape) -> Shape:
    """A shape without its batch, channels last."""
    return (*shape[1:], shape[0]) if len(shape) == 3 else shape
