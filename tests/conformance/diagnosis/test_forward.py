"""What a failed operator is explained by: planted in the oracle's own values, so that each fault is a line of NumPy."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.caps import caps
from conformance.checks import distance_to, local_results
from conformance.diagnosis.alternatives import ALL, Asked, alternatives
from conformance.diagnosis.forward import around, diagnosed
from conformance.diagnosis.words import sentences
from conformance.diagnosis.wrong_values import is_covered, wrong_values
from conformance.oracle import evaluate
from conformance.reference import LayerReference, Reference, reference
from conformance.results import Result
from conformance.storage import operand, stored
from conformance.windows import Array
from impls.frameworks import Device, Dtype
from spec.load import parse
from spec.network import Network
from spec.operators import OPERATORS, Operator
from spec.weights import weights
from tests.conformance.synthetic import (
    Trace,
    branched_reference,
    changed,
    local_trace,
    narrow,
    narrow_reference,
    subject,
)
from tests.spec.networks import branches


def planted(tap: str, tensors: Mapping[str, Array] | None = None, reads: str = "", **fields: Any) -> Trace:
    """A trace that is right but for one operator, with other fields, tensors or inputs."""
    expected = narrow_reference()
    layer = next(own for own in narrow().with_operator(tap, **fields).layers if own.name == tap)
    x = expected.substitutes[reads].astype(np.float64) if reads else expected.local[tap].inputs[0]
    value = evaluate(layer, (x,), {**expected.tensors, **(tensors or {})})
    return local_trace(expected, noise=2.0) | {tap: value.astype(np.float32)}


def made(tap: str, change: Callable[[Array], Array]) -> Trace:
    """A trace that is right but for what became of one output."""
    return changed(local_trace(narrow_reference(), noise=2.0), tap, lambda y: change(y).astype(np.float32))


def weight(tap: str, change: Callable[[Array], Array], kind: str = "weight") -> Trace:
    name = f"{tap}.{kind}"
    return planted(tap, {name: np.ascontiguousarray(change(narrow_reference().tensors[name]))})


def rounded(tap: str, dtype: Dtype) -> Trace:
    """One operator of operands with fewer bits."""
    expected, name = narrow_reference(), f"{tap}.weight"
    own = expected.local[tap]
    x, kernel = (stored(operand(v.astype(np.float32), dtype), dtype) for v in (own.inputs[0], expected.tensors[name]))
    value = evaluate(own.layer, (x.astype(np.float64),), {**expected.tensors, name: kernel})
    return local_trace(expected, noise=2.0) | {tap: value.astype(np.float32)}


def first_of(trace: Trace, framework: str = "torch") -> tuple[list[Result], Result]:
    """All results, and the one that was diagnosed."""
    own = subject(framework=framework)
    results = diagnosed(own, local_results(own, trace, caps()), trace, caps())
    return results, next(result for result in results if result.tried is not None)


def operands(tap: str, made: Callable[[Array], Array]) -> Trace:
    """One operator of operands that became others."""
    expected, name = narrow_reference(), f"{tap}.weight"
    own = expected.local[tap]
    x, kernel = (made(value.astype(np.float32)) for value in (own.inputs[0], expected.tensors[name]))
    value = evaluate(own.layer, (x.astype(np.float64),), {**expected.tensors, name: kernel})
    return local_trace(expected, noise=2.0) | {tap: value.astype(np.float32)}


def toward_zero(values: Array) -> Array:
    """To bfloat16, without the last 16 bits."""
    return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def half(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def half_fed(tap: str) -> Trace:
    """One operator that is fed in float16."""
    own = narrow_reference().local[tap]
    value = evaluate(own.layer, (half(own.inputs[0]).astype(np.float64),), {})
    return local_trace(narrow_reference(), noise=2.0) | {tap: value.astype(np.float32)}


FAULTS: dict[str, tuple[str, Callable[[], Trace]]] = {
    "alpha_convention: mean": ("norm1", lambda: planted("norm1", alpha_convention="mean")),
    "k: 1": ("norm2", lambda: planted("norm2", k=1.0)),
    "n: 3": ("norm1", lambda: planted("norm1", n=3)),
    "beta: 0.5": ("norm1", lambda: planted("norm1", beta=0.5)),
    "scope: per_group": ("norm1", lambda: planted("norm1", scope="per_group", groups=2)),
    "window: one channel up": ("norm1", lambda: made("norm1", lambda _: shifted_norm())),
    "operator: absent": ("norm2", lambda: planted("norm2", alpha=0.0, k=1.0)),
    "inputs: [pool1]": ("norm1", lambda: planted("norm1", reads="pool1")),
    "output: that of pool1": ("norm1", lambda: made("norm1", lambda _: followed("norm1", "pool1"))),
    "pads: [1, 2, 3, 2]": ("conv2", lambda: planted("conv2", pads=(1, 2, 3, 2))),
    "kernel: [2, 2]": ("pool2", lambda: planted("pool2", kernel=(2, 2))),
    "rounding: ceil": ("pool1", lambda: planted("pool1", rounding="ceil")),
    "window: one row down": ("pool2", lambda: made("pool2", lambda _: lower_pool())),
    "dilation: 2": ("conv3", lambda: made("conv3", lambda _: dilated())),
    "convention: inverted": ("drop6", lambda: planted("drop6", convention="inverted")),
    "weight: groups exchanged": ("conv4", lambda: weight("conv4", lambda w: np.roll(w, len(w) // 2, 0))),
    "weight: regrouped": (
        "conv4",
        lambda: weight("conv4", lambda w: w.reshape(2, -1, *w.shape[1:]).swapaxes(0, 1).reshape(w.shape)),
    ),
    "weight: flipped": ("conv3", lambda: weight("conv3", lambda w: w[:, :, ::-1, ::-1])),
    "weight: rows and columns exchanged": ("conv2", lambda: weight("conv2", lambda w: w.transpose(0, 1, 3, 2))),
    "bias: moved on by one": ("conv1", lambda: weight("conv1", lambda b: np.roll(b, 1), "bias")),
    "groups: 2": (
        "conv3",
        lambda: weight("conv3", lambda w: w * own_tower(w)),
    ),
    "kernel: [3, 3]": (
        "conv2",
        lambda: weight("conv2", lambda w: np.pad(w[:, :, 1:-1, 1:-1], [(0, 0), (0, 0), (1, 1), (1, 1)])),
    ),
    "in_features: 39": ("fc7", lambda: weight("fc7", lambda w: np.pad(w[:, :-1], [(0, 0), (0, 1)]))),
    "output: channels in another order": ("fc8", lambda: made("fc8", lambda y: y[:, [1, 0, *range(2, y.shape[1])]])),
    "precision: int8 weights": ("fc7", lambda: weight("fc7", int8)),
    "precision: quick reciprocal": ("norm2", lambda: made("norm2", quick)),
    "bias: false": ("conv2", lambda: weight("conv2", np.zeros_like, "bias")),
    "order: height, width, channels": (
        "flatten",
        lambda: made("flatten", lambda y: unflattened(y).transpose(0, 2, 3, 1).reshape(y.shape)),
    ),
    "operator: leaky, slope 0.01": (
        "relu3",
        lambda: made("relu3", lambda y: np.where(read("relu3") > 0, y, 0.01 * read("relu3"))),
    ),
    "batch: in reverse order": ("conv1", lambda: made("conv1", lambda y: y[::-1])),
    "output: what was fed in its place": (
        "conv3",
        lambda: made("conv3", lambda _: narrow_reference().substitutes["conv3"]),
    ),
    "alpha_convention: mean and k: 1": ("norm1", lambda: planted("norm1", alpha_convention="mean", k=1.0)),
    "k: 1 and alpha: 1 and beta: 0.5 and n: 11": ("norm1", lambda: planted("norm1", n=11, k=1.0, alpha=1.0, beta=0.5)),
    "n: 3 and k: 4": ("norm1", lambda: planted("norm1", n=3, k=4.0)),
    "bias: false and pads: [1, 2, 3, 2]": ("conv2", lambda: planted("conv2", pads=(1, 2, 3, 2), bias=False)),
    "k: about 1.5": ("norm1", lambda: planted("norm1", k=1.5)),
    "alpha: about 0.0003": ("norm2", lambda: planted("norm2", alpha=3e-4)),
    "beta: about 0.6": ("norm1", lambda: planted("norm1", beta=0.6)),
    "drop_probability: about 0.35": ("drop6", lambda: planted("drop6", drop_probability=0.35)),
    "operator: leaky, slope about 0.02": (
        "relu3",
        lambda: made("relu3", lambda y: np.where(read("relu3") > 0, y, 0.02 * read("relu3"))),
    ),
    "output: times about 1.01": ("conv3", lambda: made("conv3", lambda y: y * 1.01)),
    "precision: float16 or tf32": ("conv4", lambda: rounded("conv4", "tf32")),
    "precision: bf16 toward zero": ("conv2", lambda: operands("conv2", toward_zero)),
    "precision: float16 or tf32 inputs": ("norm1", lambda: half_fed("norm1")),
    "precision: bf16": ("fc6", lambda: rounded("fc6", "bf16")),
    "precision: float16 result": ("fc6", lambda: made("fc6", lambda y: y.astype(np.float16))),
    "precision: bf16 result": ("norm1", lambda: made("norm1", lambda y: stored(y, "bf16"))),
}


def read(tap: str) -> Array:
    return narrow_reference().local[tap].inputs[0]


def own_tower(kernel: Array) -> Array:
    """Which input channels each output channel sees where there are two groups."""
    outputs, inputs = (np.arange(extent) * 2 // extent for extent in kernel.shape[:2])
    inside: Array = (outputs[:, None] == inputs)[:, :, None, None].astype(np.float32)
    return inside


def int8(values: Array) -> Array:
    step = np.abs(values).max() / 127.0
    y: Array = np.round(values / step) * step
    return y


def quick(y: Array) -> Array:
    """Quotients by arithmetic with 12 bits."""
    x = read("norm2")
    ratio = np.divide(y, x, out=np.zeros_like(x), where=x != 0).astype(np.float32)
    split = ratio * np.float32(4097.0)
    coarse: Array = x * (split - (split - ratio))
    return coarse


def shifted_norm() -> Array:
    x, norm = read("norm1"), narrow_reference().local["norm1"].layer.operator
    assert norm.op == "lrn"
    squares = np.pad(x**2, ((0, 0), (norm.n // 2 - 1, norm.n // 2 + 1), (0, 0), (0, 0)))
    sums = sum(squares[:, shift : shift + x.shape[1]] for shift in range(norm.n))
    y: Array = x / (norm.k + norm.alpha_sum * sums) ** norm.beta
    return y


def followed(tap: str, then: str) -> Array:
    local = narrow_reference().local
    return evaluate(local[then].layer, (local[tap].value,), {})


def lower_pool() -> Array:
    own = narrow_reference().local["pool2"]
    x = np.pad(own.inputs[0][:, :, 1:], ((0, 0), (0, 0), (0, 1), (0, 0)), constant_values=-np.inf)
    return evaluate(own.layer, (x,), {})


def dilated() -> Array:
    """Each of the kernel's 3 × 3 weights on pixels that are two apart."""
    x = np.pad(read("conv3"), ((0, 0), (0, 0), (2, 2), (2, 2)))
    kernel, bias = (narrow_reference().tensors[f"conv3.{name}"].astype(np.float64) for name in ("weight", "bias"))
    height, width = read("conv3").shape[2:]
    parts = [
        np.einsum("oi,nihw->nohw", kernel[:, :, i, j], x[:, :, 2 * i : 2 * i + height, 2 * j : 2 * j + width])
        for i in range(3)
        for j in range(3)
    ]
    y: Array = np.sum(parts, axis=0) + bias[:, None, None]
    return y


def unflattened(y: Array) -> Array:
    return y.reshape(len(y), *narrow_reference().local["flatten"].layer.input_shape)


@pytest.mark.parametrize("change", FAULTS)
def test_a_planted_fault_is_explained_first_by_what_was_planted(change: str) -> None:
    tap, plant = FAULTS[change]
    results, found = first_of(plant())
    assert found.tap == tap
    assert found.explanations[0].change == change
    assert found.explanations[0].after < found.explanations[0].before
    assert [result.tap for result in results if result.tried is not None] == [tap]


SQUARE = """
format: lockstep-network/1
name: square
title: Weights that can be taken for each other
source: these tests
input: {name: image, shape: [1, 4, 4]}
graph:
  - {name: flatten, op: flatten}
  - {name: fc1, op: dense, in_features: 16, out_features: 16, bias: true}
  - {name: fc2, op: dense, in_features: 16, out_features: 16, bias: true}
  - {name: probabilities, op: softmax}
expect:
  shapes: {flatten: [16], fc1: [16], fc2: [16], probabilities: [16]}
  parameters: 544
  macs: 512
  neurons: 32
"""


@pytest.mark.parametrize(
    ("tap", "change", "plant"),
    [
        ("fc2", "weight: that of fc1", lambda x, t: x @ t["fc1.weight"].T + t["fc2.bias"]),
        ("fc1", "weight: transposed", lambda x, t: x @ t["fc1.weight"] + t["fc1.bias"]),
        ("fc1", "bias: negated", lambda x, t: x @ t["fc1.weight"].T - t["fc1.bias"]),
        ("probabilities", "temperature: 2", lambda x, _: np.exp(x / 2) / np.exp(x / 2).sum(axis=1, keepdims=True)),
        ("probabilities", "axis: images", lambda x, _: np.exp(x) / np.exp(x).sum(axis=0, keepdims=True)),
    ],
)
def test_a_dense_layer_and_a_softmax_are_explained(
    tap: str, change: str, plant: Callable[[Array, Mapping[str, Array]], Array]
) -> None:
    network = parse(SQUARE, "square.yaml")
    x = np.random.default_rng(3).standard_normal((3, 1, 4, 4), np.float32)
    expected = reference(network, weights(network, "scaled", 0), x)
    trace = local_trace(expected) | {tap: plant(expected.local[tap].inputs[0], expected.tensors).astype(np.float32)}
    own = subject(network, expected)
    found = diagnosed(own, local_results(own, trace, caps()), trace, caps())
    (result,) = [each for each in found if each.tried is not None]
    assert (result.tap, result.explanations[0].change) == (tap, change)


def test_an_epsilon_between_the_usual_ones_is_found() -> None:
    network, expected = branches(), branched_reference()
    (layer,) = [own for own in network.with_operator("norm", epsilon=0.05).layers if own.name == "norm"]
    value = evaluate(layer, expected.local["norm"].inputs, expected.tensors)
    trace = local_trace(expected) | {"norm": value.astype(np.float32)}
    own = subject(network, expected)
    (found,) = [each for each in diagnosed(own, local_results(own, trace, caps()), trace, caps()) if each.tried]
    assert found.explanations[0].change == "epsilon: about 0.05"


@pytest.mark.parametrize(("device", "change"), [("cpu", "float16 or tf32"), ("cuda", "tf32 or float16")])
def test_of_the_same_significand_both_formats_are_named_the_likelier_first(device: Device, change: str) -> None:
    own, trace = subject(), operands("conv2", half)
    own = replace(own, variant=replace(own.variant, device=device))
    (found,) = [each for each in diagnosed(own, local_results(own, trace, caps()), trace, caps()) if each.tried]
    assert [each.change for each in found.explanations] == [f"precision: {change}"]


def test_tf32_is_named_alone_where_float16_has_not_the_range() -> None:
    network = parse(SQUARE, "square.yaml")
    x = 1e6 * np.random.default_rng(3).standard_normal((3, 1, 4, 4), np.float32)
    expected = reference(network, weights(network, "scaled", 0), x)
    own = expected.local["fc1"]
    read, kernel = (operand(v.astype(np.float32), "tf32") for v in (own.inputs[0], expected.tensors["fc1.weight"]))
    value = evaluate(own.layer, (read.astype(np.float64),), {**expected.tensors, "fc1.weight": kernel})
    trace = local_trace(expected) | {"fc1": value.astype(np.float32)}
    who = subject(network, expected)
    (found,) = [each for each in diagnosed(who, local_results(who, trace, caps()), trace, caps()) if each.tried]
    assert [each.change for each in found.explanations] == ["precision: tf32"]


def test_two_fields_have_the_facts_of_both() -> None:
    (said, *_) = sentences(first_of(planted("norm1", alpha_convention="mean", k=1.0))[1].fields())
    assert said.endswith(
        "LocalResponseNorm divides alpha by size. 1 is the default of k in torch and of bias in "
        "TensorFlow and ONNX; the paper has 2."
    )


def test_the_sentence_names_the_fact_of_the_framework_that_failed() -> None:
    trace = planted("norm1", alpha_convention="mean")
    (said, *_) = sentences(first_of(trace)[1].fields())
    assert said.startswith("norm1: explained by alpha_convention: mean (noise 3.")
    assert said.endswith("ULP). In torch, LocalResponseNorm divides alpha by size.")
    assert sentences(first_of(trace, "onnx")[1].fields())[0].endswith("In ONNX, LRN divides alpha by size.")


def test_nothing_is_diagnosed_where_everything_passes() -> None:
    own, trace = subject(), local_trace(narrow_reference(), noise=2.0)
    results = local_results(own, trace, caps())
    assert diagnosed(own, results, trace, caps()) == results


@pytest.mark.parametrize(
    "trace",
    [
        lambda: made("conv5", lambda y: np.where(np.arange(y.size).reshape(y.shape) == y.size // 2, y + 1.0, y)),
        lambda: made("conv3", lambda y: y * np.linspace(0.9, 1.1, y.shape[3])),
        lambda: made("norm1", lambda y: y * np.linspace(0.99, 1.01, y.shape[1])[:, None, None]),
        lambda: made("fc7", lambda y: np.random.default_rng(0).permuted(y, axis=1)),
        lambda: made("pool1", lambda y: y + 1.0),
    ],
    ids=["one element", "a slope over columns", "a slope over channels", "shuffled", "one more"],
)
def test_where_no_change_explains_it_that_is_said(trace: Callable[[], Trace]) -> None:
    found = first_of(trace())[1]
    assert found.explanations == ()
    assert found.tried
    assert sentences(found.fields()) == [f"{found.tap}: none of {found.tried} changes explains it"]


@pytest.mark.parametrize(
    ("value", "more", "said"),
    [
        (np.nan, 0.0, "NaN in 1 of {size} elements, the first at [0, 0, 1, 0]; all others are right"),
        (-np.inf, 0.0, "infinity in 1 of {size} elements, the first at [0, 0, 1, 0]; all others are right"),
        (
            np.nan,
            9.0,
            "NaN in 1 of {size} elements, the first at [0, 0, 1, 0]; none of {tried} changes explains the others",
        ),
    ],
)
def test_what_is_no_number_is_named(value: float, more: float, said: str) -> None:
    def at_5(y: Array) -> Array:
        places = np.arange(y.size).reshape(y.shape)
        return np.where(places == 5, value, np.where(places == y.size // 2, y + more, y))

    found = first_of(made("conv3", at_5))[1]
    size = narrow_reference().local["conv3"].value.size
    assert sentences(found.fields()) == [f"conv3: {said.format(size=size, tried=found.tried)}"]


def test_where_nothing_is_a_number_that_is_said() -> None:
    found = first_of(made("relu2", lambda y: np.full_like(y, np.nan)))[1]
    size = narrow_reference().local["relu2"].value.size
    assert sentences(found.fields()) == [f"relu2: NaN in {size} of {size} elements, the first at [0, 0, 0, 0]"]


def test_what_is_missing_is_not_diagnosed() -> None:
    trace = local_trace(narrow_reference())
    del trace["norm2"]
    own = subject()
    assert all(result.tried is None for result in diagnosed(own, local_results(own, trace, caps()), trace, caps()))


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: str(operator.__name__))
def test_every_field_of_every_operator_has_common_wrong_values(operator: type[Operator]) -> None:
    op = operator.model_fields["op"].annotation.__args__[0]  # type: ignore[union-attr]
    missing = [name for name, field in operator.model_fields.items() if not is_covered(op, name, field)]
    assert missing == [], "add them to VALUES in conformance/diagnosis/wrong_values.py"


def test_a_wrong_value_is_never_the_stated_one_and_none_comes_twice() -> None:
    for layer in (*narrow().layers, *branches().layers):
        found = list(wrong_values(layer.operator))
        assert layer.operator not in [operator for _, operator in found]
        assert len({change for change, _ in found}) == len(found)


def _tell_apart(network: Network, expected: Reference) -> None:
    for index, (tap, own) in enumerate(expected.local.items()):
        asked = Asked(own.layer, own.inputs, {name: expected.tensors[name] for name in own.layer.tensor_shapes})
        with np.errstate(all="ignore"):
            every = list(alternatives(asked, around(network, expected)))
            for alternative in every[index % 7 :: 7]:
                try:
                    value, scale = alternative.expected(ALL, ALL)
                except (ValueError, IndexError):
                    continue
                _told(network, expected, tap, alternative.change, value, scale)


def _told(network: Network, expected: Reference, tap: str, change: str, value: Array, scale: Array | None) -> None:
    """Whether the alternative is named, or one that comes to the same."""
    own = expected.local[tap]
    trace = local_trace(expected) | {tap: np.ascontiguousarray(value, np.float32)}
    if not np.isfinite(trace[tap]).all():
        return
    who = subject(network, expected)
    results = diagnosed(who, local_results(who, trace, caps()), trace, caps())
    found = next((result for result in results if result.tap == tap and result.tried is not None), None)
    if found is None or len(np.unique(trace[tap])) == 1:
        return
    if change not in [each.change for each in found.explanations]:
        assert found.explanations, f"{tap}: {change}"
        assert found.explanations[0].after <= 1.0, f"{tap}: {change}: {found.explanations}"
    rule = caps().rule_for(own.layer.operator.op, who.variant, who.version)
    if value.shape == own.value.shape and scale is not None:
        assert distance_to(
            trace[tap].astype(np.float64), LayerReference(own.layer, own.inputs, value, scale), rule
        ).within


def test_whatever_alternative_comes_true_is_told() -> None:
    _tell_apart(branches(), branched_reference())
