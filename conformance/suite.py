"""Runs cases on variants, in the lanes that are asked for."""

from collections.abc import Sequence

from conformance.checks import observed_precision
from conformance.forward import run_forward
from conformance.lane import LANES, run_training
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
    lanes: Sequence[str] = LANES,
) -> list[Column]:
    """Run every case on every entrant and compare; one column an entrant. A worker that fails is errored, not fatal.

    All entrants have one precision. The training lane has only the first weights of each seed and kind of input.
    Raises NotRunError where no worker has the device.
    """
    with participants_of(network, entrants, settings) as participants:
        for files in cases:
            found = []
            if "forward" in lanes:
                settings.progress(f"{files.case}: oracle")
                dtype = entrants[0].variant.dtype
                expected = reference(network, read(files.weights), read(files.input)[network.input.name], dtype)
                require_device(participants)
                found.append(run_forward(participants, files, expected))
            if "training" in lanes and _is_first(files, cases):
                require_device(participants)
                found.append(run_training(network, participants, files))
            for results in found:
                for participant, own in zip(participants, results, strict=True):
                    participant.column.results += own
        for participant in participants:
            column = participant.column
            column.results = applied(column.results, xfails())
            column.observed_precision = observed_precision(column.results)
        return [participant.column for participant in participants]


def _is_first(files: Files, cases: Sequence[Files]) -> bool:
    """Whether no case before it has the same input."""
    return next(case for case in cases if case.input == files.input) is files
