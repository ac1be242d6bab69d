"""What the emitters of training share: what the recipe says of each parameter, dropouts, logits, and views."""

from dataclasses import dataclass

from spec.base import Shape
from spec.network import Network
from spec.operators import Dropout, Softmax
from spec.recipe import Evaluation, Initialiser, PcaColour, Training
from spec.shapes import Layer
from spec.weights import plan

#: Top and left of each view of an image, as code: `rows` and `columns` are how much larger the image is. `ten_crop`
#: has the mirror images of these five behind them, in the same order.
CORNERS: dict[str, tuple[tuple[str, str], ...]] = {
    "centre": (("rows // 2", "columns // 2"),),
    "ten_crop": (("0", "0"), ("0", "columns"), ("rows", "0"), ("rows", "columns"), ("rows // 2", "columns // 2")),
}


@dataclass(frozen=True)
class Parameter:
    """A tensor that training changes, and what the recipe says of it."""

    name: str
    """Canonical: `conv1.weight`."""
    shape: Shape
    """Canonical."""
    is_bias: bool
    """Whether it adds, and so has the rate of biases: `conv1.bias`, `norm1.shift`."""
    decays: bool
    """Whether weight decay acts on it."""


def parameters(network: Network, training: Training) -> tuple[Parameter, ...]:
    """Every parameter, in the order of the graph."""
    optimizer = training.optimizer

    def decays(name: str) -> bool:
        chosen = optimizer.decays == "weights_and_biases" or name.endswith(".weight")
        return chosen and optimizer.weight_decay > 0

    return tuple(
        Parameter(name, shape, name.endswith((".bias", ".shift")), decays(name))
        for layer in network.layers
        for name, shape in layer.parameter_shapes.items()
    )


def initialisers(network: Network) -> dict[str, Initialiser]:
    """What every tensor starts from, statistics of batch norms too, by canonical name; the spec must have a recipe."""
    return plan(network, "paper")


def dropouts(network: Network) -> tuple[Layer, ...]:
    """Every dropout, in the order of the graph."""
    return tuple(layer for layer in network.layers if isinstance(layer.operator, Dropout))


def ends_in_softmax(network: Network) -> bool:
    """Whether the network puts out probabilities; the loss then reads what that softmax reads."""
    return isinstance(network.graph[-1], Softmax)


def logits_tap(network: Network) -> str:
    """The tap that the loss reads. Where the last operator is a softmax, nothing but that softmax reads it too."""
    last = network.graph[-1]
    return last.reads[0] if isinstance(last, Softmax) else last.name


def pca_colour(network: Network) -> PcaColour | None:
    """The shift of colours while training, where the spec states one."""
    return network.preprocessing.augmentation.pca_colour if network.preprocessing else None


def corners(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """Top and left of each view that is not a mirror image, as code."""
    return CORNERS[evaluation.views]
