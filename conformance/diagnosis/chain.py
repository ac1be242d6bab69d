"""Diagnoses what fails end to end and nowhere by itself: the first operator of the chain that is wrong on what it read.

A runner that takes no substitutes is known by its chain alone. Where nothing can be diagnosed, it is said why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from conformance.caps import Caps
from conformance.checks import ForwardSubject, distance_to
from conformance.diagnosis.forward import explained, is_wrong
from conformance.measure import Array
from conformance.oracle import evaluate, noise_scale
from conformance.reference import LayerReference, Reference
from conformance.results import Check, Outcome, Result

NOT = "not diagnosed: "
RIGHT_BY_ITSELF = f"{NOT}from what it read itself it gives what it should; errors of those before it add up"
RIGHT_WITH_TAPS = f"{NOT}with its taps recorded, the same network gives what it should"
WITHIN = f"{NOT}every operator is under its caps by itself"


def diagnosed_in_chain(
    subject: ForwardSubject, results: Sequence[Result], taps: Mapping[str, Array] | None, skipped: str, rules: Caps
) -> list[Result]:
    """All results of a case; where none failed by itself, the first failed one says what explains it, or why nothing.

    `taps` are those of the run end to end, if there are any; `skipped` is why operators were not run by themselves.
    """
    first = next((index for index, own in enumerate(results) if own.outcome is Outcome.FAILED), None)
    if first is None or results[first].check is Check.LOCAL:
        return list(results)
    result = results[first]
    failed = {own.tap for own in results if own.check is Check.END_TO_END and own.outcome is Outcome.FAILED}
    with np.errstate(all="ignore"):
        match result.check:
            case Check.END_TO_END if taps is not None and result.tap in taps:
                told = _of_chain(subject, result, taps, failed, rules)
            case Check.UNTAPPED:
                told = replace(result, remark=NOT + skipped if taps is None else RIGHT_WITH_TAPS)
            case Check.PRECISION:
                told = replace(result, remark=WITHIN)
            case _:
                return list(results)
    return [*results[:first], told, *results[first + 1 :]]


def _of_chain(
    subject: ForwardSubject, result: Result, taps: Mapping[str, Array], failed: set[str], rules: Caps
) -> Result:
    """A failed tap, from what its operator read in the same run."""
    actual, right = taps[result.tap], subject.reference
    fed = {subject.network.input.name: _input(subject)} | {
        name: value.astype(np.float64)
        for name, value in taps.items()
        if name not in failed and value.shape == right.end_to_end[name].shape
    }
    layer = right.local[result.tap].layer
    if not is_wrong(result) or actual.dtype != np.float32 or any(read not in fed for read in layer.operator.reads):
        return result
    inputs = tuple(fed[read] for read in layer.operator.reads)
    reference = LayerReference(
        layer, inputs, evaluate(layer, inputs, right.tensors), noise_scale(layer, inputs, right.tensors)
    )
    rule = rules.rule_for(layer.operator.op, subject.variant, subject.version)
    if actual.shape == reference.value.shape and distance_to(actual.astype(np.float64), reference, rule).within:
        return replace(result, remark=RIGHT_BY_ITSELF)
    own: Reference = replace(
        right,
        local={result.tap: reference},
        substitutes={name: value.astype(np.float32) for name, value in fed.items()},
    )
    return explained(replace(subject, reference=own), result, actual, rules)


def _input(subject: ForwardSubject) -> Array:
    """What the network is fed."""
    name = subject.network.input.name
    return next(
        own.inputs[own.layer.operator.reads.index(name)]
        for own in subject.reference.local.values()
        if name in own.layer.operator.reads
    )
