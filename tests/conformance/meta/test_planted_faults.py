"""Every planted fault must be caught, at the right tap and step, in every framework where it applies."""

from collections import Counter
from collections.abc import Mapping

import pytest

from conformance.meta.__main__ import ALL_FAULTS, Verdict, plant
from impls.environments import interpreters
from impls.frameworks import FRAMEWORKS

PLANTED = [(fault.id, framework) for fault in ALL_FAULTS for framework in fault.frameworks]


@pytest.fixture(scope="module")
def verdicts() -> Mapping[tuple[str, str], Verdict]:
    verdicts = plant(interpreters(FRAMEWORKS, print), print)
    return {(verdict.fault.id, verdict.framework): verdict for verdict in verdicts}


@pytest.mark.parametrize(("fault", "framework"), PLANTED)
def test_planted_fault_is_caught_where_it_must_be(
    verdicts: Mapping[tuple[str, str], Verdict], fault: str, framework: str
) -> None:
    verdict = verdicts[fault, framework]
    assert verdict.found is not None, "the suite saw nothing wrong"
    assert verdict.caught, (
        f"{verdict.found.tap}, {verdict.found.check}, step {verdict.found.step}: {verdict.found.message}"
    )
    assert verdict.found.message


def test_faults_have_names_of_their_own_and_are_of_at_least_twelve_kinds() -> None:
    counts = Counter(fault.id for fault in ALL_FAULTS)
    assert max(counts.values()) == 1
    assert len(counts) >= 12
