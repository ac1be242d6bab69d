"""What is often written instead of a field of an operator: every field of the typed model, at common wrong values.

A field that offers a choice, or is true or false, needs no entry here. Any other one needs one, or a test fails.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import combinations, product
from operator import and_
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from spec.operators import AnyOperator, Lrn, Operator

#: Fields that say what an operator is and where it stands.
PLACE = frozenset({*Operator.model_fields, "op"})
#: Fields that the shapes of the weights say too: with any other value nothing fits.
OF_WEIGHTS = frozenset({"out_channels", "in_features", "out_features", "conv.kernel"})

#: Between the changes of several fields.
AND = " and "

Values = Callable[[Any], Iterable[Any]]


@dataclass(frozen=True)
class Change:
    """One field, or several, with other values."""

    words: str
    """`alpha_convention: mean`; of several, `alpha_convention: mean and k: 1`."""
    fields: frozenset[str]
    update: Mapping[str, Any]
    """What else goes with them too."""

    def __and__(self, other: "Change") -> "Change":
        """Both at once."""
        update = {**self.update, **other.update}
        return Change(f"{self.words}{AND}{other.words}", self.fields | other.fields, update)


def wrong_values(operator: AnyOperator) -> Iterator[tuple[str, AnyOperator]]:
    """The operator with one field changed, and that change in words: `alpha_convention: mean`; choices first."""
    for change in changes(operator):
        yield change.words, operator.model_copy(update=dict(change.update))


def changes(operator: AnyOperator) -> Iterator[Change]:
    """One field after the other, at what is often written instead; choices first."""
    fields = type(operator).model_fields
    for name, field in sorted(fields.items(), key=lambda each: _choices(each[1]) is None):
        if name in PLACE or not is_covered(operator.op, name, field):
            continue
        stated, seen = getattr(operator, name), []
        for value in _values_of(operator, name, field):
            if value != stated and value not in seen:
                seen.append(value)
                yield _change(operator, name, value)


def library_defaults(operator: AnyOperator) -> Iterator[Change]:
    """What comes of leaving several fields to a library, which then takes its own values and convention."""
    seen: list[frozenset[str]] = []
    for own in DEFAULTS.get(operator.op, ()):
        other = [(name, value) for name, value in own.convention.items() if getattr(operator, name) != value]
        left_out = [(name, value) for name, value in own.left_out.items() if getattr(operator, name) != value]
        for count in range(len(left_out) + 1):
            for some in combinations(left_out, count):
                parts = [_change(operator, *each) for each in (*other, *some)]
                words = frozenset(part.words for part in parts)
                if len(parts) > 1 and words not in seen:
                    seen.append(words)
                    yield reduce(and_, parts)


def pairs(operator: AnyOperator) -> Iterator[Change]:
    """Two fields changed at once."""
    for one, other in combinations(changes(operator), 2):
        if not one.update.keys() & other.update.keys():
            yield one & other


def _change(operator: AnyOperator, name: str, value: Any) -> Change:
    return Change(f"{name}: {shown(value)}", frozenset({name}), _update(operator, name, value))


def is_covered(op: str, name: str, field: FieldInfo) -> bool:
    """Whether it is known what is often written instead of a field."""
    return name in PLACE | OF_WEIGHTS | VALUES.keys() or f"{op}.{name}" in OF_WEIGHTS or _choices(field) is not None


def shown(value: object) -> str:
    """A value as a spec states it."""
    match value:
        case bool():
            return "true" if value else "false"
        case tuple():
            return f"[{', '.join(map(shown, value))}]"
        case float():
            return f"{value:.6g}"
        case _:
            return str(value)


def _values_of(operator: AnyOperator, name: str, field: FieldInfo) -> Iterable[Any]:
    if name in OF_WEIGHTS or f"{operator.op}.{name}" in OF_WEIGHTS:
        return ()
    return VALUES[name](operator) if name in VALUES else _choices(field) or ()


def _choices(field: FieldInfo) -> tuple[Any, ...] | None:
    """All values of a field that has few; None for one that has many."""
    if field.annotation is bool:
        return (False, True)
    return get_args(field.annotation) if get_origin(field.annotation) is Literal else None


def _update(operator: AnyOperator, name: str, value: Any) -> dict[str, Any]:
    """The change of a field, and of those that go with it."""
    if isinstance(operator, Lrn) and name == "groups":
        return {"groups": value, "scope": "whole" if value is None else "per_group"}
    if isinstance(operator, Lrn) and name == "scope":
        return {"scope": value, "groups": None if value == "whole" else operator.groups or 2}
    return {name: value}


def _pads(operator: Any) -> Iterator[tuple[int, ...]]:
    """Shifted, on other sides, read in another order, split unevenly, none, one more or less."""
    top, left, bottom, right = operator.pads
    down, across = top + bottom, left + right
    sides = (
        *((top - step, left, bottom + step, right) for step in (1, -1)),
        *((top, left - step, bottom, right + step) for step in (1, -1)),
        *((top - step, left - other, bottom + step, right + other) for step, other in product((1, -1), repeat=2)),
        (bottom, right, top, left), (top, bottom, left, right), (left, top, right, bottom),
        (0, 0, down, across), (down, across, 0, 0),
        (down // 2, across // 2, down - down // 2, across - across // 2),
        (down - down // 2, across - across // 2, down // 2, across // 2),
        (0, 0, 0, 0), (1, 1, 1, 1), (0, 0, 1, 1), (1, 1, 0, 0),
        *((top + step, left + step, bottom + step, right + step) for step in (1, -1)),
        *((top + step, left, bottom, right) for step in (1, -1)),
        *((top, left + step, bottom, right) for step in (1, -1)),
        *((top, left, bottom + step, right) for step in (1, -1)),
        *((top, left, bottom, right + step) for step in (1, -1)),
        tuple((extent - 1) // 2 for extent in (*operator.kernel, *operator.kernel)),
    )  # fmt: skip
    return (pads for pads in sides if min(pads) >= 0)


def _pair(pair: tuple[int, int]) -> Iterator[tuple[int, int]]:
    """One more or less, exchanged, 1 to 3."""
    rows, columns = pair
    near = [(rows + down, columns + across) for down, across in product((-1, 0, 1), repeat=2)]
    pairs = (*near, (columns, rows), (rows, rows), (columns, columns), (1, 1), (2, 2), (3, 3))
    return (each for each in pairs if min(each) >= 1)


def _window(operator: Any) -> Iterator[int]:
    """Neighbouring sizes, and what comes of taking n for a radius or a radius for n."""
    n = operator.n
    return (each for each in (3, 5, 7, 9, n - 2, n + 2, n - 1, n + 1, 2 * n + 1, 2 * n - 1, n // 2, 1) if each >= 1)


def _alphas(operator: Any) -> Iterator[float]:
    yield from (1e-4, 1e-5, 1e-3, 5e-4, 0.0, 1.0)
    yield from (operator.alpha * factor for factor in (10.0, 0.1, 2.0, 0.5, operator.n**2, operator.n**-2, -1.0))


TENTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)

#: What is often written in the place of a field that has no few choices, by its name.
VALUES: dict[str, Values] = {
    "stride": lambda operator: (*_pair(operator.stride), operator.kernel),
    "kernel": lambda operator: (*_pair(operator.kernel), operator.stride),
    "pads": _pads,
    "groups": lambda operator: (None, 2, 1, 4, 2 * (operator.groups or 1)) if isinstance(operator, Lrn) else (),
    "n": _window,
    "k": lambda operator: (1.0, 2.0, 0.0, 1e-5, operator.k * 2.0, operator.k * 0.5),
    "alpha": _alphas,
    "beta": lambda operator: (0.5, 0.75, 1.0, 0.25, 2.0, -operator.beta),
    "epsilon": lambda _: (1e-3, 1e-5, 1e-6, 1e-4, 1e-7, 1e-8, 1e-2, 2e-5, 1e-10, 1e-12, 0.0),
    "drop_probability": lambda operator: (1.0 - operator.drop_probability, *TENTHS, 0.25, 0.75),
}


@dataclass(frozen=True)
class Defaults:
    """What a library's operator is where little is stated."""

    convention: Mapping[str, Any]
    """What it is always."""
    left_out: Mapping[str, Any]
    """What each field is that is not stated."""


#: Libraries' own values, by operator. Those of one field alone are among VALUES: ε of batch norm is 1e-5 in torch, ONNX
#: and Caffe, 1e-3 in Keras and TensorFlow.
DEFAULTS: dict[str, tuple[Defaults, ...]] = {
    "lrn": (
        # torch.nn.LocalResponseNorm(size, alpha=1e-4, beta=0.75, k=1); ONNX's LRN has the same, k called bias
        Defaults({"alpha_convention": "mean"}, {"k": 1.0, "alpha": 1e-4, "beta": 0.75}),
        # caffe.proto, LRNParameter: local_size 5, alpha 1, beta 0.75, k 1
        Defaults({"alpha_convention": "mean"}, {"k": 1.0, "alpha": 1.0, "beta": 0.75, "n": 5}),
        # tf.nn.local_response_normalization(input, depth_radius=5, bias=1, alpha=1, beta=0.5)
        Defaults({"alpha_convention": "sum"}, {"k": 1.0, "alpha": 1.0, "beta": 0.5, "n": 11}),
    ),
}
