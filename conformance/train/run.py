"""One framework through all epochs: its worker does the steps, and its own validation errors set its rates."""

import tempfile
import time
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from conformance.lane import NO_TRAINING
from conformance.participants import Entrant
from conformance.results import Outcome
from conformance.schedules import rates
from conformance.train import checkpoint as checkpoints
from conformance.train.batches import ahead
from conformance.train.checkpoint import Checkpoint, Epoch, Maker
from conformance.train.dataset import Split
from conformance.train.plan import Plan
from conformance.train.testing import NotFiniteError, Tested, score
from conformance.train.trainee import Trainee
from conformance.updates import Rates
from impls.client import Hello, Worker, WorkerError
from impls.frameworks import Variant
from spec.tensors import read

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Run:
    """What became of one framework."""

    variant: Variant
    outcome: Outcome
    message: str
    version: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    losses: tuple[float, ...] = ()
    """Of every step, before it."""
    resumed_steps: int | None = None
    """How many steps the checkpoint had done that this went on from."""
    tested: Tested | None = None
    """On the test images; where the data set brings none, on those of validation."""
    duration_s: float = 0.0
    """From the worker's start to its end, of what was done since the last start."""
    parameters: dict[str, Array] = field(default_factory=dict)


class Watch:
    """Who is told how training goes on: by itself nobody."""

    def started(self, framework: str, steps_done: int, steps: int) -> None:
        """A framework begins, after as many steps as its checkpoint had done."""

    def stepped(self, framework: str, steps: int) -> None:
        """Some more steps are done."""

    def ended_epoch(self, framework: str, number: int, epoch: Epoch) -> None:
        """An epoch is done."""

    def note(self, framework: str, text: str) -> None:
        """Something that the user should know."""


class _DivergedError(Exception):
    """Training came to something that is no number."""


def train(plan: Plan, entrant: Entrant, path: Path | None, start: Checkpoint | None, watch: Watch) -> Run:
    """Train one entrant, from `start` on if there is one, with checkpoints at `path` if there is to be one.

    Whatever goes wrong with the worker or the numbers is in the result. Raises InputError for an image that can no
    longer be read, NotRunError where a checkpoint cannot be written.
    """
    variant, began_s = entrant.variant, time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="lockstep-train-") as folder,
        Worker(variant.framework, entrant.command, plan.settings.timeout_s) as worker,
    ):
        trainee = Trainee(plan.network, entrant, worker, plan.settings.threads, Path(folder))
        try:
            hello = trainee.hello()
        except WorkerError as error:
            return Run(variant, Outcome.ERRORED, _cause(error))
        if not hello.trains:
            return Run(variant, Outcome.SKIPPED, NO_TRAINING, hello.version, hello.environment)
        course = _Course(plan, trainee, hello, path, watch)
        outcome, message = Outcome.PASSED, ""
        try:
            course.go(start)
        except _DivergedError as error:
            outcome, message = Outcome.FAILED, str(error)
        except WorkerError as error:
            outcome, message = Outcome.ERRORED, _cause(error)
        return Run(
            variant,
            outcome,
            message,
            hello.version,
            hello.environment,
            tuple(course.epochs),
            tuple(course.losses),
            course.resumed_steps,
            course.tested,
            time.monotonic() - began_s,
            course.parameters,
        )


def _cause(error: WorkerError) -> str:
    lines = f"; last lines of stderr: {' | '.join(error.stderr)}" if error.stderr else ""
    return f"{error.kind}: {error}{lines}"


class _Course:
    """The way of one trainee through a plan."""

    def __init__(self, plan: Plan, trainee: Trainee, hello: Hello, path: Path | None, watch: Watch) -> None:
        self.plan = plan
        self.trainee = trainee
        self.path = path
        self.watch = watch
        variant = trainee.entrant.variant
        self.framework = variant.framework
        self.maker = Maker(
            variant.framework, hello.version, plan.settings.threads, variant.device, variant.mode, variant.lowering
        )
        self.epochs: list[Epoch] = []
        self.step = 0
        self.losses: list[float] = []
        self.resumed_steps: int | None = None
        self.tested: Tested | None = None
        self.parameters: dict[str, Array] = {}

    def go(self, start: Checkpoint | None) -> None:
        """Train to the end of the plan, and test; raises _DivergedError and WorkerError."""
        if start is None:
            self.trainee.begin(read(self.plan.weights), None)
        else:
            self._go_on(start)
        self.watch.started(self.framework, len(self.losses), self.plan.epochs * self.plan.batches.steps)
        while len(self.epochs) < self.plan.epochs:
            self._epoch()
        self.parameters, _ = self.trainee.state()
        self.tested = self._tested("test" if "test" in self.plan.dataset.splits else "validation")

    def _go_on(self, start: Checkpoint) -> None:
        self.trainee.begin(start.parameters, start.velocities)
        self.epochs, self.step, self.losses = list(start.epochs), start.step, start.losses.tolist()
        self.resumed_steps = len(self.losses)
        for what in ("version", "threads", "device", "mode", "lowering"):
            before, now = getattr(start.maker, what), getattr(self.maker, what)
            if before != now:
                self.watch.note(
                    self.framework,
                    f"the checkpoint is of {what} {before}, this is {now}: bits may differ from a run without a stop",
                )

    def _epoch(self) -> None:
        """The rest of the epoch that has begun; raises _DivergedError and WorkerError."""
        plan, number = self.plan, len(self.epochs)
        errors = [epoch.validation_error_percent for epoch in self.epochs]
        own = rates(plan.training.schedule, plan.training.optimizer, number, errors)
        duration_s = self._steps(number, own)
        steps = plan.batches.steps
        losses = self.losses[-steps:]
        validated = self._tested("validation")
        epoch = Epoch(
            rate=own.weights,
            bias_rate=own.biases,
            training_loss=sum(losses) / steps,
            validation_loss=validated.loss,
            validation_error_percent=validated.error_percent,
            validation_top5_error_percent=validated.top5_error_percent,
            duration_s=duration_s,
        )
        self.epochs.append(epoch)
        self.step = 0
        self._save()
        self.watch.ended_epoch(self.framework, number, epoch)

    def _steps(self, number: int, own: Rates) -> float:
        """Every step of the epoch that is left; how long the worker took. Raises _DivergedError and WorkerError."""
        every, duration_s = self.plan.settings.checkpoint_steps, 0.0
        for chunk in ahead(self.plan.batches.chunks(number, self.step, own, self.trainee.folder, every)):
            began_s = time.monotonic()
            losses = self.trainee.train(chunk.path, chunk.steps)
            duration_s += time.monotonic() - began_s
            chunk.path.unlink()
            for offset, loss in enumerate(losses):
                if not isfinite(loss):
                    raise self._diverged(number, chunk.first + offset, f"expected a finite loss, found {loss}")
            self.losses += losses
            self.step += chunk.steps
            self.watch.stepped(self.framework, chunk.steps)
            if every and len(self.losses) % every == 0 and self.step < self.plan.batches.steps:
                self._save()
        return duration_s

    def _save(self) -> None:
        """Write a checkpoint, but none of numbers that are none: then the one before it stays."""
        if self.path is None:
            return
        parameters, velocities = self.trainee.state()
        stage = Checkpoint(
            identity=self.plan.identity,
            maker=self.maker,
            asked_epochs=self.plan.epochs,
            step=self.step,
            epochs=tuple(self.epochs),
            losses=np.array(self.losses, np.float64),
            parameters=parameters,
            velocities=velocities,
        )
        if not stage.is_finite():
            raise self._diverged(len(self.epochs), self.step, "expected finite parameters, found some that are not")
        checkpoints.write(self.path, stage)

    def _diverged(self, epoch: int, step: int, what: str) -> _DivergedError:
        kept = f"; {self.path} stays as it was" if self.path is not None and self.path.exists() else ""
        return _DivergedError(
            f"epoch {epoch}, step {step}: {what}; lower training.schedule.rate of "
            f"{self.plan.network.name}, or look at the images{kept}"
        )

    def _tested(self, split: Split) -> Tested:
        try:
            return score(self.plan, self.trainee, split)
        except NotFiniteError as error:
            raise self._diverged(len(self.epochs), self.step, str(error)) from None
