"""A planted fault: what it changes and where it must be caught; and the ways to plant one."""

import dataclasses
import re
from collections.abc import Callable, Mapping

import numpy as np

from conformance.oracle import Array
from conformance.results import Check
from impls.frameworks import FRAMEWORKS, FrameworkName
from spec.exits import NotRunError
from spec.network import Network

NARROW, OPERATORS, MILLION = "alexnet_narrow", "power_operators", "power_million"
"""The networks that faults are planted in; the last two are in networks/."""

TRAIN: tuple[FrameworkName, ...] = ("torch", "jax", "tensorflow")
"""The frameworks that train."""

#: The variant of what the NumPy runner plants.
NUMPY = "numpy"

Tensors = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that is wrong: an entry of the catalogue."""

    id: str
    operator: str
    """Of which kind of operator, or part of the recipe; `all` for what any operator can have."""
    field: str
    """Which field of it has the wrong value; `op` for its kind; or what else is wrong: weights, precision, runner."""
    what: str
    tap: str
    """Where it must be caught first."""
    spec: str = NARROW
    """The network that it is planted in."""
    network: Callable[[Network], Network] | None = None
    """What the emitter reads instead."""
    tensors: Callable[[Tensors], Tensors] | None = None
    """What is loaded instead."""
    instead: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What a generated source gives the tap instead, a framework: `{y}` is what is right, `{x}` what it reads."""
    lines: Mapping[str, tuple[tuple[str, str], ...]] = dataclasses.field(default_factory=dict)
    """Text of the generated source, a framework, and what stands there instead."""
    runner: bool = False
    """Whether the NumPy runner plants it itself (wrong_runner.py, numpy_training.py)."""
    check: Check | None = None
    """The check of the training lane that must catch it; none: the forward lane must."""
    step: int | None = None
    """The training step in which it must show first; none: whichever."""
    explained_by: str | None = None
    """How it must be explained first; none: it is in no class that can be diagnosed."""

    @property
    def frameworks(self) -> tuple[str, ...]:
        """Where it is planted."""
        if self.runner:
            return (NUMPY,)
        if self.instead or self.lines:
            return tuple(name for name in FRAMEWORKS if name in self.instead or name in self.lines)
        return FRAMEWORKS if self.check is None else TRAIN

    def planted(self, source: str, framework: str, network: Network) -> str:
        """A framework's source with the fault in it; `source` is that of `self.network(network)`."""
        for right, wrong in self.lines.get(framework, ()):
            if right not in source:
                raise NotRunError(f"fault {self.id}: expected {right!r} in the source for {framework}, found none")
            source = source.replace(right, wrong)
        if framework in self.instead:
            layer = next(layer for layer in network.layers if layer.name == self.tap)
            read = "x" if network.is_linear() else layer.operator.reads[0]
            source = _replaced(source, framework, self.tap, read, self.instead[framework])
        return source


def _replaced(source: str, framework: str, tap: str, read: str, wrong: str) -> str:
    """A source that gives `wrong` to a tap."""
    start = re.search(rf'tap\(\s*"{tap}",', source)
    if start is None:
        raise NotRunError(f"tap {tap}: expected it in the source for {framework}, found none")
    end, depth = start.end(), 1
    while depth:
        depth += {"(": 1, ")": -1}.get(source[end], 0)
        end += 1
    right = source[start.end() : end - 1].strip().removesuffix(",")
    if framework == "onnx":  # a tap has the name of its node; what the right one makes then has another
        right = right.replace(f'"{tap}"', f'"{tap}.right"', 1)
    wrong = wrong.replace("{y}", f"({right})").replace("{x}", read)
    return f"{source[: start.end()]} {wrong}){source[end:]}"


def operator(name: str, **changes: object) -> Callable[[Network], Network]:
    """A network with other values in one operator."""
    return lambda network: network.with_operator(name, **changes)


def tensor(name: str, change: Callable[[Array], Array]) -> Callable[[Tensors], Tensors]:
    """Tensors of which one is another."""
    return lambda tensors: tensors | {name: np.ascontiguousarray(change(tensors[name]))}


def without(name: str) -> Callable[[Tensors], Tensors]:
    """Tensors without one."""
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def both(*changes: Callable[[Tensors], Tensors]) -> Callable[[Tensors], Tensors]:
    """One change after the other."""

    def changed(tensors: Tensors) -> Tensors:
        for change in changes:
            tensors = change(tensors)
        return tensors

    return changed
