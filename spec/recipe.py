"""How a network is fed, trained and evaluated, as a spec states it."""

from typing import Annotated, Literal, assert_never

from pydantic import Field, model_validator

from spec.base import (
    LARGEST_FLOAT32,
    AsTuple,
    Extent,
    FieldError,
    Fraction,
    InFloat32,
    Line,
    NotNegative,
    Number,
    Part,
    Positive,
)

Factor = Annotated[float, Field(gt=0, lt=1), InFloat32]
Percent = Annotated[float, Field(ge=0, le=100), InFloat32]

#: No draw from a normal distribution lies so many standard deviations from its mean (10⁻²³ of them do).
FARTHEST = 10


# --- Preprocessing ---------------------------------------------------------------------------------------------------


class PcaColour(Part):
    """PCA colour augmentation: add [p1 p2 p3]·[a1λ1 a2λ2 a3λ3]ᵀ to every pixel, a drawn once an image and use."""

    std: Positive
    """Standard deviation of a."""
    scale_by: Literal["eigenvalue", "root_of_eigenvalue"]
    """The paper multiplies a by λ, the code of 2012 by its square root."""
    rescale: Literal["none", "one_plus_std"]
    """`one_plus_std`: the image, mean subtracted and colour added, is then divided by 1 + std (the code of 2012)."""


class Augmentation(Part):
    """What training changes in every image, at random."""

    crop: Literal["random", "none"]
    horizontal_flip: bool
    pca_colour: PcaColour | None


class Mean(Part):
    """What is subtracted from every image."""

    kind: Literal["per_pixel", "per_channel"]
    """A mean image, or one figure a channel."""
    rgb: Annotated[tuple[Number, Number, Number], AsTuple]
    """Mean a channel on the 0–255 scale. A per-pixel mean image is data; where none is at hand, this stands in."""


class Preprocessing(Part):
    """From an image file to the network's input."""

    shorter_side: Extent
    """Images are scaled until their shorter side has so many pixels."""
    centre_crop: Extent
    """Side of the central square that is kept, from which the network's input is cropped."""
    value_range: Annotated[tuple[Number, Number], AsTuple]
    """Range of pixel values before the mean is subtracted; the paper keeps 0–255."""
    mean: Mean
    augmentation: Augmentation

    @model_validator(mode="after")
    def _consistent(self) -> "Preprocessing":
        if self.centre_crop > self.shorter_side:
            raise FieldError(
                ("centre_crop",),
                f"centre_crop: expected at most shorter_side={self.shorter_side}, found {self.centre_crop}",
            )
        low, high = self.value_range
        if low >= high:
            raise FieldError(("value_range",), f"value_range: expected low below high, found {[low, high]}")
        if high - low > LARGEST_FLOAT32:
            raise FieldError(
                ("value_range",), f"value_range: expected a distance that float32 can hold, found {[low, high]}"
            )
        return self


# --- Training --------------------------------------------------------------------------------------------------------


class Normal(Part):
    """Independent draws from a normal distribution."""

    kind: Literal["normal"]
    mean: Number
    std: Positive

    @model_validator(mode="after")
    def _in_float32(self) -> "Normal":
        if abs(self.mean) + FARTHEST * self.std > LARGEST_FLOAT32:
            raise FieldError(
                ("std",),
                f"std: expected draws from mean={self.mean} ± {FARTHEST}·std that float32 can hold, found {self.std}",
            )
        return self


class Uniform(Part):
    """Independent draws from [low, high)."""

    kind: Literal["uniform"]
    low: Number
    high: Number

    @model_validator(mode="after")
    def _ordered(self) -> "Uniform":
        if self.low >= self.high:
            raise FieldError(("high",), f"high: expected more than low={self.low}, found {self.high}")
        if self.high - self.low > LARGEST_FLOAT32:
            raise FieldError(
                ("high",), f"high: expected a distance from low={self.low} that float32 can hold, found {self.high}"
            )
        return self


class Constant(Part):
    """One value everywhere."""

    kind: Literal["constant"]
    value: Number


Initialiser = Annotated[Normal | Uniform | Constant, Field(discriminator="kind")]


class Initialisers(Part):
    """What each parameter starts from."""

    weights: Initialiser
    biases: Initialiser
    overrides: dict[str, Initialiser]
    """Parameters by their name (`conv2.bias`) that start from something else."""


class Loss(Part):
    """What is minimised."""

    kind: Literal["softmax_cross_entropy"]
    reduction: Literal["mean", "sum"]
    """Over the examples of a batch."""


class Sgd(Part):
    """Stochastic gradient descent with momentum, with the form of its update spelled out."""

    kind: Literal["sgd"]
    momentum: Fraction
    rate: Literal["inside_velocity", "outside_velocity"]
    """`inside_velocity`: v ← μv − ε(g + …); w ← w + v (paper). `outside_velocity`: v ← μv + g + …; w ← w − εv."""
    weight_decay: NotNegative
    """λ of the update's λ·w (that is λ/2·‖w‖² in the loss)."""
    decay: Literal["inside_momentum", "coupled", "decoupled"]
    """`inside_momentum`: a term of the velocity's own update: v ← μv − ελw − εg (paper §5, code of 2012).
    `coupled`: λw is added to the gradient before the optimiser sees it (torch); the same update but for rounding.
    `decoupled`: w ← w − ελw beside the velocity, which never sees it (Keras)."""
    decays: Literal["weights", "weights_and_biases"]
    """`weights`: the `weight` of convolutions and dense layers. `weights_and_biases`: every parameter."""
    bias_rate_factor: Positive
    """The first rate of biases over that of weights (1 in the paper, 2 in Caffe and in the code of 2012). Every
    parameter that adds is a bias: `bias`, and the `shift` of a batch norm."""
    bias_schedule: Literal["of_weights", "constant"]
    """`constant`: the rate of biases stays what it is at first, while the schedule lowers that of weights (2012)."""


class Steps(Part):
    """The rate is multiplied by `factor` at the start of each of the epochs named; the first epoch is 0."""

    kind: Literal["steps"]
    rate: Positive
    factor: Factor
    epochs: Annotated[tuple[Extent, ...], Field(min_length=1), AsTuple]


class Plateau(Part):
    """The rate is multiplied by `factor` when validation error has not fallen for `patience` epochs, `drops` times.

    The count begins anew after each drop; an error that is no number has not fallen.
    """

    kind: Literal["plateau"]
    rate: Positive
    factor: Factor
    drops: Extent
    patience: Extent


class Training(Part):
    """The recipe that trained the network."""

    loss: Loss
    optimizer: Sgd
    schedule: Annotated[Steps | Plateau, Field(discriminator="kind")]
    batch: Extent
    epochs: Extent
    initialisers: Initialisers

    @model_validator(mode="after")
    def _schedule_fires(self) -> "Training":
        match self.schedule:
            case Steps(epochs=epochs):
                late = [epoch for epoch in epochs if epoch >= self.epochs]
                if late:
                    raise FieldError(
                        ("schedule", "epochs"),
                        f"schedule: expected steps before epoch {self.epochs}, found {late[0]}, which never comes",
                    )
                if list(epochs) != sorted(set(epochs)):
                    raise FieldError(("schedule", "epochs"), f"schedule: expected rising epochs, found {list(epochs)}")
            case Plateau(drops=drops, patience=patience):
                if drops * patience + 1 >= self.epochs:
                    raise FieldError(
                        ("schedule", "patience"),
                        f"schedule: expected patience and drops that fit {self.epochs} epochs, found {drops} drops "
                        f"after {patience} epochs each, the last of which can come at epoch {drops * patience + 1} "
                        "at the earliest, and so never comes",
                    )
            case _:
                assert_never(self.schedule)
        return self


# --- Evaluation ------------------------------------------------------------------------------------------------------


class Result(Part):
    """A published error, with everything that it depends on."""

    data: Line
    """Data set and split."""
    networks: Extent
    """How many networks' predictions were averaged."""
    pretraining: Line | None
    top1_error_percent: Percent | None
    top5_error_percent: Percent
    source: Line


class Contradicted(Part):
    """A claim found in popular accounts that the primary sources, or this spec's own figures, contradict."""

    claim: Line
    truth: Line


class Evaluation(Part):
    """How the network is tested."""

    views: Literal["centre", "ten_crop"]
    """`ten_crop`: four corners and the centre, each with its mirror image."""
    average: Literal["probabilities", "logits"]
    """What is averaged over views, and over the networks of an ensemble."""
    results: Annotated[tuple[Result, ...], AsTuple]
    contradicted: Annotated[tuple[Contradicted, ...], AsTuple]
