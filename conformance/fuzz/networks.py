"""Networks at random: a Hypothesis strategy over the spec language. All are valid, small, and odd where they can be."""

from dataclasses import dataclass, field
from hashlib import shake_256
from typing import Annotated, Any

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field, TypeAdapter

from conformance.fuzz.fields import KINDS, MOST_CHANNELS, Content
from impls.emission import TAKEN
from spec.base import Shape
from spec.identifiers import RESERVED
from spec.network import FORMAT, Network
from spec.operators import AnyOperator
from spec.shapes import shaped

LARGEST_SIDE = 12
MOST_OPERATORS = 8
"""Before all branches are joined."""
ONWARD = 3
"""A value that nothing reads yet is so many times as likely to be read next as any value at all."""
AWKWARD = 10
"""One name in so many is one that generated sources need for themselves, and must move out of the way."""
AWKWARD_NAMES = tuple(sorted(TAKEN - RESERVED))

IMAGE = "image"
PARAMETERS = ("conv", "dense", "batch_norm")
"""The operators that have something to train."""
_OPERATOR: TypeAdapter[AnyOperator] = TypeAdapter(Annotated[AnyOperator, Field(discriminator="op")])
#: Bytes that a seed becomes; no network takes as many.
BYTES = 1 << 14


def random_network(seed: int) -> Network:
    """The network of a seed: the same on every machine with one version of Hypothesis."""
    drawn: list[Network] = []

    @settings(database=None)
    @given(networks())
    def take(network: Network) -> None:
        drawn.append(network)

    take.hypothesis.fuzz_one_input(seed_bytes(seed))  # type: ignore[attr-defined]
    (network,) = drawn
    return network


def seed_bytes(seed: int) -> bytes:
    """The choices of a seed, as `fuzz_one_input` reads them."""
    return shake_256(str(seed).encode()).digest(BYTES)


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Any network; one that ends with scores of classes has a recipe too."""
    sides = st.integers(1, LARGEST_SIDE)
    graph = _Graph(draw, {IMAGE: (draw(st.integers(1, MOST_CHANNELS)), draw(sides), draw(sides))})
    for _ in range(draw(st.integers(1, MOST_OPERATORS))):
        graph.grow()
    graph.join()
    graph.end()
    content = {
        "format": FORMAT,
        "name": "fuzz",
        "title": "A network at random",
        "source": "conformance/fuzz/networks.py",
        "input": {"name": IMAGE, "shape": graph.shapes[IMAGE]},
        "graph": tuple(graph.operators),
        "expect": {"shapes": {}, "parameters": 0, "macs": 0, "neurons": 0},
    }
    if graph.scores_classes() and any(operator["op"] in PARAMETERS for operator in graph.operators):
        content["training"] = draw(recipes())
    return Network.model_validate(content).with_expectations()


@st.composite
def recipes(draw: st.DrawFn) -> Content:
    """A recipe of training: every form of loss and update, on constants that are nothing odd."""

    def word(*words: str) -> str:
        return draw(st.sampled_from(words))

    return {
        "loss": {"kind": "softmax_cross_entropy", "reduction": word("mean", "sum")},
        "optimizer": {
            "kind": "sgd",
            "momentum": 0.9,
            "rate": word("outside_velocity", "inside_velocity"),
            "weight_decay": draw(st.sampled_from([5.0e-4, 0.0])),
            "decay": word("coupled", "inside_momentum", "decoupled"),
            "decays": word("weights", "weights_and_biases"),
            "bias_rate_factor": draw(st.sampled_from([1.0, 2.0])),
            "bias_schedule": word("of_weights", "constant"),
        },
        "schedule": {"kind": "steps", "rate": 0.01, "factor": 0.1, "epochs": (1,)},
        "batch": 2,
        "epochs": 2,
        "initialisers": {
            "weights": {"kind": "normal", "mean": 0.0, "std": 0.1},
            "biases": {"kind": "constant", "value": 0.5},
            "overrides": {},
        },
    }


@dataclass
class _Graph:
    """A graph that grows operator by operator."""

    draw: st.DrawFn
    shapes: dict[str, Shape]
    """Of every value, the input's too."""
    operators: list[Content] = field(default_factory=list)
    unread: list[str] = field(default_factory=lambda: [IMAGE])

    def grow(self) -> None:
        """Add an operator; one that reads what was read already is the start of a branch."""
        read = self._one_of([*self.unread[::-1] * ONWARD, *self.shapes])
        op = self._one_of(
            [op for op, kind in KINDS.items() for _ in range(kind.weight) if kind.fits(self.shapes[read])]
        )
        if KINDS[op].several:
            self._put(op, [read, *self.draw(st.lists(st.sampled_from(self._beside(op, read)), min_size=1, max_size=2))])
        else:
            self._put(op, [read])

    def join(self) -> None:
        """Let the last operator depend on every value."""
        while len(self.unread) > 1:
            first, second = self.unread[:2]
            joins = [op for op in ("add", "concat") if second in self._beside(op, first)]
            if joins:
                self._put(self._one_of(joins), [first, second])
                continue
            for name in (first, second):
                if len(self.shapes[name]) == 3:
                    self._put("flatten", [name])

    def end(self) -> None:
        """Let most networks end with scores of classes, which a loss can be of."""
        if len(self._last) == 3 and self.draw(st.integers(0, 3)) < 3:
            self._put("flatten", self.unread)
        if len(self._last) == 1 and self.draw(st.booleans()):
            self._put("dense", self.unread)
        if len(self._last) == 1 and self.draw(st.booleans()):
            self._put("softmax", self.unread)

    def scores_classes(self) -> bool:
        """Whether the loss reads more than one logit."""
        last = self.operators[-1]
        logits = self.shapes[last["inputs"][0] if last["op"] == "softmax" else last["name"]]
        return len(logits) == 1 and logits[0] > 1

    @property
    def _last(self) -> Shape:
        return self.shapes[self.unread[-1]]

    def _beside(self, op: str, read: str) -> list[str]:
        """The values that can be added to, or joined with, the value `read`; itself among them."""
        shape = self.shapes[read]
        own = shape if op == "add" else shape[1:]
        return [
            name
            for name, other in self.shapes.items()
            if len(other) == len(shape) and (other if op == "add" else other[1:]) == own
        ]

    def _put(self, op: str, reads: list[str]) -> None:
        first = self.shapes[reads[0]]
        name = f"{op}{len(self.operators) + 1}"
        if self.draw(st.integers(0, AWKWARD - 1)) == AWKWARD - 1:
            name = self._one_of([name, *(other for other in AWKWARD_NAMES if other not in self.shapes)])
        operator = {"name": name, "op": op, "inputs": tuple(reads), **self.draw(KINDS[op].fields(first))}
        self.operators.append(operator)
        self.unread = [*(other for other in self.unread if other not in reads), name]
        self.shapes[name] = shape_of(operator, tuple(self.shapes[read] for read in reads))

    def _one_of(self, values: list[Any]) -> Any:
        return self.draw(st.sampled_from(values))


def shape_of(operator: Content, inputs: tuple[Shape, ...]) -> Shape:
    """What an operator gives of inputs of those shapes."""
    return shaped(_OPERATOR.validate_python(operator), inputs).output_shape
