"""The claim on speed: how soon networks of ReLUs and of tanh come to a training error (§3.1, Figure 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import inf, isfinite
from pathlib import Path
from tempfile import TemporaryDirectory

from conformance.claims.study import Finding, Study, for_network
from conformance.claims.variants import (
    unregularised,
    with_biases_of_zero,
    with_first_weights,
    with_rate,
    with_tanh,
)
from conformance.schedules import rates
from conformance.train.plan import Plan
from conformance.train.testing import NotFiniteError, score
from conformance.train.trainee import Trainee
from impls.client import Worker, WorkerError
from spec.exits import NotRunError
from spec.network import Network
from spec.tensors import read

#: What the first rate may be, over that of the recipe: "chosen independently" for each activation (§3.1).
RATE_FACTORS = (0.1, 0.3, 1.0, 3.0)
#: What the first layer's weights may start from, over what the recipe says.
FIRST_FACTORS = (1.0, 0.2)
#: The training error to come to. The paper has 25% on CIFAR-10; digits take no time to come there.
TARGET_PERCENT = 5.0
#: How often it is looked at, in steps, and on how many training images.
LOOK_STEPS, LOOK_IMAGES = 5, 500


@dataclass(frozen=True)
class Setting:
    """What is chosen for each activation by itself."""

    rate_factor: float
    first_factor: float

    def of(self, network: Network) -> Network:
        """The network with it."""
        assert network.training is not None
        rate = self.rate_factor * network.training.schedule.rate
        return with_rate(with_first_weights(network, self.first_factor), rate)

    def __str__(self) -> str:
        return f"{self.rate_factor:g} times the rate, {self.first_factor:g} times the first weights"


def speed_finding(study: Study) -> Finding:
    """Steps to a training error, each activation in the setting that suits it best; raises NotRunError."""
    relu = with_biases_of_zero(unregularised(study.network))
    chosen: dict[str, Setting] = {}
    steps: dict[str, tuple[float, ...]] = {}
    for name, network in {"ReLU": relu, "tanh": with_tanh(relu)}.items():
        setting = chosen[name] = _best(study, network, name)
        best = setting.of(network)
        steps[name] = tuple(_steps_to_target(study, plan, best, f"{name}, {setting}") for plan in study.plans)
    return Finding(
        claim="ReLUs train faster than tanh",
        section="§3.1",
        measure=f"steps to {TARGET_PERCENT:g}% training error",
        papers_name="ReLU",
        others_name="tanh",
        papers=steps["ReLU"],
        others=steps["tanh"],
        setting=(
            "Without dropout and weight decay, all biases from 0. Of the recipe's rate times "
            f"{_listed(RATE_FACTORS)} and the first layer's weights times {_listed(FIRST_FACTORS)}, each has the pair "
            f"that was first there from seed {study.chooser.identity.seed}: "
            f"{'; '.join(f'{name}: {each}' for name, each in chosen.items())}. "
            f"The error is that of the first {LOOK_IMAGES} training images, every {LOOK_STEPS} steps."
        ),
    )


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _best(study: Study, network: Network, name: str) -> Setting:
    """The setting that takes the fewest steps from the chooser's seed; of equal ones the first."""
    settings = [Setting(*factors) for factors in product(RATE_FACTORS, FIRST_FACTORS)]
    best, fewest = settings[0], inf
    for setting in settings:
        steps = _steps_to_target(study, study.chooser, setting.of(network), f"{name}, {setting}", fewest)
        if steps < fewest:
            best, fewest = setting, steps
    return best


def _steps_to_target(study: Study, plan: Plan, network: Network, name: str, most: float = inf) -> float:
    """After how many steps the training error is at the target; infinite where a run, or `most` steps, are too few.

    Raises NotRunError where the worker cannot do the run.
    """
    own, entrant = for_network(plan, network), study.entrant_of(network)
    study.tell(f"{name}: seed {own.identity.seed}")
    with (
        TemporaryDirectory(prefix="lockstep-claims-") as folder,
        Worker(entrant.variant.framework, entrant.command, own.settings.timeout_s) as worker,
    ):
        trainee = Trainee(network, entrant, worker, own.settings.threads, Path(folder))
        try:
            return _steps(own, trainee, most)
        except NotFiniteError:
            return inf
        except WorkerError as error:
            raise NotRunError(f"{name}, seed {own.identity.seed}: {error}") from None


def _steps(plan: Plan, trainee: Trainee, most: float) -> float:
    first_rates = rates(plan.training.schedule, plan.training.optimizer, 0, [])
    trainee.begin(read(plan.weights), None)
    done = 0
    for epoch in range(plan.epochs):
        for chunk in plan.batches.chunks(epoch, 0, first_rates, trainee.folder, every=LOOK_STEPS):
            losses = trainee.train(chunk.path, chunk.steps)
            chunk.path.unlink()
            done += chunk.steps
            if done >= most or not all(map(isfinite, losses)):
                return inf
            if score(plan, trainee, "train", LOOK_IMAGES).error_percent <= TARGET_PERCENT:
                return done
    return inf
