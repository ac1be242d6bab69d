"""Canonical weights from a seed, in float32: convolutions (out, in / groups, height, width), dense layers (out, in)."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from math import prod, sqrt
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt

from spec.base import Shape
from spec.exits import InputError
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
from spec.recipe import Constant, Initialiser, Normal, Uniform

WeightSet = Literal["paper", "scaled"]
"""`paper`: the spec's own initialisers. `scaled`: weights that keep the scale of activations from layer to layer."""

WEIGHT_SETS: tuple[WeightSet, ...] = ("paper", "scaled")

Float32 = npt.NDArray[np.float32]


def weights(network: Network, weight_set: WeightSet, seed: int) -> dict[str, Float32]:
    """Draw every tensor of `network`; raises InputError for a set that the spec does not define."""
    initialisers = plan(network, weight_set)
    shapes = network.tensor_shapes

    def drawn(name: str) -> Float32:
        return draw(initialisers[name], shapes[name], generator(seed, weight_set, name))

    with ThreadPoolExecutor() as threads:
        return dict(zip(shapes, threads.map(drawn, shapes), strict=True))


def plan(network: Network, weight_set: WeightSet) -> dict[str, Initialiser]:
    """What each tensor is drawn from, by its canonical name."""
    if weight_set not in WEIGHT_SETS:
        raise InputError(f"weights: expected one of {', '.join(WEIGHT_SETS)}, found {weight_set!r:.80}")
    if weight_set == "paper":
        return _paper(network)
    halved = _halved(network)
    return {
        name: _scaled(name, shape, gain=2.0 if layer.name in halved else 1.0)
        for layer in network.layers
        for name, shape in layer.tensor_shapes.items()
    }


def generator(seed: int, *words: str | int) -> np.random.Generator:
    """A stream of random numbers of its own for each choice of `words`, whatever else is drawn and in what order."""
    digest = hashlib.sha256(repr((seed, *words)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest[:16], "little")))


def draw(initialiser: Initialiser, shape: Shape, random: np.random.Generator) -> Float32:
    """An array of `shape` from `random`, drawn in float32."""
    match initialiser:
        case Constant(value=value):
            return np.full(shape, value, np.float32)
        case Normal(mean=mean, std=std):
            array = random.standard_normal(shape, np.float32)
            array *= np.float32(std)
            array += np.float32(mean)
        case Uniform(low=low, high=high):
            array = random.random(shape, np.float32)
            array *= np.float32(high - low)
            array += np.float32(low)
        case _:
            assert_never(initialiser)
    return array


def _kind(tensor: str) -> str:
    """What a tensor is to its layer: `weight` of `conv1.weight`."""
    return tensor.rpartition(".")[2]


def _paper(network: Network) -> dict[str, Initialiser]:
    if network.training is None:
        raise InputError(
            f"weights: network {network.name!r} has no section 'training', and so no weights 'paper'; use 'scaled'"
        )
    stated = network.training.initialisers
    by_kind: dict[str, Initialiser] = {
        "weight": stated.weights,
        "bias": stated.biases,
        "scale": Constant(kind="constant", value=1.0),
        "shift": Constant(kind="constant", value=0.0),
        "mean": Constant(kind="constant", value=0.0),
        "variance": Constant(kind="constant", value=1.0),
    }
    return {name: stated.overrides.get(name, by_kind[_kind(name)]) for name in network.tensor_shapes}


def _scaled(name: str, shape: Shape, gain: float) -> Initialiser:
    """An initialiser that keeps activations at the scale of the layer's input, and leaves no tensor without effect."""
    match _kind(name):
        case "weight":
            return Normal(kind="normal", mean=0.0, std=sqrt(gain / prod(shape[1:])))
        case "bias":
            return Uniform(kind="uniform", low=0.25, high=1.0)
        case "scale":
            return Uniform(kind="uniform", low=0.75, high=1.25)
        case "shift" | "mean":
            return Normal(kind="normal", mean=0.0, std=0.5)
        case "variance":
            return Uniform(kind="uniform", low=0.5, high=1.5)
        case other:
            raise AssertionError(f"a tensor of a kind that no initialiser knows: {other}")


def _halved(network: Network) -> set[str]:
    """The operators of whose output some ReLU takes half, perhaps after a normalisation or pooling."""
    halved: set[str] = set()
    for operator in reversed(network.graph):
        if isinstance(operator, Relu) or (operator.name in halved and _passes(operator)):
            halved.update(operator.reads)
    return halved


def _passes(operator: AnyOperator) -> bool:
    """Whether what happens to the output of `operator` happens to its inputs."""
    match operator:
        case Relu() | Conv() | Dense() | Tanh() | Softmax():
            return False
        case Lrn() | MaxPool() | AvgPool() | GlobalAvgPool() | Flatten() | Dropout() | BatchNorm() | Add() | Concat():
            return True
        case _:
            assert_never(operator)
