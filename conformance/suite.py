"""Runs cases on variants, in the lanes that are asked for."""

from collections.abc import Sequence

from conformance.checks import observed_precision
from conformance.forward import run_forward
from conformance.invariants import run_invariants
from conformance.known import explained
from conformance.lane import PARTS, USUAL_LANES, parts_due, run_training
from conformance.part import Part
from conformance.participants import Entrant, Files, Settings, participants_of, require_device
from conformance.reference import reference
from conformance.results import Column
from conformance.xfails import applied, xfails
from spec.network import Network
from spec.tensors import read


def run(
    network: Network,
    entrants: Sequence[Entrant],
    cases: Sequence[Files],
    settings: Settings,
    lanes: Sequence[str] = USUAL_LANES,
    parts: Sequence[Part] = PARTS,
    training_seeds: int | None = None,
) -> list[Column]:
    """Run every case on every entrant and compare; one column an entrant. A worker that fails is errored, not fatal.

    All entrants have one precision. The training lane is run on the first `training_seeds`; None: on all. Raises
    NotRunError where no worker has the device.
    """
    trained = list(dict.fromkeys(files.case.seed for files in cases))[:training_seeds]
    with participants_of(network, entrants, settings) as participants:
        for files in cases:
            found = []
            if "forward" in lanes:
                settings.progress(f"{files.case}: oracle")
                dtype = entrants[0].variant.dtype
                expected = reference(network, read(files.weights), read(files.input)[network.input.name], dtype)
                require_device(participants)
                found.append(run_forward(participants, files, expected))
            if "training" in lanes and files.case.seed in trained and (due := parts_due(network, files, cases, parts)):
                require_device(participants)
                found.append(run_training(network, participants, files, due))
            if "invariants" in lanes and files is _last_of_seed(cases, files.case.seed):
                require_device(participants)
                found.append(run_invariants(network, participants, files))
            for results in found:
                for participant, own in zip(participants, results, strict=True):
                    participant.column.results += own
        for participant in participants:
            column = participant.column
            column.results = explained(network, applied(column.results, xfails()))
            column.observed_precision = observed_precision(column.results)
        return [participant.column for participant in participants]


def _last_of_seed(cases: Sequence[Files], seed: int) -> Files:
    """The case that invariants are held on: the last weights of a seed, `scaled`, hide no operator."""
    return [files for files in cases if files.case.seed == seed][-1]
