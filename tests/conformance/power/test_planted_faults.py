"""Every planted fault must be caught, at the right tap and step.

Each is planted in one of the frameworks in which it can be, in turn; `python -m conformance power` plants all in all.
"""

from collections.abc import Mapping

import pytest

from conformance.power.catalogue import FAULTS
from conformance.power.planting import plant
from conformance.power.verdicts import Verdict
from impls.environments import interpreters
from impls.frameworks import FRAMEWORKS

PLANTED = [(fault, fault.frameworks[place % len(fault.frameworks)]) for place, fault in enumerate(FAULTS)]


@pytest.fixture(scope="module")
def verdicts() -> Mapping[str, Verdict]:
    power = plant(interpreters(FRAMEWORKS, print), PLANTED, None, print)
    return {verdict.fault.id: verdict for verdict in power.verdicts}


@pytest.mark.parametrize("fault", [fault.id for fault in FAULTS])
def test_planted_fault_is_caught_where_it_must_be(verdicts: Mapping[str, Verdict], fault: str) -> None:
    found = verdicts[fault].found
    assert found is not None, "the suite saw nothing wrong"
    assert verdicts[fault].is_at_tap, f"{found['tap']}, {found['check']}, step {found['step']}: {found['message']}"
    assert found["message"]
