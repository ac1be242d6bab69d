"""Diagnoses the first gradients that failed: which other vector-Jacobian product would make what was found right."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from conformance.caps import Caps
from conformance.diagnosis.alternatives import FIRST, ROUNDED, Asked
from conformance.diagnosis.forward import is_wrong
from conformance.diagnosis.gradient_formulas import formulas
from conformance.diagnosis.notes import note
from conformance.diagnosis.precision import named
from conformance.diagnosis.weights import other_tensors
from conformance.diagnosis.wrong_values import wrong_values
from conformance.gradient_checks import LOG_UNITS, UNITS, Measured, measured, rule_of
from conformance.gradient_reference import LOSS, Gradient, GradientReference, loss_scale
from conformance.gradients import gradient_scales, gradients
from conformance.losses import cross_entropies, loss, loss_gradient
from conformance.measure import UNIT, Array
from conformance.oracle import Tensors, softmax
from conformance.results import Check, Explanation, Result
from impls.frameworks import Variant
from spec.network import Network
from spec.operators import Conv, Dense
from spec.recipe import Loss
from spec.shapes import Layer

DIAGNOSED = (Check.GRADIENT_INPUT, Check.GRADIENT_PARAMETER, Check.LOSS, Check.LOSS_GRADIENT)
#: Of operators with more multiplications, a batch, other fields and tensors are not tried: their own forward check has.
MOST_MACS = 100_000_000

Change = Callable[[Array], Array]
Other = tuple[str, Array, Array | None]
"""A change in words, the gradient with it, and its S."""


@dataclass(frozen=True)
class GradientCase:
    """What was asked, of whom, and what was answered."""

    network: Network
    stated: Loss
    reference: GradientReference
    tensors: Tensors
    x: Array
    """The input, float32."""
    variant: Variant

    def read(self, tap: str) -> Array:
        """What operators that read a tap are fed, in float64."""
        return self.reference.fed.substitutes.get(tap, self.x).astype(np.float64)


def diagnosed(
    case: GradientCase, results: Sequence[Result], actual: Mapping[str, Array], own_loss: float, rules: Caps
) -> list[Result]:
    """The results; the first failed one of each check says what would explain it."""
    found = list(results)
    for check in DIAGNOSED:
        index = next((i for i, result in enumerate(found) if result.check is check and is_wrong(result)), None)
        if index is None:
            continue
        with np.errstate(all="ignore"):
            if check is Check.LOSS:
                explained: tuple[tuple[Explanation, ...], int] | None = _of_loss(case, own_loss, rules)
            else:
                explained = _of_gradient(case, found[index], actual, rules)
        if explained is not None:
            found[index] = replace(found[index], explanations=explained[0], tried=explained[1])
    return found


def _of_gradient(
    case: GradientCase, result: Result, actual: Mapping[str, Array], rules: Caps
) -> tuple[tuple[Explanation, ...], int] | None:
    """Explanations, best first, and how many were tried; None where there is nothing to compare."""
    reference, dtype = case.reference, case.variant.dtype
    if result.check is Check.GRADIENT_PARAMETER:
        name, gradient, kind = result.tap, reference.parameters[result.tap], result.tap.rpartition(".")[2]
    else:
        name = result.tap if result.check is Check.LOSS_GRADIENT else _tap(case, result.tap, actual, rules)
        gradient, kind = reference.taps[name], "input"
    own = actual.get(name)
    if own is None or own.dtype != np.float32 or own.shape != gradient.value.shape:
        return None
    rule = rule_of(gradient, kind, dtype, rules)
    before = measured(own, gradient, rule)
    tried, found = 0, []
    for operator, change, value, scale in _others(case, gradient, name):
        tried += 1
        if value.shape != own.shape:
            continue
        exact = rule.measure == "exact" and not _is_copy(value, own)
        judged = rules.gradient_rule_for("dropout", "input", dtype) if exact else rule
        if not np.isfinite(value).all() or (judged.measure == "noise" and scale is None):
            continue
        after = measured(own, replace(gradient, value=value, scale=scale), judged)
        if after.worst <= judged.max and (judged.rms is None or after.rms <= judged.rms):
            same = measured(own, gradient, judged)
            found.append((operator, change, value, same if exact else before, after, UNITS[judged.measure]))
    kept: list[tuple[Explanation, Array]] = []
    names = named((change for _, change, *_ in found), case.variant.device)
    for operator, change, value, was, after, unit in sorted(found, key=lambda each: each[4].rms):
        change = names[change]
        if not any(own.change == change or np.allclose(value, other, rtol=1e-9, atol=0.0) for own, other in kept):
            said = note(operator, change, case.variant.framework)
            kept.append((Explanation(change, *_figures(was, after, rule.rms), unit, said), value))
    return tuple(explanation for explanation, _ in kept), tried


def _figures(before: Measured, after: Measured, cap: float | None) -> tuple[float, float]:
    """RMS errors; the worst elements where those alone are too far off."""
    by_rms = cap is None or before.rms > cap
    return (before.rms, after.rms) if by_rms else (before.worst, after.worst)


def _is_copy(value: Array, own: Array) -> bool:
    return bool((value == own).all())


def _tap(case: GradientCase, operator: str, actual: Mapping[str, Array], rules: Caps) -> str:
    """Of what an operator reads, the tap whose gradient is furthest off."""
    reads = next(layer.operator.reads for layer in case.network.layers if layer.name == operator)

    def off(name: str) -> float:
        own, gradient = actual.get(name), case.reference.taps[name]
        if own is None or own.shape != gradient.value.shape:
            return inf
        return measured(own, gradient, rule_of(gradient, "input", case.variant.dtype, rules)).worst

    return max(reads, key=off)


def _others(case: GradientCase, gradient: Gradient, name: str) -> Iterator[tuple[str, str, Array, Array | None]]:
    """Other gradients of one tap or parameter: of any one of those that had a part in it."""
    layers = {layer.name: layer for layer in case.network.layers}
    several = len(gradient.readers) > 1
    for reader in gradient.readers:
        if reader.op == LOSS:
            right, others = _loss_gradient(case, case.stated), _other_loss_gradients(case)
        else:
            layer = layers[reader.name]
            right, others = _own(case, layer, name), _other_gradients(case, layer, name)
        for change, value, scale in others:
            if value.shape != right.shape:
                continue
            words = f"{reader.name}: {change}" if several else change
            rest = gradient.value - right if several else 0.0
            yield reader.op, words, rest + value, gradient.scale if several else scale
    for change, made in OUTPUTS.items():
        scale = None if gradient.scale is None else np.abs(made(np.asarray(gradient.scale, np.float64)))
        yield "", change, made(gradient.value), scale


def _own(case: GradientCase, layer: Layer, name: str) -> Array:
    return _taken(case, _asked(case, layer), layer, name)[0]


def _asked(case: GradientCase, layer: Layer) -> Asked:
    inputs = tuple(case.read(tap) for tap in layer.operator.reads)
    return Asked(layer, inputs, {key: np.asarray(case.tensors[key], np.float64) for key in layer.tensor_shapes})


def _taken(
    case: GradientCase, asked: Asked, layer: Layer, name: str, g: Array | None = None
) -> tuple[Array, Array | None]:
    """The gradient of one tap or parameter of what is asked, and its S; of a tap that is read twice, both added."""
    g = case.reference.fed.cotangents[layer.name].astype(np.float64) if g is None else g
    mask = case.reference.fed.masks.get(layer.name)
    values = gradients(asked.layer, asked.inputs, asked.tensors, g, mask)
    scales = gradient_scales(asked.layer, asked.inputs, asked.tensors, g)
    if name in values.parameters:
        return values.parameters[name], scales.parameters[name]
    places = [place for place, tap in enumerate(layer.operator.reads) if tap == name]
    value: Array = np.sum([values.inputs[place] for place in places], axis=0)
    scale = None if scales.inputs is None else np.sqrt(np.sum([scales.inputs[p] ** 2 for p in places], axis=0))
    return value, scale


def _other_gradients(case: GradientCase, layer: Layer, name: str) -> Iterator[Other]:
    """Gradients of one operator, by another formula, with other fields, tensors or precision."""
    asked = _asked(case, layer)
    g = case.reference.fed.cotangents[layer.name].astype(np.float64)
    right, scale = _taken(case, asked, layer, name)
    kind = name.rpartition(".")[2] if name in layer.parameter_shapes else "input"
    for change, made in formulas(layer, kind, case.reference.fed.masks.get(layer.name)):
        own = None if scale is None else np.maximum(scale, np.abs(made(asked, np.abs(g), np.asarray(scale))))
        yield change, made(asked, g, right), own
    if layer.macs * len(g) > MOST_MACS:
        return
    for change, operator in wrong_values(layer.operator):
        other = asked.changed(operator)
        if other is not None and other.layer.output_shape == layer.output_shape:
            yield change, *_taken_as(case, other, layer, name, g)
    for change, tensors in other_tensors(layer, asked.tensors, case.tensors, None):
        yield change, *_taken(case, replace(asked, tensors=tensors), layer, name)
    if isinstance(layer.operator, Conv | Dense):
        for change, rounded in [(name, each) for name, ways in ROUNDED.items() for each in ways]:
            x = tuple(rounded(value) for value in asked.inputs)
            tensors = {key: rounded(value) for key, value in asked.tensors.items()}
            yield (
                f"precision: {change}",
                *_taken(case, replace(asked, inputs=x, tensors=tensors), layer, name, rounded(g)),
            )


def _taken_as(case: GradientCase, own: Asked, layer: Layer, name: str, g: Array) -> tuple[Array, Array | None]:
    """The gradient of another operator; what it lacks (a bias) has no gradient but 0."""
    if name in layer.parameter_shapes and name not in own.layer.parameter_shapes:
        return np.zeros(layer.parameter_shapes[name]), np.ones(layer.parameter_shapes[name])
    return _taken(case, own, layer, name, g)


def _loss_gradient(case: GradientCase, stated: Loss) -> Array:
    reference = case.reference
    return loss_gradient(case.read(reference.logits), reference.fed.labels, stated)


def _other_losses(case: GradientCase) -> Iterator[tuple[str, Loss]]:
    other = "sum" if case.stated.reduction == "mean" else "mean"
    yield f"reduction: {other}", case.stated.model_copy(update={"reduction": other})


def _other_loss_gradients(case: GradientCase) -> Iterator[Other]:
    reference = case.reference
    logits, labels = case.read(reference.logits), reference.fed.labels
    gradient = reference.taps[reference.logits]
    scale = None if gradient.scale is None else np.asarray(gradient.scale, np.float64)
    many = len(labels)
    for change, stated in _other_losses(case):
        factor = many if stated.reduction == "sum" else 1 / many
        yield change, _loss_gradient(case, stated), None if scale is None else scale * factor
    yield "softmax: twice", loss_gradient(softmax(logits), labels, case.stated), scale
    moved = (labels + 1) % logits.shape[1]
    yield "labels: moved on by one", loss_gradient(logits, moved, case.stated), scale
    moved = (labels - 1) % logits.shape[1]
    yield "labels: moved back by one", loss_gradient(logits, moved, case.stated), scale


def _of_loss(case: GradientCase, own: float, rules: Caps) -> tuple[tuple[Explanation, ...], int]:
    """What would explain another loss."""
    reference = case.reference
    logits, labels, unit = case.read(reference.logits), reference.fed.labels, UNIT["float32"]
    total = float(cross_entropies(logits, labels).sum())
    scale = reference.loss_scale
    others = [
        (change, float(loss(logits, labels, other)), loss_scale(logits, labels, other))
        for change, other in _other_losses(case)
    ]
    others += [
        ("reduction: over images and classes", total / logits.size, scale),
        ("softmax: twice", float(loss(softmax(logits), labels, case.stated)), scale),
        ("sign: negative", -reference.loss, scale),
        ("base: 2", reference.loss / float(np.log(2.0)), scale),
        ("labels: moved on by one", float(loss(logits, (labels + 1) % logits.shape[1], case.stated)), scale),
        ("labels: moved back by one", float(loss(logits, (labels - 1) % logits.shape[1], case.stated)), scale),
    ]
    before = abs(own - reference.loss) / (unit * scale)
    found = [(change, abs(own - value) / (unit * size)) for change, value, size in others]
    found = sorted(((change, after) for change, after in found if after <= rules.loss.max), key=lambda each: each[1])
    said = [
        Explanation(change, before, after, LOG_UNITS, note(LOSS, change, case.variant.framework))
        for change, after in found
    ]
    return tuple(said), len(others)


#: What becomes of a right gradient.
OUTPUTS: dict[str, Change] = {
    "batch: in reverse order": lambda g: g[::-1],
    "batch: moved on by one": lambda g: np.roll(g, 1, 0),
    "batch: the first image alone": lambda g: np.concatenate([g[FIRST], np.zeros_like(g[1:])]),
    "gradient: negated": np.negative,
    "gradient: missing": np.zeros_like,
    "gradient: doubled": lambda g: g * 2,
    "gradient: halved": lambda g: g / 2,
    "gradient: channels in reverse order": lambda g: g[:, ::-1] if g.ndim > 1 else g[::-1],
    "gradient: rows and columns exchanged": lambda g: g.swapaxes(-1, -2) if g.ndim > 1 else g,
    "gradient: flipped": lambda g: g[..., ::-1, ::-1] if g.ndim > 1 else g[::-1],
}
