"""From a network that fails to a small one that fails alike: Hypothesis shrinks the choices behind it."""

from collections.abc import Callable
from contextlib import suppress

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.database import InMemoryExampleDatabase

from conformance.fuzz.networks import networks, seed_bytes
from spec.network import Network


class _FailsError(Exception):
    """The network at hand fails."""


def shrunk(seed: int, fails: Callable[[Network], bool], tries: int) -> Network:
    """The smallest network found in so many tries for which `fails` holds, as it does for that of `seed`."""
    verdicts: dict[str, bool] = {}
    smallest: list[Network] = []

    @settings(
        database=InMemoryExampleDatabase(),
        phases=(Phase.reuse, Phase.shrink),
        deadline=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(networks())
    def test(network: Network) -> None:
        if network.sha256 not in verdicts:
            if len(verdicts) > tries:  # Hypothesis itself knows no such limit
                return
            verdicts[network.sha256] = not verdicts or fails(network)
        if verdicts[network.sha256]:
            smallest.append(network)
            raise _FailsError

    with suppress(_FailsError):
        test.hypothesis.fuzz_one_input(seed_bytes(seed))  # type: ignore[attr-defined]
    with suppress(_FailsError):
        test()
    return smallest[-1]  # Hypothesis ends with the smallest
