"""The roofline of a network follows from its spec and two speeds."""

import pytest

from bench.floor import floor_s, layer_floors
from bench.limits import Limits
from bench.machine import copy_bytes_per_s, product_flops_per_s
from bench.work import flops, moved_bytes
from spec.load import load

#: A machine of 150 GFLOP/s and 21 GB/s.
LIMITS = Limits(150e9, 21e9, 2)


def test_alexnet_does_1_45_gflop_an_image() -> None:
    assert flops(load("alexnet"), "forward", 1) == 2 * 724_406_816


@pytest.mark.parametrize(("batch", "milliseconds"), [(1, 20.7), (16, 158), (64, 625)])
def test_floor_of_alexnet_on_a_machine_of_known_speed(batch: int, milliseconds: float) -> None:
    assert 1e3 * floor_s(load("alexnet"), "forward", batch, LIMITS) == pytest.approx(milliseconds, rel=0.06)


def test_dense_layers_are_bound_by_memory_at_batch_1_and_convolutions_by_arithmetic() -> None:
    floors = {floor.name: floor for floor in layer_floors(load("alexnet"), 1, LIMITS)}
    assert floors["fc6"].duration_s == pytest.approx(4 * 37_752_832 / 21e9, rel=1e-3)
    assert floors["conv2"].duration_s == pytest.approx(2 * 223_948_800 / 150e9)


def test_what_can_be_fused_costs_nothing() -> None:
    floors = {floor.name: floor.duration_s for floor in layer_floors(load("alexnet"), 4, LIMITS)}
    assert [floors[name] for name in ("relu1", "drop6", "flatten")] == [0, 0, 0]
    assert floors["norm1"] > 0
    assert floors["pool1"] > 0


def test_weights_are_moved_once_a_batch_and_images_once_each() -> None:
    network = load("alexnet")
    images = moved_bytes(network, "forward", 2) - moved_bytes(network, "forward", 1)
    assert moved_bytes(network, "forward", 1) - images == 4 * network.parameters


def test_limits_are_measured_and_plausible() -> None:
    assert 1e9 < product_flops_per_s(1024, threads=1) < 1e13
    assert 1e8 < copy_bytes_per_s(threads=1) < 1e12
