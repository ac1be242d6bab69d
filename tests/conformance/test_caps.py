"""caps.toml: one rule for everything that can be compared, each with its reason."""

from typing import get_args
from urllib.parse import urlsplit

import pytest
from packaging.specifiers import SpecifierSet
from pydantic import ValidationError

from conformance.caps import Algorithm, Caps, Rule, caps, within
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS, LOWERINGS, Device, Dtype, Variant
from spec.operators import OPERATORS

NAMES = [str(get_args(operator.model_fields["op"].annotation)[0]) for operator in OPERATORS]
SUMS = {"conv", "dense", "avg_pool", "global_avg_pool", "add", "batch_norm"}


def variant(framework: str, device: Device = "cpu", dtype: Dtype = "float32") -> Variant:
    return Variant(framework, device, dtype, "compiled", "native")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", NAMES)
def test_every_operator_has_one_rule_in_every_framework_and_precision(operator: str, dtype: Dtype) -> None:
    for framework in (*FRAMEWORKS, "a_runner_of_ones_own"):
        for device in DEVICES:
            for lowering in LOWERINGS:
                asked = Variant(framework, device, dtype, "compiled", lowering)
                rule = caps().rule_for(operator, asked, "2.0")
                assert operator in rule.operators
                assert dtype in rule.dtypes


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("operator", NAMES)
def test_rules_do_not_overlap(operator: str, dtype: Dtype) -> None:
    own = [rule.algorithm for rule in caps().rule if operator in rule.operators and dtype in rule.dtypes]
    assert own.count("direct") == 1
    assert len(own) == len(set(own))


def test_only_sums_of_products_are_measured_in_noise_units() -> None:
    measured = {operator for rule in caps().rule if "noise" in rule.measure for operator in rule.operators}
    assert measured == SUMS
    assert all((rule.rms is not None) == (rule.measure == "noise") for rule in caps().rule)


def test_the_caps_are_those_of_the_design() -> None:
    rules = {rule.name: rule for rule in caps().rule}
    float32, tf32 = rules["sum_of_products.float32"], rules["sum_of_products.tf32"]
    assert (float32.rms, float32.max) == (64, 512)
    assert (tf32.rms, tf32.max) == (2 * 2.0**-11 / 2.0**-24, 16 * 2.0**-11 / 2.0**-24)
    bf16 = rules["sum_of_products.bf16"]
    assert (bf16.measure, bf16.rms, bf16.max) == ("rounded_noise", None, 512)
    assert (rules["lrn"].measure, rules["lrn"].max) == ("ulp_of_power", 16)
    assert (rules["exact"].measure, rules["exact"].max) == ("exact", 0)
    assert caps().end_to_end.factor == 3
    for operator in ("relu", "max_pool", "flatten"):
        assert caps().rule_for(operator, variant("torch"), "2.0").name == "exact"


def test_a_sliding_sum_is_what_onnx_does_on_a_processor_and_nobody_else() -> None:
    names = {
        (framework, device): caps().rule_for("lrn", variant(framework, device), "1.23").name
        for framework in FRAMEWORKS
        for device in DEVICES
    }
    assert {place for place, name in names.items() if name != "lrn"} == {("onnx", "cpu")}
    assert names["onnx", "cpu"] == "lrn.running_sum"


def test_bias_after_rounding_is_declared_for_bf16_alone() -> None:
    names = {
        (framework, device, dtype)
        for framework in FRAMEWORKS
        for device in DEVICES
        for dtype in DTYPES
        if caps().rule_for("conv", variant(framework, device, dtype), "2.0").algorithm == "bias_after_rounding"
    }
    assert names == {("jax", "cpu", "bf16"), ("jax", "cuda", "bf16"), ("torch", "cuda", "bf16")}


def test_an_algorithm_of_another_version_is_not_assumed() -> None:
    assert caps().rule_for("lrn", variant("onnx"), "0.9").name == "lrn"


def test_every_rule_and_algorithm_has_a_reason_and_every_algorithm_a_link_and_a_bound() -> None:
    reasons = [part.reason for part in caps().rule] + [part.reason for part in caps().algorithm]
    reasons += [part.reason for part in caps().gradient] + [caps().loss.reason, caps().masked.reason]
    reasons += [part.reason for part in (caps().trajectory, caps().evaluation, caps().colour, caps().random)]
    assert min(map(len, [*reasons, caps().end_to_end.reason, caps().excitation.reason])) > 30
    for algorithm in caps().algorithm:
        assert urlsplit(algorithm.link).scheme == "https"
        assert str(SpecifierSet(algorithm.versions))
        assert algorithm.operator in NAMES
        assert algorithm.framework in FRAMEWORKS
        assert set(algorithm.devices) <= set(DEVICES)
        assert set(algorithm.lowerings) <= set(LOWERINGS)
        assert set(algorithm.dtypes) <= set(DTYPES)


def test_rules_name_only_what_there_is_and_have_names_of_their_own() -> None:
    names = [rule.name for rule in caps().rule]
    assert len(names) == len(set(names))
    for rule in caps().rule:
        assert set(rule.operators) <= set(NAMES)
        assert set(rule.dtypes) <= set(DTYPES)
        assert rule.place == f"conformance/caps.toml, rule {rule.name}"


def test_every_declared_algorithm_has_a_rule_and_every_rule_of_an_algorithm_is_declared() -> None:
    declared = {(algorithm.operator, algorithm.algorithm) for algorithm in caps().algorithm}
    ruled = {
        (operator, rule.algorithm) for rule in caps().rule for operator in rule.operators if rule.algorithm != "direct"
    }
    assert declared == ruled


PARAMETERS = {"conv": ("weight", "bias"), "dense": ("weight", "bias"), "batch_norm": ("scale", "shift")}


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
@pytest.mark.parametrize("operator", [*NAMES, "loss", "several"])
def test_every_gradient_has_one_rule_in_every_precision_that_trains(operator: str, dtype: Dtype) -> None:
    for of in ("input", *PARAMETERS.get(operator, ())):
        rule = caps().gradient_rule_for(operator, of, dtype)
        assert operator in rule.operators
        assert rule.place == f"conformance/caps.toml, rule {rule.name}"
        assert (rule.rms is not None) == (rule.measure == "noise")


def test_the_caps_of_gradients_are_those_of_the_forward_pass() -> None:
    rules = {rule.name: rule for rule in (*caps().rule, *caps().gradient)}
    assert len(rules) == len(caps().rule) + len(caps().gradient)
    for dtype in ("float32", "tf32"):
        forward, backward = rules[f"sum_of_products.{dtype}"], rules[f"gradient.sum_of_products.{dtype}"]
        assert (forward.rms, forward.max) == (backward.rms, backward.max)
    assert rules["gradient.bias"].max == rules["sum_of_products.float32"].max
    for operator in ("relu", "flatten", "add", "concat"):
        assert caps().gradient_rule_for(operator, "input", "float32").measure == "exact"
    assert (caps().loss.max, caps().masked.share) == (rules["softmax"].max, 0.001)


def test_a_missing_rule_of_a_gradient_is_an_error_and_so_are_two() -> None:
    with pytest.raises(LookupError, match=r"one rule for the gradient of relu weight float32, found 0"):
        caps().gradient_rule_for("relu", "weight", "float32")
    with pytest.raises(LookupError, match=r"one rule for the gradient of conv input bf16, found 0"):
        caps().gradient_rule_for("conv", "input", "bf16")
    twice = caps().model_copy(update={"gradient": caps().gradient * 2})
    with pytest.raises(LookupError, match=r"one rule for the gradient of conv bias tf32, found 2"):
        twice.gradient_rule_for("conv", "bias", "tf32")


def test_a_missing_rule_is_an_error_and_so_are_two() -> None:
    none = caps().model_copy(update={"rule": ()})
    twice = caps().model_copy(update={"rule": caps().rule * 2})
    for wrong, count in ((none, 0), (twice, 2)):
        with pytest.raises(LookupError, match=f"caps.toml: expected one rule for relu float32 direct, found {count}"):
            wrong.rule_for("relu", variant("torch"), "2.0")


@pytest.mark.parametrize("part", [Rule, Algorithm])
def test_a_rule_without_reason_or_with_an_unknown_key_is_refused(part: type[Rule] | type[Algorithm]) -> None:
    found = caps().rule[0] if part is Rule else caps().algorithm[0]
    values = found.model_dump()
    assert part.model_validate(values) == found
    with pytest.raises(ValidationError, match="reason"):
        part.model_validate({key: value for key, value in values.items() if key != "reason"})
    with pytest.raises(ValidationError, match="tolerance"):
        part.model_validate(values | {"tolerance": 1.0})
    with pytest.raises(ValidationError):
        Caps.model_validate({"rule": []})


@pytest.mark.parametrize(
    ("version", "bound", "inside"),
    [("1.23.0", ">=1.0", True), ("1.23.0", "<1.23", False), ("2.9.0.dev1", ">=2.8", True), ("nonsense", ">=0", False)],
)
def test_versions_lie_within_bounds(version: str, bound: str, inside: bool) -> None:
    assert within(version, bound) is inside
