"""Expected failures: they apply to what they name, to nothing else, and do not outlive the bug."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from packaging.specifiers import SpecifierSet
from pydantic import ValidationError

from conformance.results import Check, Outcome
from conformance.xfails import Xfail, applied, xfails
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS
from tests.conformance.synthetic import result, variant


def xfail(**changes: Any) -> Xfail:
    values = {
        "framework": "torch",
        "versions": ">=2.8,<2.10",
        "operator": "lrn",
        "check": "local",
        "dtypes": ["float32"],
        "devices": ["cpu"],
        "reason": "torch counts what is not there",
        "link": "https://example.org/1",
    }
    return Xfail.model_validate(values | changes)


FAILED = result("norm1", Outcome.FAILED, message="at [0] actual 1, expected 2")
PASSED = result("norm1", Outcome.PASSED)


def test_a_failure_that_is_expected_is_xfailed_and_says_why_and_what() -> None:
    (found,) = applied([FAILED], [xfail()])
    assert found.outcome is Outcome.XFAILED
    assert found.message == (
        "expected to fail: torch counts what is not there (https://example.org/1); at [0] actual 1, expected 2"
    )


def test_an_entry_whose_checks_all_pass_fails_them() -> None:
    found = applied([PASSED, result("norm2", Outcome.PASSED)], [xfail()])
    assert [each.outcome for each in found] == [Outcome.FAILED, Outcome.FAILED]
    assert found[0].message == (
        "passed, though xfails.toml expects it to fail (torch counts what is not there); remove the entry"
    )


def test_an_entry_applies_where_only_some_of_its_checks_fail() -> None:
    found = applied([PASSED, FAILED], [xfail()])
    assert [each.outcome for each in found] == [Outcome.PASSED, Outcome.XFAILED]


@pytest.mark.parametrize(
    "changes",
    [
        {"framework": "jax"},
        {"operator": "conv"},
        {"check": "end_to_end"},
        {"dtypes": ["tf32"]},
        {"devices": ["cuda"]},
        {"networks": ["alexnet"]},
        {"modes": ["compiled"]},
        {"lowerings": ["fast"]},
        {"versions": "<2.9"},
        {"versions": ">2.9"},
    ],
    ids=str,
)
def test_an_entry_for_something_else_changes_nothing(changes: dict[str, Any]) -> None:
    assert applied([FAILED, PASSED], [xfail(**changes)]) == [FAILED, PASSED]


@pytest.mark.parametrize(
    "names",
    [
        {},
        {"networks": ["alexnet_narrow"]},
        {"networks": ["alexnet", "alexnet_narrow"]},
        {"modes": [FAILED.variant.mode], "lowerings": [FAILED.variant.lowering]},
    ],
    ids=str,
)
def test_an_entry_is_for_what_it_names_and_for_all_where_it_names_none(names: dict[str, Any]) -> None:
    (found,) = applied([FAILED], [xfail(**names)])
    assert found.outcome is Outcome.XFAILED


@pytest.mark.parametrize(
    ("version", "covered"),
    [
        ("2.7.9", False), ("2.8.0", True), ("2.9.1+cpu", True), ("2.9.0a1", True), ("2.10.0", False),
        ("unknown", False), ("", False),
    ],
)  # fmt: skip
def test_version_bounds_count_pre_releases_and_local_builds_and_refuse_what_is_no_version(
    version: str, covered: bool
) -> None:
    outcome = applied([result("norm1", Outcome.FAILED, version=version)], [xfail()])[0].outcome
    assert outcome is (Outcome.XFAILED if covered else Outcome.FAILED)


@pytest.mark.parametrize("outcome", [Outcome.SKIPPED, Outcome.ERRORED])
def test_what_could_not_be_compared_stays_what_it_is(outcome: Outcome) -> None:
    own = result("norm1", outcome, message="why")
    assert applied([own], [xfail()]) == [own]
    found = applied([own, PASSED], [xfail()])
    assert [each.outcome for each in found] == [outcome, Outcome.FAILED]


def test_a_worker_that_could_not_run_is_never_expected() -> None:
    run = result("", Outcome.ERRORED, check=Check.RUN, operator="")
    assert applied([run], [xfail()]) == [run]
    with pytest.raises(ValidationError):
        xfail(check="run")


def test_other_frameworks_of_the_same_run_are_not_excused() -> None:
    other = result("norm1", Outcome.FAILED, variant=variant("onnx"))
    found = applied([FAILED, other], [xfail()])
    assert [each.outcome for each in found] == [Outcome.XFAILED, Outcome.FAILED]


@pytest.mark.parametrize("key", ["framework", "versions", "operator", "check", "dtypes", "devices", "reason", "link"])
def test_an_entry_states_everything(key: str) -> None:
    values = xfail().model_dump(exclude={key})
    with pytest.raises(ValidationError, match=key):
        Xfail.model_validate(values)


@pytest.mark.parametrize("changes", [{"check": "locl"}, {"dtypes": []}, {"devices": []}, {"surprise": 1}], ids=str)
def test_an_entry_that_could_never_apply_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        xfail(**changes)


def test_the_entries_that_come_with_lockstep_name_what_there_is() -> None:
    for entry in xfails():
        assert entry.framework in FRAMEWORKS
        assert set(entry.dtypes) <= set(DTYPES)
        assert set(entry.devices) <= set(DEVICES)
        assert str(SpecifierSet(entry.versions)), "a bound that all versions satisfy is none"
        assert len(entry.reason) > 20
        assert urlsplit(entry.link).scheme == "https"


def test_every_check_of_a_tap_may_be_expected_to_fail_and_no_other() -> None:
    about_no_tap = {Check.TRAINING, Check.RUN}
    for check in Check:
        if check in about_no_tap:
            with pytest.raises(ValidationError, match="check"):
                xfail(check=str(check))
        else:
            failed = result("norm1", Outcome.FAILED, check=check)
            (found,) = applied([failed], [xfail(check=str(check))])
            assert found.outcome is Outcome.XFAILED
