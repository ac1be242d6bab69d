"""How the numbers moved: each verdict from reports that differ in one known way."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.measure import UNIT
from gate.drift import BENIGN_RATIO, CHANCE, by_chance, judge
from gate.results import GRADIENTS, Finding, Numerics, NumericVerdict, TapDrift
from spec.exits import Exit, InputError
from tests.gate.findings import SIDES
from tests.gate.reports import CASES, Change, Fields, at, both, identical, noisier, reported

SAME: Change = lambda fields: fields  # noqa: E731


@pytest.fixture
def drift(tmp_path: Path) -> Any:
    def judged(after: Change = SAME, before: Change = SAME) -> Numerics:
        (numerics,) = judge(reported(tmp_path, before, "before.json"), reported(tmp_path, after, "after.json"))
        return numerics

    return judged


def tap(numerics: Numerics, name: str, check: str = "local") -> TapDrift:
    return next(own for own in numerics.taps if (own.tap, own.check) == (name, check))


# --- Within the caps -------------------------------------------------------------------------------------------------


def test_the_same_bits_everywhere_are_identical_and_every_tap_is_named_so(drift: Any) -> None:
    found = drift()
    assert (found.verdict, found.first_moved, found.cases) == (NumericVerdict.IDENTICAL, None, 10)
    assert identical(found) == ("conv1", "norm1", "relu1")
    assert {own.verdict for own in found.taps} == {NumericVerdict.IDENTICAL}
    assert found.reason == "the same bits in 7 checks of taps in 10 cases"


def test_other_bits_with_the_same_noise_are_benign_and_an_order_of_summation(drift: Any) -> None:
    found = drift(noisier("conv1", 1.1))
    assert (found.verdict, found.first_moved.tap) == (NumericVerdict.BENIGN, "conv1")
    assert found.first_moved.change == "order of summation: 4 → 4.4 noise units"
    assert identical(found) == ("norm1", "relu1")


def test_one_other_bit_in_one_case_is_a_move(drift: Any) -> None:
    def change(fields: Fields) -> Fields:
        own = fields["tap"] == "norm1" and fields["check"] == "local" and fields["case"] == CASES[7]
        return fields | {"digest": "other"} if own else fields

    found = drift(change)
    assert (found.verdict, found.first_moved.tap) == (NumericVerdict.BENIGN, "norm1")


@pytest.mark.parametrize(
    ("times", "verdict"), [(1.45, "benign"), (1.55, "drifted"), (0.1, "benign"), (10.0, "drifted")]
)
def test_noise_beyond_one_and_a_half_times_the_old_is_a_drift(drift: Any, times: float, verdict: str) -> None:
    found = drift(noisier("conv1", times))
    assert found.verdict == verdict
    assert tap(found, "conv1").noise_after == pytest.approx(times * 4.0)


def test_a_drift_that_one_set_of_weights_shows_is_one(drift: Any) -> None:
    only_scaled = noisier("conv1", 2.0)
    found = drift(lambda fields: only_scaled(fields) if fields["case"].startswith("scaled") else fields)
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.DRIFTED, "conv1")


def test_one_odd_seed_is_no_drift(drift: Any) -> None:
    odd = noisier("conv1", 3.0)
    found = drift(lambda fields: odd(fields) if fields["case"] == CASES[0] else fields)
    assert found.verdict == NumericVerdict.BENIGN


def test_two_odd_seeds_are_a_drift(drift: Any) -> None:
    odd = noisier("conv1", 3.0)
    found = drift(lambda fields: odd(fields) if fields["case"] in CASES[:2] else fields)
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.DRIFTED, "conv1")


def test_single_elements_that_went_astray_within_the_caps_are_a_drift(drift: Any) -> None:
    found = drift(at("conv1", worst=400.0, noise_max=400.0))
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.DRIFTED, "conv1")
    assert found.decided_by.change.startswith("single elements: at most ")


def test_a_check_that_the_candidate_lacks_is_errored_by_name(drift: Any) -> None:
    found = drift(lambda fields: None if (fields["tap"], fields["check"]) == ("norm1", "local") else fields)
    assert found.verdict == NumericVerdict.ERRORED
    assert "expected the local check of 'norm1' that the baseline has, found none" in found.reason


def test_an_old_result_that_was_exact_by_luck_makes_no_drift_of_one_as_right_as_can_be(drift: Any) -> None:
    lucky = at("norm1", rms=0.0, worst=0.0, effective_bits=None)
    assert drift(before=lucky, after=at("norm1", rms=0.7)).verdict == NumericVerdict.BENIGN
    assert drift(before=lucky, after=at("norm1", rms=0.8)).verdict == NumericVerdict.DRIFTED


def test_the_sign_of_zero_at_an_exact_operator_is_benign_and_called_that(drift: Any) -> None:
    found = drift(at("relu1"))
    assert (found.verdict, found.first_moved.change) == (NumericVerdict.BENIGN, "sign of zero")


def test_what_moves_end_to_end_follows_the_operator_that_moved_by_itself(drift: Any) -> None:
    found = drift(both(noisier("norm1", 1.1), at("relu1", "end_to_end"), at("norm1", "end_to_end")))
    assert found.first_moved.tap == "norm1"
    assert tap(found, "relu1", "end_to_end").change.startswith("follows norm1")
    assert tap(found, "conv1", "end_to_end").identical


def test_what_moves_end_to_end_alone_is_seen(drift: Any) -> None:
    found = drift(noisier("relu1", 2.0, "untapped"))
    assert (found.verdict, found.first_moved.check) == (NumericVerdict.DRIFTED, "untapped")


# --- Sums in other orders --------------------------------------------------------------------------------------------


def summed(products: Any, block: int) -> Any:
    """Sums of float32 products along the last axis: blocks in one sequence each, then the blocks."""
    partial = np.zeros((*products.shape[:-1], -(-products.shape[-1] // block)), np.float32)
    for index in range(partial.shape[-1]):
        partial[..., index] = np.cumsum(products[..., index * block : (index + 1) * block], -1, np.float32)[..., -1]
    return np.cumsum(partial, -1, np.float32)[..., -1]


def noise_of(seed: int, block: int, shuffled: bool) -> float:
    """The RMS in noise units of 400 dot products over 1,152 terms."""
    random = np.random.default_rng(seed)
    x, w = random.standard_normal((2, 400, 1152), np.float32)
    exact = (x.astype(np.float64) * w).sum(-1)
    scale = np.sqrt((x.astype(np.float64) ** 2 * w.astype(np.float64) ** 2).sum(-1))
    order = random.permutation(1152) if shuffled else slice(None)
    errors = summed((x * w)[:, order], block) - exact
    return float(np.sqrt(np.mean((errors / (UNIT["float32"] * scale)) ** 2)))


@pytest.mark.parametrize("block", [8, 32, 1152])
@pytest.mark.parametrize("other", ["shuffled", "half the block", "twice the block"])
def test_sums_in_another_order_never_drift(drift: Any, block: int, other: str) -> None:
    blocks = {"shuffled": block, "half the block": block // 2, "twice the block": min(2 * block, 1152)}
    before = {case: noise_of(index, block, False) for index, case in enumerate(CASES)}
    after = {case: noise_of(index, blocks[other], other == "shuffled") for index, case in enumerate(CASES)}

    def with_noise(noises: dict[str, float], digest: str) -> Change:
        def change(fields: Fields) -> Fields:
            if (fields["tap"], fields["check"]) != ("conv1", "local"):
                return fields
            own = noises[fields["case"]]
            return fields | {"rms": own, "noise_rms": own, "noise_max": 5 * own, "worst": 5 * own, "digest": digest}

        return change

    found = drift(with_noise(after, "after"), with_noise(before, "before"))
    assert found.verdict == NumericVerdict.BENIGN, found.reason
    assert found.first_moved.change.startswith("order of summation")


# --- Beyond them -----------------------------------------------------------------------------------------------------


def failing(name: str, rms: float, message: str = "at [0] …", check: str = "local", **changes: Any) -> Change:
    own = {"outcome": "failed", "rms": rms, "worst": 8 * rms, "message": message}
    own |= {"noise_rms": rms, "noise_max": 8 * rms} if name == "conv1" else {}
    return at(name, check, **(own | changes))


def test_tf32_is_another_precision_class_at_its_tap_whatever_it_breaks_behind(drift: Any) -> None:
    found = drift(both(failing("conv1", 4900.0, effective_bits=11.0), failing("relu1", 1e-3, check="end_to_end")))
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.PRECISION, "conv1")
    assert (found.decided_by.class_before, found.decided_by.class_after) == ("float32", "tf32")
    assert found.decided_by.change == "precision float32 → tf32"
    assert tap(found, "relu1", "end_to_end").verdict == NumericVerdict.DIVERGED


def test_what_explains_a_failure_is_said_of_its_tap(drift: Any) -> None:
    own = {"change": "precision: tf32", "before": 4900.0, "after": 3.2, "unit": "noise units", "note": "So it is."}
    diagnosed = failing("conv1", 4900.0, explanations=[own], tried=80)
    found = drift(
        lambda fields: diagnosed(fields) if fields["case"].startswith("scaled") else failing("conv1", 4900.0)(fields)
    )
    assert found.decided_by.explained == ("conv1: explained by precision: tf32 (noise 4.9e3 → 3.2). So it is.",)


def test_a_failure_that_nothing_explains_says_what_shows_it(drift: Any) -> None:
    found = drift(failing("norm1", 4900.0, explanations=[], tried=80, reproduction="reproductions/norm1.py"))
    said = "norm1: none of 80 changes explains it; reproductions/norm1.py shows the difference"
    assert found.decided_by.explained == (said,)


def test_errors_of_the_size_of_tf32_in_some_cases_only_are_no_precision(drift: Any) -> None:
    other = failing("conv1", 4900.0, effective_bits=11.0)
    found = drift(lambda fields: other(fields) if fields["case"].startswith("paper") else fields)
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.DIVERGED, "conv1")


def test_single_elements_that_are_far_off_are_no_precision(drift: Any) -> None:
    found = drift(failing("conv1", 4.4, noise_max=1e5, worst=1e5))
    assert (found.verdict, found.decided_by.change) == (NumericVerdict.DIVERGED, "single elements")


def test_a_wrong_constant_diverges_at_its_tap_and_says_what_conformance_said(drift: Any) -> None:
    found = drift(both(noisier("conv1", 1.1), failing("norm1", 1e5, "at [1] … 1e+06 ULP", effective_bits=3.0)))
    assert (found.verdict, found.decided_by.tap) == (NumericVerdict.DIVERGED, "norm1")
    assert found.decided_by.change == "constant, semantics or precision"
    assert found.first_moved.tap == "conv1"
    assert "at [1] … 1e+06 ULP" in found.reason
    assert "the first that moved is conv1 (conv, local): order of summation" in found.reason


def test_a_tap_that_is_gone_diverges(drift: Any) -> None:
    gone = at("norm1", outcome="failed", digest="", rms=None, worst=None, effective_bits=None, message="missing tap: …")
    found = drift(gone)
    assert (found.verdict, found.decided_by.change) == (NumericVerdict.DIVERGED, "no such tensor any more")


def test_another_class_within_the_caps_of_declared_tf32_is_one_in_both_directions(drift: Any) -> None:
    tf32 = at("conv1", rms=4900.0, noise_rms=4900.0, effective_bits=11.0)
    assert drift(tf32).verdict == drift(before=tf32).verdict == NumericVerdict.PRECISION


def test_what_failed_before_as_it_fails_now_is_named_as_not_from_this_upgrade(drift: Any) -> None:
    wrong = failing("norm1", 1e5, effective_bits=3.0)
    same = drift(wrong, wrong)
    assert same.verdict == NumericVerdict.IDENTICAL
    assert same.reason.endswith("; not from this upgrade: norm1 failed before too")
    other_bits = drift(both(wrong, at("norm1", digest="third")), wrong)
    assert other_bits.verdict == NumericVerdict.BENIGN
    assert tap(other_bits, "norm1").message.startswith("failed before too, in 10 of 10 cases: not from this upgrade")


def test_what_failed_before_and_passes_now_says_so(drift: Any) -> None:
    found = drift(before=failing("norm1", 1e5, effective_bits=3.0))
    assert found.verdict == NumericVerdict.BENIGN
    assert tap(found, "norm1").message == "failed before in 10 of 10 cases, and passes now"


def test_the_same_bits_that_fail_now_by_another_rule_diverge(drift: Any) -> None:
    found = drift(at("norm1", outcome="failed", message="passed, though …", digest=lambda old: old))
    assert (found.verdict, found.decided_by.change) == (NumericVerdict.DIVERGED, "the same bits, judged otherwise")


# --- What does not repeat --------------------------------------------------------------------------------------------


def test_bits_that_the_baseline_does_not_give_again_are_no_move(drift: Any) -> None:
    restless = at("conv1", repeatable=False, repeat_rms=2.0)
    found = drift(both(restless, at("conv1", digest="third")), restless)
    assert (found.verdict, found.first_moved) == (NumericVerdict.BENIGN, None)
    assert tap(found, "conv1").change == "nondeterministic (both sides)"
    assert not tap(found, "conv1").repeatable


def test_how_far_a_side_is_from_itself_counts_as_old_noise(drift: Any) -> None:
    restless = at("conv1", repeatable=False, repeat_rms=8.0)
    assert drift(noisier("conv1", 2.9), restless).verdict == NumericVerdict.BENIGN
    assert drift(noisier("conv1", 3.1), restless).verdict == NumericVerdict.DRIFTED


def test_what_repeated_itself_and_no_longer_does_is_a_move(drift: Any) -> None:
    found = drift(at("conv1", repeatable=False, repeat_rms=2.0, digest=lambda old: old))
    assert (found.verdict, found.first_moved.tap) == (NumericVerdict.BENIGN, "conv1")
    assert found.first_moved.change == "repeatable → nondeterministic"


def test_a_wrong_constant_is_found_in_what_does_not_repeat_itself_too(drift: Any) -> None:
    restless = at("norm1", repeatable=False, repeat_rms=2.0)
    wrong = failing("norm1", 1e5, repeatable=False, repeat_rms=2.0, effective_bits=3.0)
    found = drift(wrong, restless)
    assert (found.verdict, found.first_moved.tap) == (NumericVerdict.DIVERGED, "norm1")


# --- What was not run, or not the same -------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["baseline", "candidate"])
def test_a_side_that_could_not_be_run_is_errored_by_name(drift: Any, side: str) -> None:
    def crashed(fields: Fields) -> Fields | None:
        if fields["case"] != CASES[3]:
            return fields
        run = {"check": "run", "tap": "", "operator": "", "outcome": "errored", "message": "crashed: SIGSEGV"}
        return fields | run if fields["check"] == "untapped" else None

    found = drift(after=crashed) if side == "candidate" else drift(before=crashed)
    assert found.verdict == NumericVerdict.ERRORED
    assert found.reason == f"{side}, {CASES[3]}: crashed: SIGSEGV"


def test_local_checks_that_neither_side_has_are_skipped_and_the_rest_is_judged(drift: Any) -> None:
    none = at("norm1", outcome="skipped", digest="", rms=None, worst=None, effective_bits=None, message="cannot")
    found = drift(none, none)
    assert found.verdict == NumericVerdict.IDENTICAL
    assert (tap(found, "norm1").verdict, tap(found, "norm1").message) == (NumericVerdict.SKIPPED, "cannot")
    said = "the same bits in 6 checks of taps in 10 cases; nothing to compare with at norm1 (lrn, local)"
    assert found.reason == said
    assert drift(none).verdict == NumericVerdict.ERRORED
    assert drift(before=none).reason == said


def test_a_tap_that_the_baseline_lacks_is_named_and_not_called_identical(drift: Any) -> None:
    lacking = lambda fields: None if fields["tap"] == "norm1" else fields  # noqa: E731
    found = drift(before=lacking)
    says = "the same bits in 5 checks of taps in 10 cases; nothing to compare with at norm1 (lrn, local), norm1 ("
    assert found.verdict == NumericVerdict.IDENTICAL
    assert found.reason.startswith(says)
    wrong = drift(failing("norm1", 1e5, effective_bits=3.0), lacking)
    assert (wrong.verdict, wrong.decided_by.tap) == (NumericVerdict.DIVERGED, "norm1")


def skipped(fields: Fields) -> Fields:
    """A result that was skipped by name."""
    nothing = dict.fromkeys(("rms", "noise_rms", "noise_max", "worst", "effective_bits"))
    return fields | nothing | {"outcome": "skipped", "digest": "", "message": "unsupported: no"}


def test_a_baseline_that_was_skipped_leaves_nothing_to_compare_and_does_not_pass(drift: Any) -> None:
    found = drift(before=skipped)
    assert (found.verdict, found.reason) == (NumericVerdict.ERRORED, "nothing to compare with: unsupported: no")
    beside = replace(drift(), network="another")
    assert Finding(SIDES, (found, beside), (), None, {}).exit is Exit.NOT_RUN


def test_what_is_skipped_by_name_on_both_sides_is_skipped(drift: Any) -> None:
    found = drift(skipped, skipped)
    assert (found.verdict, found.reason) == (NumericVerdict.SKIPPED, "nothing to compare with: unsupported: no")
    beside = replace(drift(), network="another")
    assert Finding(SIDES, (found, beside), (), None, {}).exit is Exit.PASSED
    assert Finding(SIDES, (found,), (), None, {}).exit is Exit.NOT_RUN


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda fields: None if fields["case"] == CASES[4] else fields, (CASES[4], "9 others", "same seeds")),
        (lambda fields: fields | {"lowering": "fast"}, ("jax cpu float32 compiled native", "compiled fast")),
    ],
    ids=["case", "variant"],
)
def test_a_baseline_without_what_the_candidate_has_is_refused(
    tmp_path: Path, change: Change, says: tuple[str, ...]
) -> None:
    before, after = reported(tmp_path, change, "before.json"), reported(tmp_path)
    with pytest.raises(InputError) as error:
        judge(before, after)
    for part in ("before.json", *says):
        assert part in str(error.value)


def test_a_baseline_may_have_more_cases_and_variants(tmp_path: Path) -> None:
    def fewer(fields: Fields) -> Fields | None:
        return fields if "seed0" in fields["case"] else None

    (found,) = judge(reported(tmp_path), reported(tmp_path, fewer, "after.json"))
    assert (found.verdict, found.cases) == (NumericVerdict.IDENTICAL, 2)


# --- Gradients -------------------------------------------------------------------------------------------------------


def trained(
    folder: Path, after: Change = SAME, before: Sequence[str] = CASES[:1], now: Sequence[str] = CASES[:1]
) -> Numerics:
    """Judged with gradients in some cases before, and in some now."""
    old = reported(folder, SAME, "before.json", before)
    (numerics,) = judge(old, reported(folder, after, "after.json", now))
    return numerics


def test_gradients_have_bits_and_verdicts_as_any_tap(tmp_path: Path) -> None:
    found = trained(tmp_path, noisier("conv1.weight", 1.2, "gradient_parameter"))
    weight = tap(found, "conv1.weight", "gradient_parameter")
    assert (found.verdict, found.first_moved) == (NumericVerdict.BENIGN, weight)
    assert (weight.bits_before, weight.bits_after, weight.class_after) == (21.5, 21.5, "float32")
    assert weight.change == "order of summation: 3 → 3.6 noise units"
    assert found.reason.startswith("conv1.weight (conv, gradient): order of summation")
    assert identical(found) == ("conv1", "norm1", "relu1")


def test_a_gradient_that_is_noisier_by_itself_drifts(tmp_path: Path) -> None:
    found = trained(tmp_path, noisier("conv1", 2.0, "gradient_input"))
    assert (found.verdict, found.decided_by) == (NumericVerdict.DRIFTED, tap(found, "conv1", "gradient_input"))
    assert tap(found, "conv1").verdict is NumericVerdict.IDENTICAL


def test_a_gradient_in_another_precision_changed_class(tmp_path: Path) -> None:
    coarser = at("conv1.weight", "gradient_parameter", noise_rms=4900.0, rms=4900.0, worst=20000.0, outcome="failed")
    found = trained(tmp_path, coarser)
    weight = tap(found, "conv1.weight", "gradient_parameter")
    assert (weight.verdict, weight.change) == (NumericVerdict.PRECISION, "precision float32 → tf32")
    assert found.verdict is NumericVerdict.PRECISION


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize(
    ("name", "check", "times", "verdict"),
    [
        ("conv1.bias", "gradient_parameter", 2.5, NumericVerdict.BENIGN),
        ("conv1.bias", "gradient_parameter", 12.0, NumericVerdict.DRIFTED),
        ("conv1.weight", "gradient_parameter", 2.5, NumericVerdict.DRIFTED),
        ("relu1", "loss", 40.0, NumericVerdict.BENIGN),
    ],
)
def test_noise_of_few_elements_may_grow_more_before_it_is_a_drift(
    tmp_path: Path, name: str, check: str, times: float, verdict: NumericVerdict, seeds: int
) -> None:
    """The bias has 6 elements, the loss is one number."""
    found = trained(tmp_path, noisier(name, times, check), CASES[:seeds], CASES[:seeds])
    assert tap(found, name, check).verdict is verdict


def test_few_elements_stray_by_chance_seldomer_than_is_allowed() -> None:
    random = np.random.default_rng(3)
    for elements in (1, 6, 30):
        before, after = (np.sqrt(np.mean(random.normal(size=(20_000, elements)) ** 2, axis=1)) for _ in range(2))
        assert np.mean(after / before > by_chance(elements)) <= 5 * CHANCE
    assert by_chance(200) == by_chance(None) == BENIGN_RATIO


def test_gradients_that_the_candidate_was_not_asked_for_are_no_loss(tmp_path: Path) -> None:
    for now in ((), CASES[:1]):
        found = trained(tmp_path, before=CASES[:2], now=now)
        assert (found.verdict, found.left_out) == (NumericVerdict.IDENTICAL, "")


def test_a_gradient_that_the_candidate_lost_is_errored(tmp_path: Path) -> None:
    found = trained(tmp_path, lambda fields: None if fields["tap"] == "conv1.bias" else fields)
    assert found.verdict is NumericVerdict.ERRORED
    assert "expected the gradient_parameter check of 'conv1.bias' that the baseline has, found none" in found.reason


def test_a_baseline_without_gradients_is_called_that(tmp_path: Path) -> None:
    found = trained(tmp_path, before=())
    assert (found.verdict, found.left_out) == (NumericVerdict.IDENTICAL, "baseline: its report has none")
    assert found.reason.endswith("; gradients were not compared: baseline: its report has none")


def lane(outcome: str, message: str, part: str = "") -> Change:
    """Gradients that were not run: what is said in the place of the first of them."""

    def change(fields: Fields) -> Fields | None:
        if fields["check"] not in GRADIENTS:
            return fields
        if fields["tap"] != "conv1.bias":
            return None
        return fields | {"tap": part, "check": "training", "outcome": outcome, "digest": "", "message": message}

    return change


def test_a_framework_that_does_not_train_is_judged_forward_alone_and_says_so(tmp_path: Path) -> None:
    found = trained(tmp_path, lane("skipped", "out of scope"), before=())
    assert (found.verdict, found.left_out) == (NumericVerdict.IDENTICAL, "out of scope")
    assert {own.check for own in found.taps} == {"local", "end_to_end", "untapped"}


def test_a_candidate_that_does_not_train_any_more_is_errored(tmp_path: Path) -> None:
    assert trained(tmp_path, lane("skipped", "it does not train")).verdict is NumericVerdict.ERRORED
    found = trained(tmp_path, lane("errored", "crashed: signal 11", "gradients"))
    assert (found.verdict, found.reason) == (
        NumericVerdict.ERRORED,
        "candidate, paper-photographs-seed0-batch2: crashed: signal 11",
    )


@pytest.mark.parametrize("outcome", ["failed", "errored"])
def test_the_rest_of_the_training_lane_decides_nothing(tmp_path: Path, outcome: str) -> None:
    def change(fields: Fields) -> Fields:
        own = fields["tap"] == "conv1.bias"
        return fields | {"tap": "trajectory", "check": "training", "outcome": outcome} if own else fields

    before = reported(tmp_path, change, "before.json", CASES[:1])
    (found,) = judge(before, reported(tmp_path, change, "after.json", CASES[:1]))
    assert found.verdict is NumericVerdict.IDENTICAL
