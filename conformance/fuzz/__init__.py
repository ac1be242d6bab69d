"""Fuzzing: networks at random through every framework; failures shrink to small specs that are replayed.

`networks.random_network(seed)` is the network of a seed. `check(network, case, participants)` runs one case of any
network on participants that live longer than it; `showing_case(network, case)` finds a case that shows all of it.
"""

from conformance.fuzz.cases import check as check
from conformance.fuzz.cases import showing_case as showing_case
