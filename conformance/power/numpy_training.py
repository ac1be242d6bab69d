"""What a runner in NumPy's float32 does to train, right or with one planted fault: the oracle's own functions."""

from dataclasses import replace

import numpy as np

from conformance import evaluation
from conformance.backpropagation import backpropagate, logits_tap, train_layer
from conformance.colour import ColourAxes, coloured
from conformance.dropout import drawn_masks
from conformance.gradients import Gradients, Mask, gradients
from conformance.losses import Labels, loss, loss_gradient
from conformance.oracle import Array, evaluate, lrn_sums
from conformance.power.fault import Tensors
from conformance.updates import Rates, State, is_bias, start, update
from conformance.windows import pool_pads, pool_windows, spread
from impls.training import Batch
from spec.network import Network
from spec.operators import Dropout, Lrn, MaxPool, Relu
from spec.recipe import Evaluation, PcaColour, Sgd, Training
from spec.shapes import Layer
from spec.weights import draw, generator, plan


class NumpyTrainer:
    """Trains the loaded network; a `impls.training.TrainingRunner` but for what a runner does besides."""

    trains = True

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.network: Network
        self.tensors: Tensors = {}
        """As loaded, and after steps of training as these left them."""
        self.loaded: Tensors = {}
        self._trained = State({}, {})
        self._rates: Rates | None = None
        """Of the step before."""

    @property
    def training(self) -> Training:
        """The network's recipe."""
        assert self.network.training is not None
        return self.network.training

    def gradients(
        self, x: Array, substitutes: Tensors, cotangents: Tensors, masks: dict[str, Mask], labels: Labels
    ) -> tuple[float, Tensors]:
        read = {self.network.input.name: x, **substitutes}
        found: Tensors = {}
        for layer in self.network.layers:
            inputs = tuple(read[name] for name in layer.operator.reads)
            passed = self._passed(layer, inputs, cotangents[layer.name], masks.get(layer.name))
            found |= passed.parameters
            for name, gradient in zip(layer.operator.reads, passed.inputs, strict=True):
                found[name] = found[name] + gradient if name in found else gradient
        logits = logits_tap(self.network)
        stated = self.training.loss
        if self.fault == "loss_sum_for_mean":
            stated = stated.model_copy(update={"reduction": "sum"})
        of_loss = loss_gradient(read[logits], labels, stated)
        found[logits] = found[logits] + of_loss if logits in found else of_loss
        return float(loss(read[logits], labels, stated)), found

    def train_trace(
        self, x: Array, substitutes: Tensors | None, masks: dict[str, Mask] | None, seed: int, taps: list[str]
    ) -> tuple[Tensors, str]:
        kept = drawn_masks(self.network, len(x), seed, 0) if masks is None else masks
        fed = {self.network.input.name: x}
        recorded: Tensors = {}
        for layer in self.network.layers:
            inputs = tuple(fed[name] for name in layer.operator.reads)
            recorded[layer.name] = self._trained_value(layer, inputs, kept.get(layer.name))
            fed[layer.name] = substitutes[layer.name] if substitutes else recorded[layer.name]
        return {name: value for name, value in recorded.items() if name in taps}, "cpu"

    def start(self, velocities: Tensors | None) -> None:
        names = [name for layer in self.network.layers for name in layer.parameter_shapes]
        state = start({name: self.loaded[name] for name in names})
        if velocities is not None and self.fault == "stale_velocity_after_resume":
            velocities = self._trained.velocities
        self._trained = replace(state, velocities=velocities) if velocities is not None else state
        self.tensors = dict(self.loaded)

    def step(self, batch: Batch) -> float:
        if self.fault == "rate_never_changed" and self._rates is not None:
            batch = replace(batch, rates=(self._rates.weights, self._rates.biases))
        back = backpropagate(self.network, self.tensors, batch.x, batch.labels, batch.masks, self.training.loss)
        gradients32 = {name: value.astype(np.float32) for name, value in back.parameters.items()}
        rates = Rates(*batch.rates)
        self._trained = update(self._before(rates), gradients32, self._optimizer(), rates)
        self._rates = rates
        self.tensors = self.tensors | self._trained.parameters
        return back.loss

    def state(self) -> tuple[Tensors, Tensors]:
        return self.tensors, self._trained.velocities

    def initialise(self, seed: int) -> Tensors:
        shapes = self.network.tensor_shapes
        drawn_from = plan(self.network, "paper")
        return {name: draw(drawn_from[name], shapes[name], generator(seed, "numpy", name)) for name in shapes}

    def predict(self, images: Array) -> Array:
        stated = self.network.evaluation
        assert isinstance(stated, Evaluation)
        _, height, width = self.network.input.shape
        views = evaluation.crops(images, (height, width), stated.views)
        if self.fault == "one_crop_mirrored":
            views[3] = views[3][..., ::-1].copy()
        return evaluation.averaged(np.stack([self._logits(view) for view in views]), stated.average)

    def colour(self, images: Array, eigenvalues: Array, eigenvectors: Array, draws: Array) -> Array:
        preprocessing = self.network.preprocessing
        assert preprocessing is not None and isinstance(preprocessing.augmentation.pca_colour, PcaColour)
        stated = preprocessing.augmentation.pca_colour
        if self.fault == "pca_root_for_eigenvalue":
            stated = stated.model_copy(update={"scale_by": "root_of_eigenvalue"})
        return coloured(images, ColourAxes(eigenvalues, eigenvectors), draws, stated)

    def _optimizer(self) -> Sgd:
        """The stated optimiser, with the fault that is planted in it."""
        match self.fault:
            case "decay_on_biases":
                return self.training.optimizer.model_copy(update={"decays": "weights_and_biases"})
            case "decay_outside_momentum":
                return self.training.optimizer.model_copy(update={"decay": "decoupled"})
        return self.training.optimizer

    def _before(self, rates: Rates) -> State:
        """The state before a step with these rates; a velocity is what a parameter last moved by."""
        if self.fault != "momentum_of_torch" or self._rates is None:
            return self._trained
        # Torch multiplies the whole velocity by the rate of the day, so that the steps before a change count less.
        weights, biases = rates.weights / self._rates.weights, rates.biases / self._rates.biases
        velocities = {
            name: value * np.float32(biases if is_bias(name) else weights)
            for name, value in self._trained.velocities.items()
        }
        return replace(self._trained, velocities=velocities)

    def _trained_value(self, layer: Layer, inputs: tuple[Array, ...], mask: Mask | None) -> Array:
        """One operator's output while training, with the fault that is planted in it."""
        value = train_layer(layer, inputs, self.tensors, mask)
        match self.fault, layer.operator:
            case "dropout_inverted_while_training", Dropout(name="drop6") as dropout:
                return value / np.float32(1 - dropout.drop_probability)
        return value

    def _logits(self, x: Array) -> Array:
        fed = {self.network.input.name: x}
        for layer in self.network.layers:
            fed[layer.name] = evaluate(layer, tuple(fed[name] for name in layer.operator.reads), self.tensors)
        return fed[logits_tap(self.network)]

    def _passed(self, layer: Layer, inputs: tuple[Array, ...], g: Array, mask: Mask | None) -> Gradients:
        """One operator's gradients, with the fault that is planted in it."""
        right, x = gradients(layer, inputs, self.tensors, g, mask), inputs[0]
        match self.fault, layer.operator:
            case "relu_slope_one_at_0", Relu(name="relu3"):
                return Gradients((np.where(x >= 0, g, np.float32(0)),), {})
            case "tie_split", MaxPool(name="pool2") as operator:
                return Gradients((_split_at_ties(x, g, operator),), {})
            case "lrn_denominator_constant", Lrn(name="norm2") as operator:
                return Gradients((g * (operator.k + operator.alpha_sum * lrn_sums(x, operator)) ** -operator.beta,), {})
        match self.fault, layer.name:
            case "gradient_of_the_other_group", "conv4":
                kernel = right.parameters["conv4.weight"]
                swapped = np.roll(kernel, len(kernel) // 2, axis=0)
                return Gradients(right.inputs, right.parameters | {"conv4.weight": swapped})
            case "bias_gradient_mean", "conv2":
                mean = right.parameters["conv2.bias"] / np.float32(g[0, 0].size)
                return Gradients(right.inputs, right.parameters | {"conv2.bias": mean})
            case "gradient_batch_reversed", "flatten":
                return Gradients((g.reshape(x.shape)[::-1],), {})
        return right


def _split_at_ties(x: Array, g: Array, operator: MaxPool) -> Array:
    """Every window's gradient in equal shares to all of its largest elements."""
    windows = pool_windows(x, operator, -np.inf)
    largest = windows == windows.max(axis=(4, 5), keepdims=True)
    shares = largest * (g / largest.sum(axis=(4, 5)).astype(g.dtype))[..., None, None]
    size = (x.shape[2], x.shape[3])
    return spread(
        shares.transpose(0, 1, 4, 5, 2, 3), size, operator.kernel, operator.stride, pool_pads(operator, *size)
    )
