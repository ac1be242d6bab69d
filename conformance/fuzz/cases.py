"""One case of any network, on participants that live longer than it: their workers are not started again."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np

from conformance.caps import caps
from conformance.checks import Chain, ForwardSubject
from conformance.forward import Traces, compared, run_forward
from conformance.gradient_checks import gradient_results
from conformance.gradient_reference import gradient_reference
from conformance.known import explained
from conformance.lane import run_training
from conformance.measure import Array
from conformance.part_gradients import GradientsPart
from conformance.participants import Files, Participant, described
from conformance.reference import Reference, reference
from conformance.results import Case, Outcome, Result
from conformance.storage import stored
from conformance.xfails import applied, xfails
from impls.frameworks import FRAMEWORKS, LOWERINGS, Dtype, Variant
from impls.generate import write_source
from spec.inputs import InputKind, inputs
from spec.network import Network
from spec.tensors import read, write
from spec.weights import WeightSet, weights


class OracleError(Exception):
    """The checks reject the oracle's own answer: the suite is wrong, and no framework was asked."""

    def __init__(self, result: Result) -> None:
        super().__init__(f"the oracle's own answer fails: {result.tap}: {result.message}")
        self.result = result


#: So many cases are tried until one shows every operator: a ReLU of two elements is often 0 everywhere.
TRIES = 8
VACUOUS = "vacuous: "


def check(
    network: Network, case: Case, participants: Sequence[Participant], gradients: bool = True
) -> list[list[Result]]:
    """All results of each participant on one case: forward, layer-local and end to end, and gradients where it trains.

    The participants may have run other networks before (`participants_of`); each generated source is written anew.
    Weights are `paper` or `scaled`, inputs `photographs` or `noise`, as the case says. A worker that fails is errored.
    """
    with tempfile.TemporaryDirectory(prefix="lockstep-fuzz-") as temporary:
        folder = Path(temporary)
        files = files_of(network, case, folder)
        turn_to(network, participants, folder)
        dtype = participants[0].entrant.variant.dtype
        found = run_forward(participants, files, _reference(network, files, dtype))
        if gradients and network.training is not None:
            more = run_training(network, participants, files, [GradientsPart()])
            found = [own + others for own, others in zip(found, more, strict=True)]
    named = [xfail for xfail in xfails() if network.name in xfail.networks]
    return [explained(network, applied(own, named)) for own in found]


def turn_to(network: Network, participants: Sequence[Participant], folder: Path) -> None:
    """Have all participants go on with a network, whose files are written to `folder`."""
    description = described(network, folder)
    for participant in participants:
        participant.turn_to(network, description, _source(network, participant.entrant.variant, folder))


def showing_case(network: Network, case: Case, gradients: bool = True, dtype: Dtype = "float32") -> tuple[Case, str]:
    """The first case from `case` on that shows every operator, or why the last one shows too little.

    The oracle alone decides, before any framework has run: so no framework's fault can make a case look vacuous.
    """
    reason = ""
    for seed in range(case.seed, case.seed + TRIES):
        case = replace(case, seed=seed)
        with tempfile.TemporaryDirectory(prefix="lockstep-fuzz-") as folder:
            reason = _vacuous(network, files_of(network, case, Path(folder)), gradients, dtype)
        if not reason:
            break
    return case, reason


def files_of(network: Network, case: Case, folder: Path) -> Files:
    """The case as files in `folder`."""
    weight_set = next(name for name in get_args(WeightSet) if name == case.weights)
    kind: InputKind = next(name for name in get_args(InputKind) if name == case.inputs)
    files = Files(case, folder / "weights.safetensors", folder / "input.safetensors")
    write(files.weights, weights(network, weight_set, case.seed))
    write(files.input, {network.input.name: inputs(network, kind, case.seed, case.batch)})
    return files


def _source(network: Network, variant: Variant, folder: Path) -> Path | None:
    """The generated source of a framework; none for a runner that the user brings."""
    framework = next((name for name in FRAMEWORKS if name == variant.framework), None)
    lowering = next((name for name in LOWERINGS if name == variant.lowering), None)
    return write_source(network, framework, folder, lowering) if framework and lowering else None


def _reference(network: Network, files: Files, dtype: Dtype) -> Reference:
    return reference(network, read(files.weights), read(files.input)[network.input.name], dtype)


def _vacuous(network: Network, files: Files, gradients: bool, dtype: Dtype) -> str:
    """What the case shows too little of, by the checks themselves: they are given the oracle's own answer.

    Raises OracleError where they find anything else wrong with it.
    """
    expected = _reference(network, files, dtype)
    subject = ForwardSubject(network, Variant("oracle", "cpu", dtype, "eager", "native"), "0", files.case, expected)
    results = compared(subject, _right(expected, dtype), [])
    if gradients and network.training is not None:
        x = read(files.input)[network.input.name]
        own = gradient_reference(network, network.training.loss, read(files.weights), x, files.case.seed, caps())
        right = {name: gradient.value.astype(np.float32) for name, gradient in (own.taps | own.parameters).items()}
        results += gradient_results(subject, own, right, own.loss, caps())
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    for result in failed:
        if VACUOUS not in result.message:
            raise OracleError(result)
    return f"{failed[0].operator}: {failed[0].message.partition(VACUOUS)[2]}" if failed else ""


def _right(expected: Reference, dtype: Dtype) -> Traces:
    """What a runner would answer that rounds nothing but what it gives."""

    def given(value: Array) -> Array:
        return stored(value.astype(np.float32), dtype)

    chain = Chain.of({name: given(value) for name, value in expected.end_to_end.items()}, expected)
    return Traces({name: given(own.value) for name, own in expected.local.items()}, chain, chain)
