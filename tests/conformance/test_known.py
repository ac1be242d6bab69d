"""Known bugs explain what they touch and nothing else, and fail where they are gone; the scripts that show them do."""

import subprocess
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from conformance.attestation import NETWORK
from conformance.fuzz.corpus import SHIPPED
from conformance.known import KNOWN, Known, explained, has_avx512
from conformance.results import Check, Outcome, Result
from impls.environments import interpreters
from impls.frameworks import Variant
from spec.load import load
from spec.network import Network
from tests.conformance import synthetic
from tests.conformance.synthetic import narrow

ROOT = Path(__file__).parents[2]
ONE_COLUMN = load(SHIPPED / "tensorflow_conv_one_column.yaml")
TENSORFLOW = Variant("tensorflow", "cpu", "float32", "compiled", "native")
REFERENCE = Variant("onnx", "cpu", "float32", "reference", "native")
ONEDNN, LRN = KNOWN
FAILED, XFAILED, PASSED = Outcome.FAILED, Outcome.XFAILED, Outcome.PASSED


def failure(tap: str, variant: Variant, version: str, check: Check = Check.LOCAL, noise: float | None = None) -> Result:
    own = replace(synthetic.result(tap, FAILED), variant=variant, version=version, check=check)
    return replace(own, noise_rms=noise)


def passed(network: Network, tap: str, variant: Variant, version: str, images: int) -> Result:
    layer = next(own for own in network.layers if own.name == tap)
    elements = images * prod(layer.output_shape)
    return replace(failure(tap, variant, version), outcome=PASSED, elements=elements)


@pytest.mark.parametrize(
    ("tap", "check"),
    [("one_column", Check.LOCAL), ("one_column", Check.UNTAPPED), (NETWORK, Check.PRECISION)],
)
def test_what_the_bug_touches_is_expected_to_fail(tap: str, check: Check) -> None:
    local = failure("one_column", TENSORFLOW, "2.21.0", noise=9e6)
    found = explained(ONE_COLUMN, [local, failure(tap, TENSORFLOW, "2.21.0", check, noise=9e6)])
    assert [own.outcome for own in found] == [XFAILED, XFAILED]
    assert "AVX-512" in found[1].message


@pytest.mark.parametrize(
    ("variant", "version"),
    [
        (TENSORFLOW, "2.22.0"),
        (replace(TENSORFLOW, framework="torch"), "2.21.0"),
        (replace(TENSORFLOW, mode="xla"), "2.21.0"),
        (replace(TENSORFLOW, dtype="bf16"), "2.21.0"),
    ],
)
def test_another_version_framework_or_mode_is_not_excused(variant: Variant, version: str) -> None:
    own = [failure("one_column", variant, version)]
    assert explained(ONE_COLUMN, own) == own


def test_another_lowering_is_neither_excused_nor_must_it_fail() -> None:
    fast = replace(REFERENCE, lowering="fast")
    own = [failure("norm1", fast, "1.31.1"), passed(narrow(), "norm2", fast, "1.31.1", 2)]
    assert explained(narrow(), own) == own


def test_a_convolution_of_one_channel_a_group_is_excused_and_need_not_fail() -> None:
    content = ONE_COLUMN.model_dump()
    content["input"]["shape"] = (3, 3, 3)
    content["graph"] = (content["graph"][0] | {"out_channels": 3, "groups": 3},)
    grouped = Network.model_validate(content).with_expectations()
    own = [failure("one_column", TENSORFLOW, "2.21.0"), passed(grouped, "one_column", TENSORFLOW, "2.21.0", 2)]
    assert [result.outcome for result in explained(grouped, own)] == [XFAILED, PASSED]


def test_another_convolution_is_not_excused() -> None:
    own = [failure("conv1", TENSORFLOW, "2.21.0")]
    assert explained(narrow(), own) == own


def test_end_to_end_a_bug_excuses_what_is_behind_it_and_by_itself_only_its_own_operator() -> None:
    checks = (Check.LOCAL, Check.END_TO_END)
    taps = ("relu1", "norm1", "fc8")
    own = [failure(tap, REFERENCE, "1.31.1", check) for check in checks for tap in taps]
    found = [result.outcome for result in explained(narrow(), own)]
    assert found == [FAILED, XFAILED, FAILED, FAILED, XFAILED, XFAILED]


@pytest.mark.parametrize("local", [[], [passed(narrow(), "norm1", REFERENCE, "1.31.1", 200)]])
def test_what_is_behind_an_operator_that_was_right_is_not_excused(local: list[Result]) -> None:
    own = [*local, failure("fc8", REFERENCE, "1.31.1", Check.END_TO_END)]
    assert [result.outcome for result in explained(narrow(), own)][-1] is FAILED


def test_what_was_wrong_in_another_case_excuses_nothing() -> None:
    other = replace(failure("norm1", REFERENCE, "1.31.1"), case="paper-noise-seed9-batch2")
    found = explained(narrow(), [other, failure("fc8", REFERENCE, "1.31.1", Check.END_TO_END)])
    assert [result.outcome for result in found] == [XFAILED, FAILED]


def test_the_noise_of_another_operator_is_not_excused() -> None:
    local = failure("one_column", TENSORFLOW, "2.21.0", noise=5e3)
    found = explained(ONE_COLUMN, [local, failure(NETWORK, TENSORFLOW, "2.21.0", Check.PRECISION, noise=9e6)])
    assert [result.outcome for result in found] == [XFAILED, FAILED]


def test_a_bug_that_must_show_and_does_not_fails() -> None:
    (found,) = explained(narrow(), [passed(narrow(), "norm1", REFERENCE, "1.31.1", 2)])
    assert found.outcome is FAILED
    assert found.message.startswith("passed, though known.py expects it to fail (ONNX's ReferenceEvaluator")
    assert found.message.endswith("remove the entry")


@pytest.mark.skipif(not has_avx512(), reason="the bug is one of processors with AVX-512")
@pytest.mark.parametrize(("images", "outcome"), [(1, PASSED), (2, FAILED)])
def test_a_bug_of_several_images_must_not_show_with_one(images: int, outcome: Outcome) -> None:
    (found,) = explained(ONE_COLUMN, [passed(ONE_COLUMN, "one_column", TENSORFLOW, "2.21.0", images)])
    assert found.outcome is outcome


@pytest.mark.parametrize(
    "known",
    [
        pytest.param(
            ONEDNN, marks=pytest.mark.xfail(has_avx512(), strict=True, raises=AssertionError, reason=ONEDNN.reason)
        ),
        pytest.param(LRN, marks=pytest.mark.xfail(strict=True, raises=AssertionError, reason=LRN.reason)),
    ],
    ids=lambda known: known.framework,
)
def test_the_script_of_a_bug_finds_nothing(known: Known) -> None:
    """Where one of these passes, the bug is gone: remove the entry."""
    python = interpreters([known.framework], print)[known.framework]
    text = (ROOT / known.reproduction).read_text(encoding="utf-8")
    if text.count("\n") > 40 or "lockstep" in text.lower():
        raise ValueError("expected a short script of a framework and NumPy alone")
    ended = subprocess.run([python, "-I", "-c", text], capture_output=True, text=True, check=False)
    if ended.returncode and "Traceback" in ended.stderr:
        raise ValueError(ended.stderr)
    assert ended.returncode == 0, ended.stderr
