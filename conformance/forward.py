"""The forward lane: every tap by itself and end to end, in evaluation mode."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from conformance.attestation import attested, unattested
from conformance.caps import caps
from conformance.checks import Chain, ForwardSubject, end_to_end_results, local_results
from conformance.diagnosis.chain import diagnosed_in_chain
from conformance.diagnosis.forward import diagnosed
from conformance.diagnosis.reproduction import with_script
from conformance.measure import Array
from conformance.participants import Files, Participant, errored, threads_for
from conformance.reference import Reference
from conformance.repeats import with_bits
from conformance.results import Check, Outcome, Result
from impls.client import WorkerError
from impls.protocol import Trace
from spec.tensors import read, write

NO_SUBSTITUTES = "the runner cannot substitute what operators read (hello: substitutes is false)"
OUTPUT_ALONE = "the runner shows its output alone (hello: taps is false)"


@dataclass
class Traces:
    """What one variant returned for one case."""

    local: Mapping[str, Array] | None = None
    end_to_end: Chain | None = None
    untapped: Chain = field(default_factory=lambda: Chain({}, {}))
    repeats: Mapping[Check, Sequence[Mapping[str, Array]]] = field(default_factory=dict)
    """The same traces again."""
    error: WorkerError | None = None
    skipped: str = ""
    """Why there is no local trace, or none of the taps at all."""


def run_forward(participants: Sequence[Participant], files: Files, expected: Reference) -> list[list[Result]]:
    """Run one case on all participants, and compare: the results of each."""
    return results_of(participants, traces_of(participants, files, expected), files, expected)


def traces_of(participants: Sequence[Participant], files: Files, expected: Reference) -> list[Traces]:
    """What each participant returns for one case."""
    with tempfile.TemporaryDirectory(prefix="lockstep-case-") as folder, threads_for(participants) as pool:
        substitutes = Path(folder) / "substitutes.safetensors"
        write(substitutes, expected.substitutes)
        return list(pool.map(lambda participant: traced(participant, files, substitutes, expected), participants))


def results_of(
    participants: Sequence[Participant], traces: Sequence[Traces], files: Files, expected: Reference
) -> list[list[Result]]:
    """The traces of each participant, compared; its peers are the others of its precision."""

    def judged(participant: Participant, own: Traces) -> list[Result]:
        others = [
            other.end_to_end
            for peer, other in zip(participants, traces, strict=True)
            if other.end_to_end is not None
            and peer is not participant
            and peer.entrant.variant.dtype == participant.entrant.variant.dtype
        ]
        subject = ForwardSubject(**vars(participant.subject(files.case)), reference=expected)
        return with_script(participant, compared(subject, own, others), expected)

    with threads_for(participants) as pool:
        return list(pool.map(judged, participants, traces))


def compared(subject: ForwardSubject, own: Traces, others: Sequence[Chain]) -> list[Result]:
    """All results of one variant on one case."""
    if own.error is not None:
        return [errored(subject, "", Check.RUN, own.error)]
    rules = caps()

    def again(check: Check) -> Sequence[Mapping[str, Array]]:
        return own.repeats.get(check, ())

    def skipped(check: Check) -> list[Result]:
        taps = [layer.name for layer in subject.network.layers]
        return [subject.result(tap, check, Outcome.SKIPPED, own.skipped) for tap in taps]

    if own.local is None:
        results = skipped(Check.LOCAL)
        precision = [unattested(subject, own.skipped)]
    else:
        local = local_results(subject, own.local, rules)
        found = diagnosed(subject, local, own.local, rules)
        results = with_bits(subject, found, own.local, again(Check.LOCAL), rules)
        precision = [attested(subject, local, own.local)]
    for check, chain in ((Check.END_TO_END, own.end_to_end), (Check.UNTAPPED, own.untapped)):
        if chain is None:
            results += skipped(check)
        else:
            found = end_to_end_results(subject, chain, others, check, rules)
            results += with_bits(subject, found, chain.taps, again(check), rules)
    taps = own.end_to_end.taps if own.end_to_end is not None else None
    return diagnosed_in_chain(subject, results + precision, taps, own.skipped, rules)


def traced(participant: Participant, files: Files, substitutes: Path, expected: Reference) -> Traces:
    """All traces of one case; an error of the worker becomes part of them."""
    participant.settings.progress(f"{files.case}: {participant.entrant.variant.framework}")
    try:
        return _traces(participant, files, substitutes, expected)
    except WorkerError as error:
        return Traces(error=error)
    except (OSError, ValueError) as error:
        return Traces(error=WorkerError("nonsense", f"trace: {error}"))


def _traces(participant: Participant, files: Files, substitutes: Path, expected: Reference) -> Traces:
    participant.load(files)
    hello = participant.hello()
    taps = [layer.name for layer in participant.network.layers]
    asked: dict[Check, tuple[Path | None, list[str]]] = {Check.UNTAPPED: (None, taps[-1:])}
    if hello.taps:
        asked[Check.END_TO_END] = (None, taps)
    if hello.taps and hello.substitutes:
        asked[Check.LOCAL] = (substitutes, taps)
    found = {
        check: [_trace(participant, files, f"{check}-{run}", *what) for run in range(participant.settings.repeats)]
        for check, what in asked.items()
    }
    first = {check: runs[0] for check, runs in found.items()}
    return Traces(
        local=first.get(Check.LOCAL),
        end_to_end=Chain.of(first[Check.END_TO_END], expected) if Check.END_TO_END in first else None,
        untapped=Chain.of(first[Check.UNTAPPED], expected),
        repeats={check: runs[1:] for check, runs in found.items()},
        skipped=NO_SUBSTITUTES if hello.taps else OUTPUT_ALONE,
    )


def _trace(
    participant: Participant, files: Files, name: str, substitutes: Path | None, taps: list[str]
) -> dict[str, Array]:
    output = participant.folder / f"{name}.safetensors"
    output.unlink(missing_ok=True)
    asked = participant.entrant.variant.device
    answer = participant.worker.trace(
        Trace(
            input=str(files.input),
            substitutes=str(substitutes) if substitutes else None,
            taps=taps,
            output=str(output),
        )
    )
    column = participant.column
    column.observed_device = answer.device
    column.peak_bytes = max(column.peak_bytes, answer.peak_bytes or 0)
    if answer.device != asked:
        raise WorkerError("wrong_device", f"expected tensors on {asked}, found them on {answer.device}")
    return read(output)
