"""The catalogue: complete over the fields of the language, and every fault changes what it says."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import numpy as np
import pytest
from pydantic import BaseModel

from conformance.power.catalogue import FAULTS
from conformance.power.fault import Fault
from conformance.power.recipe_faults import NOT_IN_A_SOURCE
from conformance.power.workbench import PARTS, network_named
from impls.frameworks import FRAMEWORKS
from impls.generate import source_text
from spec.network import Network
from spec.operators import OPERATORS, Operator
from spec.recipe import Augmentation, Evaluation, Training
from spec.weights import weights

OF_ALL = {"name", "inputs"}
"""What all operators have; `source` is a remark."""


def test_faults_have_names_of_their_own_and_are_at_least_eighty() -> None:
    counts = Counter(fault.id for fault in FAULTS)
    assert max(counts.values()) == 1
    assert len(counts) >= 80


@pytest.mark.parametrize("operator", OPERATORS, ids=lambda operator: operator.__name__)
def test_every_field_of_every_operator_has_a_fault(operator: type[Operator]) -> None:
    (op,) = get_args(operator.model_fields["op"].annotation)
    planted = {fault.field for fault in FAULTS if fault.operator == op}
    assert set(operator.model_fields) - set(Operator.model_fields) <= planted


def test_what_all_operators_have_has_a_fault() -> None:
    planted = {fault.field for fault in FAULTS if fault.operator == "all"}
    assert set(Operator.model_fields) - {"source"} == OF_ALL
    assert planted >= OF_ALL


def test_every_field_of_the_recipe_has_a_fault_or_a_reason() -> None:
    stated = {
        *fields(Training),
        *(f"evaluation.{name}" for name in fields(Evaluation)),
        *(f"augmentation.{name}" for name in fields(Augmentation)),
    }
    planted = {fault.field for fault in FAULTS if fault.operator == "recipe"}
    assert stated - planted == NOT_IN_A_SOURCE.keys()


def fields(model: type[BaseModel]) -> Iterator[str]:
    """The names of a model's fields; of parts of parts, `optimizer.momentum`. What begins parameters is one field."""
    for name, field in model.model_fields.items():
        parts = [part for part in parts_of(field.annotation) if part.__name__ not in ("Normal", "Uniform", "Constant")]
        if not parts or name in ("results", "contradicted"):
            yield name
        for part in parts if name not in ("results", "contradicted") else ():
            yield from (f"{name}.{inner}" for inner in fields(part))


def parts_of(annotation: Any) -> list[type[BaseModel]]:
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return list(dict.fromkeys(part for each in get_args(annotation) for part in parts_of(each)))
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


@cache
def given(spec: str) -> tuple[Network, dict[str, Any]]:
    network = network_named(spec)
    return network, weights(network, "scaled", 0)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_changes_a_source_that_is_still_code_or_the_tensors(fault: Fault) -> None:
    network, tensors = given(fault.spec)
    assert fault.frameworks
    for framework in (name for name in FRAMEWORKS if name in fault.frameworks):
        right = source_text(network, framework)
        wrong = fault.planted(
            source_text(fault.network(network) if fault.network else network, framework), framework, network
        )
        compile(wrong, fault.id, "exec")
        changed = fault.tensors(tensors) if fault.tensors else tensors
        same = changed.keys() == tensors.keys() and all(np.array_equal(changed[key], tensors[key]) for key in tensors)
        assert wrong != right or not same


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.id)
def test_a_fault_must_be_caught_at_a_tap_of_its_network(fault: Fault) -> None:
    network, _ = given(fault.spec)
    taps = {layer.name for layer in network.layers} | set(network.tensor_shapes) | {"probabilities", "images"}
    assert fault.tap in taps
    assert fault.check is None or fault.check in PARTS
