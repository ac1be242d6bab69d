"""The part of the lane that trains: some steps from the recipe's own initialisers, across a change of its rates.

After each step the loss, every parameter and every velocity are held against the oracle's. A state of the paper's
network is half a gigabyte, so a worker's is compared as soon as it is there, and what is kept of it are errors.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import ceil
from pathlib import Path

import numpy as np

from conformance.caps import caps
from conformance.checks import Subject
from conformance.diagnosis.trajectory import Files, diagnosed
from conformance.part import Given
from conformance.results import Check, Outcome, Result
from conformance.resume import differences, replayed
from conformance.trajectory_oracle import Expected, Unfit, oracle, state_strays
from conformance.trajectory_results import Answer, Usual, trajectory_results
from impls.client import Worker
from impls.protocol import Start, State, Train
from impls.training import VELOCITY
from spec.exits import InputError
from spec.tensors import read

#: States of all steps that take so much at most are kept until they have been compared: a diagnosis looks at them.
KEPT_BYTES = 2**28


class TrajectoryPart:
    """Trains for some steps, and goes on from a state that was read and written."""

    name = "trajectory"

    def skipped(self, given: Given) -> str:
        """It begins with the recipe's own initialisers, so one case is enough."""
        if given.case.weights == "paper":
            return ""
        return f"training begins with the spec's own initialisers (--weights paper), not with {given.case.weights}"

    def expected(self, given: Given, folder: Path) -> Expected | Unfit:
        """The oracle's trajectory, and the yardstick's."""
        try:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                tensors = read(given.weights)
                return oracle(given.network, given.training, tensors, given.case.seed, folder, caps().trajectory)
        except InputError as error:
            return Unfit(str(error))

    def ask(self, worker: Worker, given: Given, expected: Expected | Unfit, folder: Path) -> Answer | None:
        """Train; the errors after every step. The worker has the weights loaded again that it had."""
        if isinstance(expected, Unfit):
            return None
        request = worker.loaded
        answer = _trained(worker, expected, folder)
        if request is not None:
            worker.load(request)
        return answer

    def results(
        self, subject: Subject, given: Given, expected: Expected | Unfit, own: Answer | None, others: Sequence[Answer]
    ) -> list[Result]:
        """One about the losses and one a parameter, and what this trajectory cannot see."""
        dtype = subject.variant.dtype
        if isinstance(expected, Unfit) or own is None:
            reason = expected.reason if isinstance(expected, Unfit) else ""
            return [subject.result(self.name, Check.TRAINING, Outcome.SKIPPED, reason)]
        usual = Usual(others, None if dtype == "tf32" else expected.course.yardstick)
        if not others and usual.yardstick is None:
            reason = f"no other variant in {dtype} to compare with"
            return [subject.result(self.name, Check.TRAINING, Outcome.SKIPPED, reason)]
        results = trajectory_results(subject, expected.course, own, usual, caps().trajectory)
        if own.resumed_state is not None:
            files = Files(expected.batches, own.states, own.resumed_state)
            results = diagnosed(results, given.network, given.training, read(given.weights), files)
        if expected.unseen:
            unseen = ", ".join(f"{what} ({seen:.2g} caps at most)" for what, seen in expected.unseen.items())
            reason = f"too few caps apart to be told from what the spec states: {unseen}"
            results.append(subject.result(self.name, Check.TRAINING, Outcome.SKIPPED, reason))
        return results


def _trained(worker: Worker, expected: Expected, folder: Path) -> Answer:
    """The errors of every step; and of the later half again, from a state that was written and loaded."""
    steps = len(expected.batches)
    middle = ceil(steps / 2)
    losses, strays, files = [], [], []
    worker.begin(Start(None))
    for step in range(steps):
        losses += worker.train(Train(str(expected.batches[step])))
        files.append(folder / f"state-{step}.safetensors")
        worker.write(State(str(files[-1])))
        strays.append(state_strays(read(files[-1]), read(expected.states[step])))
        if files[-1].stat().st_size * steps > KEPT_BYTES and step not in (middle - 1, steps - 1):
            files[-1].unlink()
    kept = [path for path in files if path.exists()]
    states = kept if len(kept) == steps else []
    end = folder / "resumed.safetensors"
    resumed = partial(replayed, worker, files[middle - 1], expected.batches[middle:])
    first = resumed(end)
    different = differences(first, read(files[-1]))
    if different and differences(resumed(folder / "again.safetensors"), first):
        # What differs from run to run may differ after a break; it is then judged by its errors.
        again = state_strays(first, read(expected.states[-1]))
        return Answer(losses, strays, resumed_strays=again, states=states, resumed_state=end)
    messages = _by_parameter(different, f"after step {steps}, resumed after step {middle}")
    return Answer(losses, strays, resumed=messages, states=states, resumed_state=end)


def _by_parameter(different: Mapping[str, str], when: str) -> dict[str, str]:
    """One message a parameter, about itself or else about its velocity."""
    found: dict[str, str] = {}
    for name, message in different.items():
        parameter = name.removeprefix(VELOCITY)
        found.setdefault(parameter, f"{when}: {'its velocity' if name != parameter else 'the parameter'} {message}")
    return found
