"""Planted faults of the recipe: gradients, the optimiser, dropout, how parameters begin, how networks are tested."""

from collections.abc import Callable

from conformance.power.fault import OPERATORS, TRAIN, Fault
from conformance.results import Check
from spec.network import Network
from spec.recipe import Constant, Initialiser, Normal

Change = Callable[[Network], Network]


def _optimizer(**changes: object) -> Change:
    """A network whose optimiser has other values."""

    def changed(network: Network) -> Network:
        assert network.training is not None
        return _training(optimizer=network.training.optimizer.model_copy(update=changes))(network)

    return changed


def _training(**changes: object) -> Change:
    """A network whose recipe has other parts."""

    def changed(network: Network) -> Network:
        assert network.training is not None
        return network.model_copy(update={"training": network.training.model_copy(update=changes)})

    return changed


def _initialisers(**changes: Initialiser | dict[str, Initialiser]) -> Change:
    """A network whose parameters begin otherwise."""

    def changed(network: Network) -> Network:
        assert network.training is not None
        return _training(initialisers=network.training.initialisers.model_copy(update=changes))(network)

    return changed


def _loss(reduction: str) -> Change:
    """A network whose loss is reduced otherwise."""

    def changed(network: Network) -> Network:
        assert network.training is not None
        return _training(loss=network.training.loss.model_copy(update={"reduction": reduction}))(network)

    return changed


def _colour(**changes: object) -> Change:
    """A network whose colours are shifted otherwise."""

    def changed(network: Network) -> Network:
        preprocessing = network.preprocessing
        assert preprocessing is not None and preprocessing.augmentation.pca_colour is not None
        colour = preprocessing.augmentation.pca_colour.model_copy(update=changes)
        augmentation = preprocessing.augmentation.model_copy(update={"pca_colour": colour})
        return network.model_copy(
            update={"preprocessing": preprocessing.model_copy(update={"augmentation": augmentation})}
        )

    return changed


def _evaluation(**changes: object) -> Change:
    """A network that is tested otherwise."""

    def changed(network: Network) -> Network:
        assert network.evaluation is not None
        return network.model_copy(update={"evaluation": network.evaluation.model_copy(update=changes)})

    return changed


GRADIENTS: tuple[Fault, ...] = (
    Fault(
        "relu_slope_one_at_0",
        "relu",
        "gradient",
        "a ReLU passes gradients on where it reads 0",
        "relu3",
        instead={
            "torch": "torch.where(x >= 0, x, 0.0)",
            "jax": "jnp.where(x >= 0, x, 0.0)",
            "tensorflow": "tf.where(x >= 0, x, 0.0)",
        },
        check=Check.GRADIENT_INPUT,
        explained_by="slope at 0: 1",
    ),
    Fault(
        "tie_split",
        "max_pool",
        "gradient",
        "a max pool's gradient goes to all of several largest elements",
        "pool2",
        runner=True,
        check=Check.GRADIENT_INPUT,
        explained_by="ties: split",
    ),
    Fault(
        "lrn_denominator_constant",
        "lrn",
        "gradient",
        "no gradient through LRN's denominator",
        "norm2",
        runner=True,
        check=Check.GRADIENT_INPUT,
        explained_by="denominator: constant",
    ),
    Fault(
        "gradient_batch_reversed",
        "flatten",
        "gradient",
        "gradients of a batch in the other order",
        "flatten",
        runner=True,
        check=Check.GRADIENT_INPUT,
        explained_by="batch: in reverse order",
    ),
    Fault(
        "gradient_stopped",
        "conv",
        "gradient",
        "no gradient flows back through conv3",
        "conv3",
        lines={
            "torch": (("self.conv3(x)", "self.conv3(x.detach())"),),
            "jax": (('conv(x, p["conv3"]', 'conv(lax.stop_gradient(x), p["conv3"]'),),
            "tensorflow": (("conv(x, self.conv3", "conv(tf.stop_gradient(x), self.conv3"),),
        },
        check=Check.GRADIENT_INPUT,
    ),
    Fault(
        "gradient_of_the_other_group",
        "conv",
        "gradient",
        "the towers' weight gradients are exchanged",
        "conv4.weight",
        runner=True,
        check=Check.GRADIENT_PARAMETER,
        explained_by="groups: exchanged",
    ),
    Fault(
        "bias_gradient_mean",
        "conv",
        "gradient",
        "a bias's gradient is a mean over places",
        "conv2.bias",
        runner=True,
        check=Check.GRADIENT_PARAMETER,
        explained_by="places: averaged",
    ),
    Fault(
        "loss_sum_for_mean",
        "recipe",
        "loss.reduction",
        "losses are added up instead of averaged",
        "fc8",
        network=_loss("sum"),
        check=Check.LOSS,
        explained_by="reduction: sum",
    ),
)

OPTIMISER: tuple[Fault, ...] = (
    Fault(
        "momentum",
        "recipe",
        "optimizer.momentum",
        "momentum 0.8 instead of 0.9, which shows once something moves",
        "conv1.weight",
        network=_optimizer(momentum=0.8),
        check=Check.TRAJECTORY,
        step=2,
        explained_by="momentum: 0.8",
    ),
    Fault(
        "momentum_of_torch",
        "recipe",
        "optimizer.rate",
        "the rate multiplies the whole velocity, which shows once it has changed",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=11,
        explained_by="rate: of the day, in the whole velocity",
    ),
    Fault(
        "velocity_of_torch",
        "recipe",
        "optimizer.rate",
        "the rate is not in the velocity at all",
        "conv1.weight",
        network=_optimizer(rate="outside_velocity"),
        check=Check.TRAJECTORY,
        step=1,
        explained_by="rate: outside_velocity",
    ),
    Fault(
        "weight_decay",
        "recipe",
        "optimizer.weight_decay",
        "λ = 0.001 instead of 0.0005",
        "conv1.weight",
        network=_optimizer(weight_decay=0.001),
        check=Check.TRAJECTORY,
        step=1,
        explained_by="weight_decay: 0.001",
    ),
    Fault(
        "decay_outside_momentum",
        "recipe",
        "optimizer.decay",
        "weights decay beside the velocity, which never sees it",
        "conv1.weight",
        network=_optimizer(decay="decoupled"),
        check=Check.TRAJECTORY,
        step=1,
        explained_by="decay: decoupled",
    ),
    Fault(
        "decay_on_biases",
        "recipe",
        "optimizer.decays",
        "biases decay too: first those that begin at 1",
        "conv2.bias",
        network=_optimizer(decays="weights_and_biases"),
        check=Check.TRAJECTORY,
        step=1,
        explained_by="decays: weights_and_biases",
    ),
    Fault(
        "bias_rate_of_weights",
        "recipe",
        "optimizer.bias_rate_factor",
        "biases have the rate of weights",
        "bn1.shift",
        OPERATORS,
        lines=dict.fromkeys(TRAIN, (("rates[1]", "rates[0]"),)),
        check=Check.TRAJECTORY,
        step=1,
        explained_by="bias_rate_factor: 1",
    ),
    Fault(
        "bias_rate_lowered",
        "recipe",
        "optimizer.bias_schedule",
        "the schedule lowers the rate of biases too",
        "bn1.shift",
        OPERATORS,
        lines=dict.fromkeys(TRAIN, (("rates[1]", "(2.0 * rates[0])"),)),
        check=Check.TRAJECTORY,
        step=11,
        explained_by="bias_schedule: of_weights",
    ),
    Fault(
        "rate_never_changed",
        "recipe",
        "schedule.rate",
        "training goes on at the first step's rate",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=11,
        explained_by="rate: times 10",
    ),
    Fault(
        "stale_velocity_after_resume",
        "recipe",
        "state",
        "training goes on with the velocity of before, not with the one it is given",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=20,
        explained_by="velocity: of before the state was loaded",
    ),
)

INITIALISERS: tuple[Fault, ...] = (
    Fault(
        "initial_weights",
        "recipe",
        "initialisers.weights",
        "standard deviation 0.02 instead of 0.01",
        "conv1.weight",
        network=_initialisers(weights=Normal(kind="normal", mean=0.0, std=0.02)),
        check=Check.INITIALISER,
    ),
    Fault(
        "initial_biases",
        "recipe",
        "initialisers.biases",
        "biases begin at 0.1 instead of 0",
        "conv1.bias",
        network=_initialisers(biases=Constant(kind="constant", value=0.1)),
        check=Check.INITIALISER,
    ),
    Fault(
        "initial_overrides",
        "recipe",
        "initialisers.overrides",
        "all biases begin alike",
        "conv2.bias",
        network=_initialisers(overrides={}),
        check=Check.INITIALISER,
    ),
)

DROPOUT: tuple[Fault, ...] = (
    Fault(
        "dropout_inverted_while_training",
        "dropout",
        "convention",
        "what is kept is divided by the keep probability while training",
        "drop6",
        lines={
            "torch": (("return x * kept", "return x * kept / (1.0 - p)"),),
            "jax": (('masks["drop6"]))', 'masks["drop6"] / 0.5))'),),
            "tensorflow": (('tf.where(masks["drop6"], x, 0.0)', 'tf.where(masks["drop6"], x / 0.5, 0.0)'),),
        },
        check=Check.DROPOUT,
        explained_by="scale while training: the inverse of the keep probability",
    ),
    Fault(
        "dropout_while_evaluating",
        "dropout",
        "op",
        "evaluation drops elements too",
        "drop6",
        runner=True,
        check=Check.DROPOUT,
        explained_by="evaluation: drops too, scale the keep probability",
    ),
    Fault(
        "dropout_inverted_throughout",
        "dropout",
        "convention",
        "the kept elements are scaled while training, and all of them never",
        "drop6",
        network=lambda network: network.with_operator("drop6", convention="inverted"),
        check=Check.DROPOUT,
        explained_by="convention: inverted",
    ),
    Fault(
        "dropout_rate_while_training",
        "dropout",
        "drop_probability",
        "training keeps 0.6 instead of 0.5",
        "drop6",
        lines={
            "torch": (('dropped(x, 0.5, masks, "drop6")', 'dropped(x, 0.4, masks, "drop6")'),),
            "jax": (("bernoulli(keys[0], 0.5", "bernoulli(keys[0], 0.6"),),
            "tensorflow": (("(batch, 40)) < 0.5", "(batch, 40)) < 0.6"),),
        },
        check=Check.DROPOUT,
        explained_by="drop_probability while training: 0.4",
    ),
)

IMAGES: tuple[Fault, ...] = (
    Fault(
        "one_crop_mirrored",
        "recipe",
        "evaluation.views",
        "one of ten crops is mirrored, and its mirror image is not",
        "probabilities",
        runner=True,
        check=Check.EVALUATION,
        explained_by="views: crop 4 mirrored",
    ),
    Fault(
        "no_crop_mirrored",
        "recipe",
        "evaluation.views",
        "the second five crops are the first",
        "probabilities",
        lines={
            "torch": (("crops, crops.flip(4)", "crops, crops"),),
            "jax": (("crops, crops[..., ::-1]", "crops, crops"),),
            "tensorflow": (("crops, crops[..., ::-1, :]", "crops, crops"),),
        },
        check=Check.EVALUATION,
        explained_by="views: none mirrored",
    ),
    Fault(
        "one_view",
        "recipe",
        "evaluation.views",
        "the centre alone instead of ten crops",
        "probabilities",
        network=_evaluation(views="centre"),
        check=Check.EVALUATION,
        explained_by="views: centre",
    ),
    Fault(
        "centre_off_by_one",
        "recipe",
        "evaluation.views",
        "the crop of the centre is one row too low",
        "probabilities",
        lines=dict.fromkeys(TRAIN, (("(rows // 2, columns // 2)", "(rows // 2 + 1, columns // 2)"),)),
        check=Check.EVALUATION,
        explained_by="centre: one pixel down",
    ),
    Fault(
        "logits_averaged",
        "recipe",
        "evaluation.average",
        "logits are averaged instead of probabilities",
        "probabilities",
        network=_evaluation(average="logits"),
        check=Check.EVALUATION,
        explained_by="average: logits",
    ),
    Fault(
        "pca_root_for_eigenvalue",
        "recipe",
        "augmentation.pca_colour.scale_by",
        "colours are shifted by the roots of the eigenvalues",
        "images",
        network=_colour(scale_by="root_of_eigenvalue"),
        check=Check.COLOUR,
        explained_by="scale_by: root_of_eigenvalue",
    ),
    Fault(
        "pca_rescaled",
        "recipe",
        "augmentation.pca_colour.rescale",
        "shifted images are divided by 1.1",
        "images",
        network=_colour(rescale="one_plus_std"),
        check=Check.COLOUR,
        explained_by="rescale: one_plus_std",
    ),
    Fault(
        "pca_std",
        "recipe",
        "augmentation.pca_colour.std",
        "shifted images are divided by 1.2 instead of 1.1",
        "images",
        OPERATORS,
        network=_colour(std=0.2),
        check=Check.COLOUR,
        explained_by="std: 0.2",
    ),
    Fault(
        "pca_transposed",
        "recipe",
        "augmentation.pca_colour",
        "eigenvectors are read as rows instead of columns",
        "images",
        lines={
            "torch": (("@ eigenvectors.T", "@ eigenvectors"),),
            "jax": (("@ eigenvectors.T", "@ eigenvectors"),),
            "tensorflow": ((", transpose_b=True", ""),),
        },
        check=Check.COLOUR,
        explained_by="eigenvectors: rows for columns",
    ),
)

RECIPE_FAULTS = (*GRADIENTS, *OPTIMISER, *INITIALISERS, *DROPOUT, *IMAGES)

#: Fields of the recipe of which no fault can be planted in a framework, and why.
NOT_IN_A_SOURCE = {
    "loss.kind": "the language has one",
    "optimizer.kind": "the language has one",
    "schedule.kind": "the suite follows the schedule; every step is told its rates",
    "schedule.factor": "as schedule.kind; a rate that is not taken is planted as schedule.rate",
    "schedule.epochs": "as schedule.kind",
    "schedule.drops": "as schedule.kind",
    "schedule.patience": "as schedule.kind",
    "batch": "says how many images training reads at once; any source takes any number",
    "epochs": "says how long training goes on",
    "evaluation.results": "published errors, which nothing computes",
    "evaluation.contradicted": "claims, which nothing computes",
    "augmentation.crop": "the suite crops; all frameworks are given the same images",
    "augmentation.horizontal_flip": "as augmentation.crop",
}
