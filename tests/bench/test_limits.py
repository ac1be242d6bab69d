"""What was exceeded is no limit."""

from bench.layers import LayerTimes
from bench.limits import Limits, raised
from bench.timing import Row
from impls.frameworks import Variant
from spec.load import load

VARIANT = Variant("torch", "cpu", "float32", "eager", "fast")
NETWORK = load("alexnet")


def row(median_s: float) -> Row:
    return Row(VARIANT, 16, outcome="timed", rounds=[(median_s,)])


def test_a_row_that_exceeds_the_peak_raises_it() -> None:
    limits = {"cpu float32": Limits(1e11, 1e10, 2)}
    found = raised(limits, NETWORK, "train_step", [row(0.1)], None)["cpu float32"]
    assert found.flops_per_s == 3 * 2 * 724_406_816 * 16 / 0.1
    assert found.flops_by == "torch in alexnet at batch 16"
    assert raised(limits, NETWORK, "forward", [row(10.0)], None) == limits


def test_a_layer_that_exceeds_the_peak_raises_it() -> None:
    limits = {"cpu float32": Limits(1e11, 1e10, 2)}
    layers = LayerTimes(16, {VARIANT: {"conv2": 0.01}})
    found = raised(limits, NETWORK, "forward", [row(10.0)], layers)["cpu float32"]
    assert found.flops_per_s == 2 * 223_948_800 * 16 / 0.01
    assert found.flops_by == "torch in conv2"
