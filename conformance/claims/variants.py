"""Networks that differ from a given one in what a claim of the paper is about."""

from collections.abc import Callable
from typing import assert_never

from conformance.updates import is_weight
from spec.exits import InputError
from spec.network import Network
from spec.operators import AnyOperator, Dropout, Lrn, MaxPool, Operator, Relu, Tanh
from spec.recipe import Constant, Initialiser, Normal, Training, Uniform
from spec.shapes import ShapeError


def with_tanh(network: Network) -> Network:
    """tanh for every ReLU, under the same names."""
    _require(network, Relu)
    return network.with_graph([_as_tanh(operator) for operator in network.graph])


def _as_tanh(operator: AnyOperator) -> AnyOperator:
    if not isinstance(operator, Relu):
        return operator
    return Tanh(op="tanh", name=operator.name, inputs=operator.inputs, source=operator.source)


def with_plain_pooling(network: Network) -> Network:
    """Max pools whose windows touch and do not overlap: as large as their stride (§3.4: s = z = 2)."""
    overlapping = [each for each in network.graph if isinstance(each, MaxPool) and each.kernel != each.stride]
    if not overlapping:
        raise InputError(f"{network.name}: expected a max pool whose windows overlap, found none")
    for operator in overlapping:
        network = network.with_operator(operator.name, kernel=operator.stride)
    try:
        list(network.placed())
    except ShapeError as error:
        raise InputError(f"{network.name}: expected pools that may touch instead of overlap, found: {error}") from None
    return network


def without(network: Network, kind: type[Lrn] | type[Dropout]) -> Network:
    """The network without operators of a kind; who read one reads what it had read."""
    _require(network, kind)
    reads: dict[str, str] = {}
    graph: list[AnyOperator] = []
    for operator in network.graph:
        inputs = tuple(reads.get(name, name) for name in operator.reads)
        if isinstance(operator, kind):
            reads[operator.name] = inputs[0]
        else:
            graph.append(operator.model_copy(update={"inputs": inputs}))
    return network.with_graph(graph)


def _require(network: Network, kind: type[Operator]) -> None:
    if not any(isinstance(operator, kind) for operator in network.graph):
        raise InputError(f"{network.name}: expected an operator {kind.__name__.lower()!r}, found none")


def with_training(network: Network, change: Callable[[Training], Training]) -> Network:
    """The network with another recipe."""
    assert network.training is not None
    fields = {name: getattr(network, name) for name in type(network).model_fields}
    return type(network).model_construct(**(fields | {"training": change(network.training)}))


def unregularised(network: Network) -> Network:
    """Without dropout and weight decay, as the networks of Figure 1 were trained."""
    bare = without(network, Dropout)

    def without_decay(training: Training) -> Training:
        return training.model_copy(update={"optimizer": training.optimizer.model_copy(update={"weight_decay": 0.0})})

    return with_training(bare, without_decay)


def with_rate(network: Network, rate: float) -> Network:
    """Another first learning rate."""

    def changed(training: Training) -> Training:
        return training.model_copy(update={"schedule": training.schedule.model_copy(update={"rate": rate})})

    return with_training(network, changed)


def with_first_weights(network: Network, factor: float) -> Network:
    """The weights of the first layer that has some start from `factor` times what the recipe says.

    They decide whether images on the 0–255 scale drive a tanh into its flat ends, which no ReLU has.
    """
    name = next(name for layer in network.layers for name in layer.parameter_shapes if is_weight(name))

    def changed(training: Training) -> Training:
        stated = training.initialisers
        overrides = stated.overrides | {name: _times(stated.overrides.get(name, stated.weights), factor)}
        return training.model_copy(update={"initialisers": stated.model_copy(update={"overrides": overrides})})

    return with_training(network, changed)


def _times(stated: Initialiser, factor: float) -> Initialiser:
    match stated:
        case Normal(mean=mean, std=std):
            return stated.model_copy(update={"mean": factor * mean, "std": factor * std})
        case Uniform(low=low, high=high):
            return stated.model_copy(update={"low": factor * low, "high": factor * high})
        case Constant(value=value):
            return stated.model_copy(update={"value": factor * value})
        case _:
            assert_never(stated)


def with_biases_of_zero(network: Network) -> Network:
    """Every bias starts from 0: the ones of §5 are there to feed ReLUs, and would favour them."""

    def changed(training: Training) -> Training:
        stated = training.initialisers
        overrides = {name: value for name, value in stated.overrides.items() if not name.endswith(".bias")}
        zero = Constant(kind="constant", value=0.0)
        return training.model_copy(
            update={"initialisers": stated.model_copy(update={"biases": zero, "overrides": overrides})}
        )

    return with_training(network, changed)
