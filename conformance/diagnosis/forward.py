"""Diagnoses the first operator that failed by itself: which changes of it would make what was found right."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from conformance.caps import Caps
from conformance.checks import Distance, ForwardSubject, distance_to
from conformance.diagnosis.alternatives import Alternative, Asked, Surroundings, alternatives
from conformance.diagnosis.judge import Judge
from conformance.diagnosis.notes import note
from conformance.diagnosis.precision import named, observed
from conformance.diagnosis.searched import searched
from conformance.measure import Array
from conformance.reference import LayerReference, Reference
from conformance.results import Check, Outcome, Result
from spec.network import Network


def diagnosed(
    subject: ForwardSubject, results: Sequence[Result], trace: Mapping[str, Array], rules: Caps
) -> list[Result]:
    """The results of layer-local checks; the first that failed says what would explain it."""
    for index, result in enumerate(results):
        actual = trace.get(result.tap)
        if result.check is Check.LOCAL and is_wrong(result) and actual is not None and actual.dtype == np.float32:
            with np.errstate(all="ignore"):
                found = explained(subject, result, actual, rules)
            return [*results[:index], found, *results[index + 1 :]]
    return list(results)


def is_wrong(result: Result) -> bool:
    """Whether what was found is wrong, and not what was asked too weak to tell."""
    return result.outcome is Outcome.FAILED and not result.message.startswith("vacuous")


def explained(subject: ForwardSubject, result: Result, actual: Array, rules: Caps) -> Result:
    """The result with its explanations, best first, and how many alternatives were tried."""
    expected, variant = subject.reference, subject.variant
    reference = expected.local[result.tap]
    rule = rules.rule_for(reference.layer.operator.op, variant, subject.version)
    computing = rules.rule_for("tanh", variant, subject.version) if rule.measure == "exact" else rule
    judge = Judge(actual.astype(np.float64), reference, rule, computing)
    asked = Asked(reference.layer, reference.inputs, _own(reference, expected))
    tried, found = _right(judge, alternatives(asked, around(subject.network, expected)))
    if not found:
        more, candidates = searched(asked, judge)
        tried, found = tried + more, _right(judge, candidates)[1]
    operator = reference.layer.operator.op
    if not found and (reordered := judge.reordered()) is not None:
        found.append(("output: channels in another order", reordered))
    best: dict[str, Distance] = {}
    names = named((change for change, _ in found), variant.device)
    for change, distance in sorted(found, key=lambda each: each[1].error.rms):
        best.setdefault(names[change], distance)
    explanations = [
        judge.explanation(change, distance, note(operator, change, variant.framework))
        for change, distance in best.items()
    ]
    if not explanations and actual.shape == reference.value.shape:
        explanations = [
            replace(each, note=note(operator, each.change, variant.framework))
            for each in observed(judge.actual, reference, rule, variant.device)
        ]
    remark = "" if explanations else _not_finite(judge, tried)
    return replace(result, explanations=tuple(explanations), tried=tried, remark=remark)


def _not_finite(judge: Judge, tried: int) -> str:
    """Which elements are no number, or infinite, where finite ones were expected; nothing where none is."""
    actual, reference = judge.actual, judge.reference
    if actual.shape != reference.value.shape:
        return ""
    wrong = ~np.isfinite(actual) & np.isfinite(reference.value)
    count = int(wrong.sum())
    if not count:
        return ""
    index = [int(place) for place in np.argwhere(wrong)[0]]
    kinds = {"NaN": np.isnan(actual).any(), "infinity": np.isinf(actual[wrong]).any()}
    kind = " or ".join(name for name, there in kinds.items() if there)
    found = f"{kind} in {count} of {actual.size} elements, the first at {index}"
    if count == actual.size:
        return found
    others = replace(reference, value=np.where(wrong, 0.0, reference.value))
    if distance_to(np.where(wrong, 0.0, actual), others, judge.rule).within:
        return f"{found}; all others are right"
    return f"{found}; none of {tried} changes explains the others"


def _right(judge: Judge, candidates: Iterable[Alternative]) -> tuple[int, list[tuple[str, Distance]]]:
    """How many there are, and those that give what was found. One is held at a time."""
    judged = [(alternative.change, judge.distance(alternative)) for alternative in candidates]
    return len(judged), [(change, distance) for change, distance in judged if distance is not None]


def _own(reference: LayerReference, expected: Reference) -> dict[str, Array]:
    """In float32, as loaded: the oracle widens them block by block."""
    return {name: expected.tensors[name] for name in reference.layer.tensor_shapes}


def around(network: Network, expected: Reference) -> Surroundings:
    """What operators read, and all tensors."""
    taps: dict[str, Array] = {name: value.astype(np.float64) for name, value in expected.substitutes.items()}
    for own in expected.local.values():
        for read, value in zip(own.layer.operator.reads, own.inputs, strict=True):
            taps.setdefault(read, value)
    return Surroundings(network, taps, expected.tensors, {name: own.value for name, own in expected.local.items()})
