"""A network that fails shrinks to a small one that fails alike, in as many tries as are allowed."""

from conformance.fuzz.networks import random_network
from conformance.fuzz.shrink import shrunk
from spec.network import Network


def has(network: Network, op: str) -> bool:
    return any(operator.op == op for operator in network.graph)


SEED = next(seed for seed in range(100) if has(random_network(seed), "lrn"))


def test_what_has_nothing_to_do_with_the_failure_goes() -> None:
    # Hypothesis shrinks at random, and now and then is left with more.
    attempts = (shrunk(SEED, lambda network: has(network, "lrn"), tries=500) for _ in range(5))
    assert any([operator.op for operator in small.graph] in (["lrn"], ["lrn", "flatten"]) for small in attempts)
    assert len(random_network(SEED).graph) > 2


def test_no_more_networks_are_tried_than_allowed() -> None:
    tried: list[Network] = []

    def fails(network: Network) -> bool:
        tried.append(network)
        return has(network, "lrn")

    small = shrunk(SEED, fails, tries=10)
    assert has(small, "lrn")
    assert 1 <= len(tried) <= 10


def test_without_tries_the_network_itself_is_kept() -> None:
    assert shrunk(SEED, lambda _: True, tries=0) == random_network(SEED)
