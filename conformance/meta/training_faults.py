"""Planted faults of training: gradients, the optimiser, dropout, how images are shifted and networks tested."""

from collections.abc import Callable

from conformance.meta.faults import Fault
from conformance.results import Check
from spec.network import Network


def _recipe(**changes: object) -> Callable[[Network], Network]:
    """A network whose optimiser has other values."""

    def changed(network: Network) -> Network:
        assert network.training is not None
        optimizer = network.training.optimizer.model_copy(update=changes)
        return network.model_copy(update={"training": network.training.model_copy(update={"optimizer": optimizer})})

    return changed


def _root_for_eigenvalue(network: Network) -> Network:
    preprocessing = network.preprocessing
    assert preprocessing is not None and preprocessing.augmentation.pca_colour is not None
    colour = preprocessing.augmentation.pca_colour.model_copy(update={"scale_by": "root_of_eigenvalue"})
    augmentation = preprocessing.augmentation.model_copy(update={"pca_colour": colour})
    return network.model_copy(update={"preprocessing": preprocessing.model_copy(update={"augmentation": augmentation})})


TRAINING_FAULTS: tuple[Fault, ...] = (
    # Gradients of single operators.
    Fault(
        "relu_slope_one_at_0",
        "a ReLU passes gradients on where it reads 0",
        "relu3",
        runner=True,
        check=Check.GRADIENT_INPUT,
    ),
    Fault(
        "tie_split",
        "a max pool's gradient goes to all of several largest elements",
        "pool2",
        runner=True,
        check=Check.GRADIENT_INPUT,
    ),
    Fault(
        "lrn_denominator_constant",
        "no gradient through LRN's denominator",
        "norm2",
        runner=True,
        check=Check.GRADIENT_INPUT,
    ),
    Fault(
        "gradient_batch_reversed",
        "gradients of a batch in the other order",
        "flatten",
        runner=True,
        check=Check.GRADIENT_INPUT,
    ),
    Fault(
        "gradient_of_the_other_group",
        "the towers' weight gradients are exchanged",
        "conv4.weight",
        runner=True,
        check=Check.GRADIENT_PARAMETER,
    ),
    Fault(
        "bias_gradient_mean",
        "a bias's gradient is a mean over places",
        "conv2.bias",
        runner=True,
        check=Check.GRADIENT_PARAMETER,
    ),
    Fault("loss_sum_for_mean", "losses are added up instead of averaged", "fc8", runner=True, check=Check.LOSS),
    # The optimiser.
    Fault(
        "momentum_of_torch",
        "the rate multiplies the whole velocity, which shows once it has changed",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=11,
    ),
    Fault(
        "velocity_of_torch",
        "the rate is not in the velocity at all",
        "conv1.weight",
        network=_recipe(rate="outside_velocity"),
        check=Check.TRAJECTORY,
        step=1,
    ),
    Fault(
        "decay_on_biases",
        "biases decay too: first those that begin at 1",
        "conv2.bias",
        runner=True,
        check=Check.TRAJECTORY,
        step=1,
    ),
    Fault(
        "decay_outside_momentum",
        "weights decay beside the velocity, which never sees it",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=1,
    ),
    Fault(
        "stale_velocity_after_resume",
        "training goes on with the velocity of before, not with the one it is given",
        "conv1.weight",
        runner=True,
        check=Check.TRAJECTORY,
        step=20,
    ),
    # Dropout.
    Fault(
        "dropout_inverted_while_training",
        "what is kept is divided by the keep probability while training",
        "drop6",
        runner=True,
        check=Check.DROPOUT,
    ),
    Fault("dropout_while_evaluating", "evaluation drops elements too", "drop6", runner=True, check=Check.DROPOUT),
    Fault(
        "dropout_inverted_throughout",
        "the kept elements are scaled while training, and all of them never",
        "drop6",
        network=lambda network: network.with_operator("drop6", convention="inverted"),
        check=Check.DROPOUT,
    ),
    # Whole images.
    Fault(
        "one_crop_mirrored",
        "one of ten crops is mirrored, and its mirror image is not",
        "probabilities",
        runner=True,
        check=Check.EVALUATION,
    ),
    Fault(
        "no_crop_mirrored",
        "the second five crops are the first",
        "probabilities",
        lines={
            "torch": (("crops, crops.flip(4)", "crops, crops"),),
            "jax": (("crops, crops[..., ::-1]", "crops, crops"),),
            "tensorflow": (("crops, crops[..., ::-1, :]", "crops, crops"),),
        },
        check=Check.EVALUATION,
    ),
    Fault(
        "pca_root_for_eigenvalue",
        "colours are shifted by the roots of the eigenvalues",
        "images",
        runner=True,
        check=Check.COLOUR,
    ),
    Fault(
        "pca_root_in_the_source",
        "the same, in each framework",
        "images",
        network=_root_for_eigenvalue,
        check=Check.COLOUR,
    ),
)
