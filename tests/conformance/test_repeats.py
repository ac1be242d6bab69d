"""The bits of a trace: what has a digest, and what is said of a trace that is not the same again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import Chain, end_to_end_results, local_results
from conformance.repeats import digest, with_bits
from conformance.results import Check, Result
from tests.conformance.synthetic import (
    Trace,
    changed,
    end_to_end_trace,
    local_trace,
    narrow,
    narrow_reference,
    subject,
)

ROOT = Path(__file__).parents[2]
LOCAL = local_trace(narrow_reference(), noise=5.0)


def with_repeats(*repeats: Trace, trace: Trace = LOCAL) -> dict[str, Result]:
    results = local_results(subject(), trace, caps())
    return {result.tap: result for result in with_bits(subject(), results, trace, repeats, caps())}


def test_a_digest_names_bits_shape_and_dtype() -> None:
    values = np.arange(6, dtype=np.float32)
    assert digest(values) == digest(values.copy()) == digest(np.arange(12, dtype=np.float32)[:6])
    others = [values.reshape(2, 3), values.view(np.int32), values[::-1], np.nextafter(values, 9), -values]
    assert len({digest(values), *map(digest, others)}) == 6


def test_a_digest_tells_zero_from_negative_zero_and_reads_what_is_not_contiguous() -> None:
    zero = np.zeros((2, 3), np.float32)
    assert digest(zero) != digest(-zero)
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest(values.T) == digest(values.T.copy())
    assert digest(np.zeros((0, 3), np.float32)) != digest(np.zeros((3, 0), np.float32))


def test_every_tap_has_a_digest_and_nothing_is_said_of_repeats_that_were_not_run() -> None:
    results = with_repeats()
    assert [len(result.digest) for result in results.values()] == [32] * len(narrow().layers)
    assert {(result.repeatable, result.repeat_rms) for result in results.values()} == {(None, None)}


def test_a_missing_tap_has_no_digest() -> None:
    trace = dict(LOCAL)
    del trace["norm2"]
    results = with_repeats(LOCAL, trace=trace)
    assert (results["norm2"].digest, results["norm2"].repeatable) == ("", None)
    assert results["norm1"].digest


def test_the_same_bits_again_are_repeatable() -> None:
    results = with_repeats(LOCAL, {name: value.copy() for name, value in LOCAL.items()})
    assert {(result.repeatable, result.repeat_rms) for result in results.values()} == {(True, 0.0)}


def test_other_bits_again_are_not_and_say_how_far_in_the_unit_of_the_tap() -> None:
    """Two draws of noise of RMS 5 are 5·√2 apart; one place up is 1 ULP, and nothing where zero becomes denormal."""
    scale = narrow_reference().local["conv2"].scale
    assert scale is not None
    noise = 5.0 * 2.0**-24 * scale * np.random.default_rng(7).standard_normal(scale.shape)
    again = changed(LOCAL, "conv2", lambda _: (narrow_reference().local["conv2"].value + noise).astype(np.float32))
    again = changed(again, "norm1", lambda value: np.nextafter(value, np.float32(np.inf)))
    results = with_repeats(LOCAL, again)
    assert results["conv2"].repeatable is results["norm1"].repeatable is False
    assert results["conv2"].repeat_rms == pytest.approx(5.0 * np.sqrt(2.0), rel=0.1)
    assert results["norm1"].repeat_rms == pytest.approx(np.sqrt(np.mean(LOCAL["norm1"] != 0)), rel=0.05)
    assert results["conv3"].repeatable is True


@pytest.mark.parametrize("wrong", [None, np.zeros((1, 2), np.float32)], ids=["missing", "of another shape"])
def test_a_tap_that_is_no_such_tensor_again_is_infinitely_far(wrong: np.ndarray | None) -> None:
    again = {name: value for name, value in LOCAL.items() if name != "conv2"}
    again |= {} if wrong is None else {"conv2": wrong}
    own = with_repeats(again)["conv2"]
    assert (own.repeatable, own.repeat_rms) == (False, np.inf)
    assert own.fields()["repeat_rms"] is None


def test_end_to_end_repeats_are_measured_as_the_relative_error_is() -> None:
    first, again = end_to_end_trace(narrow_reference(), 1e-6), dict(LOCAL)
    again["fc8"] = first["fc8"] * np.float32(1.001)
    results = end_to_end_results(subject(), Chain.of(first, narrow_reference()), [], Check.UNTAPPED, caps())
    (own,) = with_bits(subject(), results, first, [again], caps())
    assert own.repeat_rms == pytest.approx(1e-3, rel=1e-3)
    assert own.rms == pytest.approx(1e-6, rel=0.1)


def test_the_report_of_a_runner_that_repeats_itself_says_so(tmp_path: Path) -> None:
    runner = f"mine={sys.executable} -m conformance.power.wrong_runner"
    arguments = ["--spec", "alexnet_narrow", "--frameworks", "none", "--runner", runner, "--repeats", "2"]
    arguments += ["--lanes", "forward"]
    done = subprocess.run(
        [sys.executable, "-m", "conformance", *arguments, "--weights", "scaled", "--report", str(tmp_path)],
        cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "conformance.json").read_text(encoding="utf-8"))["results"]
    assert {result["check"] for result in results} == {"local", "end_to_end", "untapped", "precision"}
    traced = [result for result in results if result["check"] != "precision"]
    assert {(result["repeatable"], result["repeat_rms"]) for result in traced} == {(True, 0.0)}
    assert all(result["digest"] for result in traced)
