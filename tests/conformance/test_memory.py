"""What a case is said to take in memory, held against what the oracle was seen to take."""

import tracemalloc
from typing import Any

import numpy as np
import pytest

from conformance.memory import bytes_needed, require_memory
from conformance.oracle import evaluate
from spec.exits import InputError
from spec.load import load
from spec.network import Input, Network
from spec.operators import Conv, Lrn, MaxPool
from tests.spec.networks import small

BATCH = 2

#: Operators that take far more on the way than they read and write, on an image of 4×90×70.
GREEDY: dict[str, tuple[type[Conv | MaxPool | Lrn], dict[str, Any]]] = {
    "patches": (
        Conv,
        {"op": "conv", "out_channels": 2, "kernel": 9, "stride": 1, "pads": 4, "groups": 2, "bias": False},
    ),
    "padded": (
        Conv,
        {"op": "conv", "out_channels": 1, "kernel": 1, "stride": 500, "pads": 999, "groups": 1, "bias": False},
    ),
    "padded pool": (MaxPool, {"op": "max_pool", "kernel": 800, "stride": 800, "pads": 799, "rounding": "floor"}),
    "window": (Lrn, {"op": "lrn", "n": 15, "k": 1, "alpha": 1, "alpha_convention": "sum", "beta": 1, "scope": "whole"}),
}


def network(kind: type[Conv | MaxPool | Lrn], fields: dict[str, Any]) -> Network:
    """A network of one operator."""
    operator = kind.model_validate({"name": "a", "inputs": ["image"]} | fields)
    image = Input(name="image", shape=(4, 90, 70))
    return small().model_copy(update={"input": image}).with_graph([operator])


@pytest.mark.parametrize(("kind", "fields"), GREEDY.values(), ids=GREEDY.keys())
def test_what_an_operator_takes_on_the_way_counts(kind: type[Conv | MaxPool | Lrn], fields: dict[str, Any]) -> None:
    greedy = network(kind, fields)
    (layer,) = greedy.layers
    tensors = {name: np.ones(shape) for name, shape in layer.tensor_shapes.items()}
    x = np.ones((BATCH, 4, 90, 70))
    tracemalloc.start()
    evaluate(layer, (x,), tensors)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    told = bytes_needed(greedy, BATCH)
    assert peak <= told
    assert peak > 3 * greedy.bytes_needed(BATCH)  # else this operator takes nothing on the way, and shows nothing
    assert told < 10 * peak


def test_the_paper_at_its_own_batch_fits_a_small_machine() -> None:
    assert bytes_needed(load("alexnet"), 128) < 16 * 2**30


def test_more_than_the_machine_has_is_refused() -> None:
    with pytest.raises(InputError, match=r"--batch 10000000: small needs about .* GiB, expected at most"):
        require_memory(small(), 10_000_000)
