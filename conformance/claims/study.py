"""The runs behind the claims: who trains what from which seeds, and how two networks compare."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from conformance.participants import Entrant
from conformance.train.checkpoint import identity_of
from conformance.train.plan import Plan
from spec.network import Network
from spec.store import Store


@dataclass(frozen=True)
class Study:
    """Who trains, on what, from which seeds."""

    plans: tuple[Plan, ...]
    """That of the network as the spec has it, one a seed."""
    chooser: Plan
    """Of a further seed, by which rates are chosen."""
    entrant_of: Callable[[Network], Entrant]
    """The framework that trains, with the generated source of a network."""
    tell: Callable[[str], None]

    @property
    def network(self) -> Network:
        """The network as the spec has it."""
        return self.plans[0].network


@dataclass(frozen=True)
class Finding:
    """One measure of one claim: a value a seed with what the paper has, and one with what it is held against.

    Less is better. A value may be infinite: never, or training came to something that is no number.
    """

    claim: str
    section: str
    measure: str
    papers_name: str
    others_name: str
    papers: tuple[float, ...]
    others: tuple[float, ...]
    setting: str = ""
    """What else belongs to it, in a sentence."""

    @property
    def differences(self) -> tuple[float, ...]:
        """With what the paper has, less without it, a seed: the same images, shuffles and weights."""
        pairs = zip(self.papers, self.others, strict=True)
        return tuple(0.0 if one == other else one - other for one, other in pairs)

    @property
    def agreeing(self) -> int:
        """In how many seeds what the paper has is better."""
        return sum(difference < 0 for difference in self.differences)

    @property
    def opposing(self) -> int:
        """In how many seeds it is worse."""
        return sum(difference > 0 for difference in self.differences)


def for_network(plan: Plan, network: Network) -> Plan:
    """The plan for another network: the same images, in the same batches, from weights of the same seed."""
    assert network.training is not None
    seed = plan.identity.seed
    return replace(
        plan,
        network=network,
        training=network.training,
        batches=replace(plan.batches, network=network),
        identity=identity_of(network, plan.identity.data_sha256, seed),
        weights=Store().weights_file(network, "paper", seed),
    )
