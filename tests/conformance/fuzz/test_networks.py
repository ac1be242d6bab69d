"""Networks at random: valid, varied, the same for a seed, and what their text gives back."""

from collections import Counter
from functools import cache
from math import prod
from typing import get_args

from hypothesis import HealthCheck, given, settings

from conformance.fuzz.fields import KINDS
from conformance.fuzz.networks import AWKWARD_NAMES, networks, random_network
from spec.load import parse
from spec.network import Network
from spec.operators import OPERATORS, Conv, Lrn, MaxPool
from spec.yaml_text import network_text

SEEDS = range(150)
#: So large that float32 rounding shows, so small that every framework runs it in an instant.
MOST_ELEMENTS = 20_000


@cache
def some() -> tuple[Network, ...]:
    return tuple(map(random_network, SEEDS))


def test_every_operator_of_the_language_has_a_kind() -> None:
    named = [get_args(operator.model_fields["op"].annotation)[0] for operator in OPERATORS]
    assert sorted(KINDS) == sorted(named)


def test_every_operator_comes_in_many_networks() -> None:
    found = Counter(op for network in some() for op in {operator.op for operator in network.graph})
    assert found.keys() == KINDS.keys()
    assert min(found.values()) >= len(SEEDS) // 20, found


def test_a_seed_gives_one_network_and_seeds_give_others() -> None:
    again = [random_network(seed) for seed in SEEDS[:30]]
    assert again == list(some()[:30])
    assert len({network.sha256 for network in some()}) == len(SEEDS)


def test_seed_0_is_the_same_network_on_every_machine_by_the_pinned_hypothesis() -> None:
    assert some()[0].sha256[:16] == "8040730f398d8354"


def test_networks_are_small() -> None:
    assert max(prod(layer.output_shape) for network in some() for layer in network.layers) <= MOST_ELEMENTS


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks())
def test_the_text_of_a_network_at_random_is_a_valid_spec_of_the_same_network(network: Network) -> None:
    assert parse(network_text(network, "at random"), "fuzz.yaml") == network


def test_odd_things_come_too() -> None:
    operators = [operator for network in some() for operator in network.graph]
    convs = [operator for operator in operators if isinstance(operator, Conv)]
    pools = [operator for operator in operators if isinstance(operator, MaxPool)]
    assert any(operator.stride[0] > operator.kernel[0] for operator in convs)
    assert any(operator.groups > 1 for operator in convs)
    assert any(operator.pads[0] != operator.pads[2] for operator in convs)
    assert any(operator.pads[1] != operator.pads[3] for operator in pools)
    assert {operator.rounding for operator in pools} == {"floor", "ceil"}
    assert any(operator.scope == "per_group" for operator in operators if isinstance(operator, Lrn))
    assert any(not network.is_linear() for network in some())
    assert any(operator.name in AWKWARD_NAMES for operator in operators)
    assert any(network.training is None for network in some())
    assert any(len(set(operator.reads)) < len(operator.reads) for operator in operators)
