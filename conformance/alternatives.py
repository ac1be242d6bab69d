"""What a wrong optimiser might do instead of the stated one, and whether a trajectory can tell.

A decay that moves a parameter by less than rounding does would pass whatever its form. So other optimisers are followed
beside the oracle's, on a sample of elements and with the oracle's gradients.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from conformance.strays import rms
from conformance.updates import Rates, State, start, update
from conformance.windows import Array
from spec.recipe import Sgd

SAMPLE = 4096
"""About how many elements of a parameter are followed."""

Caps = Mapping[str, tuple[float, float]]
"""By how much each parameter and its velocity may be off, in RMS."""


def alternatives(stated: Sgd) -> Iterator[tuple[str, Sgd]]:
    """The optimisers that differ from the stated one in a word, with that word; none is equal to it."""
    rate = "outside_velocity" if stated.rate == "inside_velocity" else "inside_velocity"
    yield f"rate {rate}", stated.model_copy(update={"rate": rate})
    schedule = "of_weights" if stated.bias_schedule == "constant" else "constant"
    yield f"bias_schedule {schedule}", stated.model_copy(update={"bias_schedule": schedule})
    if stated.bias_rate_factor != 1:
        yield "bias_rate_factor 1", stated.model_copy(update={"bias_rate_factor": 1.0})
    if stated.weight_decay > 0:
        decay = "inside_momentum" if stated.decay == "decoupled" else "decoupled"
        decays = "weights" if stated.decays == "weights_and_biases" else "weights_and_biases"
        yield "weight_decay 0", stated.model_copy(update={"weight_decay": 0.0})
        yield f"decay {decay}", stated.model_copy(update={"decay": decay})
        yield f"decays {decays}", stated.model_copy(update={"decays": decays})


class Follower:
    """Follows another optimiser on a sample of every parameter."""

    def __init__(self, stated: Sgd, other: Sgd, rates: Sequence[Rates], parameters: Mapping[str, Array]) -> None:
        self.other = other
        self.rates = rates
        self.same_velocities = other.rate == stated.rate
        self.state = start({name: _sample(value) for name, value in parameters.items()})
        self.seen = 0.0
        """How many times its cap some tensor was off so far, at most."""

    def step(self, index: int, gradients: Mapping[str, Array], stated: State, caps: Caps) -> None:
        """Take step `index` with the gradients of the stated optimiser, and look how far apart the two are after it."""
        samples = {name: _sample(value) for name, value in gradients.items()}
        self.state = update(self.state, samples, self.other, self.rates[index])
        for name, (parameter_cap, velocity_cap) in caps.items():
            apart = rms(self.state.parameters[name] - _sample(stated.parameters[name]))
            self.seen = max(self.seen, apart / parameter_cap if parameter_cap > 0 else 0.0)
            if self.same_velocities and velocity_cap > 0:
                apart = rms(self.state.velocities[name] - _sample(stated.velocities[name]))
                self.seen = max(self.seen, apart / velocity_cap)


def _sample(values: Array) -> Array:
    """Some elements, evenly taken, in float64."""
    flat = values.reshape(-1)
    return flat[:: max(1, flat.size // SAMPLE)].astype(np.float64)
