"""Known bugs explain what they touch and nothing else; where the framework is there, the bug is too."""

from dataclasses import replace

import pytest

from conformance.attestation import NETWORK
from conformance.fuzz.corpus import SHIPPED
from conformance.known import explained
from conformance.results import Check, Outcome, Result
from impls.frameworks import Variant
from spec.load import load
from tests.conformance import synthetic
from tests.conformance.synthetic import narrow

ONE_COLUMN = load(SHIPPED / "tensorflow_conv_one_column.yaml")
TENSORFLOW = Variant("tensorflow", "cpu", "float32", "compiled", "native")
REFERENCE = Variant("onnx", "cpu", "float32", "reference", "native")


def failure(tap: str, variant: Variant, version: str, check: Check = Check.LOCAL) -> Result:
    return replace(synthetic.result(tap, Outcome.FAILED), variant=variant, version=version, check=check)


@pytest.mark.parametrize(
    ("tap", "check"),
    [("one_column", Check.LOCAL), ("one_column", Check.UNTAPPED), (NETWORK, Check.PRECISION)],
)
def test_what_the_bug_touches_is_expected_to_fail(tap: str, check: Check) -> None:
    (found,) = explained(ONE_COLUMN, [failure(tap, TENSORFLOW, "2.21.0", check)])
    assert found.outcome is Outcome.XFAILED
    assert "AVX-512" in found.message


@pytest.mark.parametrize(
    ("variant", "version"),
    [
        (TENSORFLOW, "2.22.0"),
        (replace(TENSORFLOW, framework="torch"), "2.21.0"),
        (replace(TENSORFLOW, mode="xla"), "2.21.0"),
    ],
)
def test_another_version_framework_or_mode_is_not_excused(variant: Variant, version: str) -> None:
    own = [failure("one_column", variant, version)]
    assert explained(ONE_COLUMN, own) == own


def test_another_convolution_is_not_excused() -> None:
    own = [failure("conv1", TENSORFLOW, "2.21.0")]
    assert explained(narrow(), own) == own


def test_end_to_end_a_bug_excuses_what_is_behind_it_and_by_itself_only_its_own_operator() -> None:
    checks = (Check.END_TO_END, Check.LOCAL)
    taps = ("relu1", "norm1", "fc8")
    found = [
        explained(narrow(), [failure(tap, REFERENCE, "1.31.1", check)])[0].outcome for check in checks for tap in taps
    ]
    xfailed, failed = Outcome.XFAILED, Outcome.FAILED
    assert found == [failed, xfailed, xfailed, failed, xfailed, failed]
