"""What the machine can do, as the best that anything reached on it in the same run: products and memory traffic."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.layers import LayerTimes
from bench.machine import copy_bytes_per_s, product_flops_per_s
from bench.probe import time_alone
from bench.timing import Contender, Plan, Row
from bench.work import flops
from impls.client import Worker, WorkerError
from impls.frameworks import FRAMEWORKS, Variant
from spec.load import parse
from spec.network import FLOAT32_BYTES, Network
from spec.tensors import write

#: Side of the square matrices: long enough for every library to reach its peak.
SIDES = {"cpu": 2048, "cuda": 8192}
#: Elements of a tensor that is far larger than a GPU's caches, so that a copy of it finds them cold.
COPY_ELEMENTS = 2**28

PRODUCT = """\
format: lockstep-network/1
name: product
title: A product of square matrices
source: how much arithmetic a machine can do
input: {{name: rows, shape: [{side}]}}
graph:
  - {{name: product, op: dense, in_features: {side}, out_features: {side}, bias: false, source: a dense layer}}
expect:
  shapes: {{product: [{side}]}}
  parameters: {products}
  macs: {products}
  neurons: {side}
"""
COPY = """\
format: lockstep-network/1
name: copy
title: A pass over memory
source: how much memory traffic a machine can do
input: {{name: row, shape: [{elements}]}}
graph:
  - {{name: copy, op: relu, source: reads and writes each element once}}
expect:
  shapes: {{copy: [{elements}]}}
  parameters: 0
  macs: 0
  neurons: {elements}
"""


@dataclass(frozen=True)
class Limits:
    """The speeds that bound every implementation on one device, at one precision."""

    flops_per_s: float
    """Operations (a multiplication and an addition are two) a second."""
    bytes_per_s: float
    """Bytes read and written a second, of memory larger than the caches."""
    threads: int
    flops_by: str = "NumPy"
    """What reached the peak."""
    bytes_by: str = "NumPy"
    element_bytes: int = FLOAT32_BYTES
    """Size of an element as it is stored."""

    def fields(self) -> dict[str, float | int | str]:
        """The limits as reports write them."""
        return asdict(self)


def measure_limits(contenders: Sequence[Contender], plan: Plan, tell: Callable[[str], None]) -> dict[str, Limits]:
    """The limits of every device and precision among the contenders, by `key`.

    The peak of arithmetic is the best of NumPy's product (on the CPU, in float32) and that of each framework that takes
    part, because a library may be built, or told, to use less than the processor has. Memory traffic is NumPy's copy on
    the CPU, and a pass over a large tensor on a GPU. What nothing could be measured for is missing.
    """
    found: dict[str, Limits] = {}
    for name, variants in _by_key(contenders).items():
        products: dict[str, float] = {}
        copies: dict[str, float] = {}
        if name == "cpu float32":
            products["NumPy"] = product_flops_per_s(SIDES["cpu"], plan.threads)
        if name.startswith("cpu"):
            copies["NumPy"] = copy_bytes_per_s(plan.threads)
        for framework, contender in variants.items():
            tell(f"the limits of this machine: {name}, {framework}")
            try:
                _probe(contender, plan, products, copies)
            except WorkerError:
                continue  # its rows say what is wrong with it
        if products and copies:
            fastest, widest = max(products, key=products.__getitem__), max(copies, key=copies.__getitem__)
            found[name] = Limits(
                products[fastest], copies[widest], plan.threads, fastest, widest, element_bytes(name.split()[1])
            )
    return found


def raised(
    limits: Mapping[str, Limits], network: Network, workload: str, rows: Sequence[Row], layers: LayerTimes | None
) -> dict[str, Limits]:
    """`limits` with the peak of any row, or layer timed alone, that exceeded it: what was exceeded is no limit."""
    found = dict(limits)
    reached = [
        (row.variant, flops(network, workload, row.batch) / row.median_s, f"{network.name} at batch {row.batch}")
        for row in rows
        if row.median_s
    ]
    if layers:
        macs = {layer.name: layer.macs for layer in network.layers}
        reached += [
            (variant, 2.0 * macs[layer] * layers.batch / duration_s, layer)
            for variant, durations in layers.durations_s.items()
            for layer, duration_s in durations.items()
        ]
    for variant, speed, where in reached:
        name = key(variant)
        if name in found and speed > found[name].flops_per_s:
            found[name] = replace(found[name], flops_per_s=speed, flops_by=f"{variant.framework} in {where}")
    return found


def key(variant: Variant) -> str:
    """What limits depend on."""
    return f"{variant.device} {variant.dtype}"


def _by_key(contenders: Sequence[Contender]) -> Mapping[str, dict[str, Contender]]:
    """One contender of each framework, the fast lowering where it takes part, for every device and precision."""
    found: dict[str, dict[str, Contender]] = {}
    for contender in sorted(contenders, key=lambda contender: contender.variant.lowering == "fast"):
        if contender.variant.framework in FRAMEWORKS:
            found.setdefault(key(contender.variant), {})[contender.variant.framework] = contender
    return found


def _probe(contender: Contender, plan: Plan, products: dict[str, float], copies: dict[str, float]) -> None:
    """Add what one framework reaches; raises WorkerError."""
    variant = contender.variant
    side = SIDES[variant.device]
    with TemporaryDirectory(prefix="lockstep-limits-") as name, contender.worker(plan) as worker:
        folder = Path(name)
        matrix = np.random.default_rng(plan.seed).standard_normal((side, side), np.float32)
        product = parse(PRODUCT.format(side=side, products=side**2), "product")
        duration_s = _time(worker, variant, product, {"product.weight": matrix}, matrix, folder, plan)
        products[variant.framework] = 2.0 * side**3 / duration_s
        if variant.device == "cuda":
            row = np.ones((1, COPY_ELEMENTS), np.float32)
            duration_s = _time(
                worker, variant, parse(COPY.format(elements=COPY_ELEMENTS), "copy"), {}, row, folder, plan
            )
            copies[variant.framework] = 2.0 * COPY_ELEMENTS * element_bytes(variant.dtype) / duration_s


def element_bytes(dtype: str) -> int:
    """Size of an element as a precision stores it."""
    return 2 if dtype == "bf16" else FLOAT32_BYTES


def _time(
    worker: Worker,
    variant: Variant,
    network: Network,
    tensors: dict[str, np.ndarray],
    x: np.ndarray,
    folder: Path,
    plan: Plan,
) -> float:
    """The least duration of a forward pass, in seconds: what is measured here is a limit. Raises WorkerError."""
    weights, given = folder / f"{network.name}.weights", folder / f"{network.name}.input"
    write(weights, tensors)
    write(given, {network.input.name: x})
    chunks = time_alone(worker, variant, network, weights, given, folder, plan.threads)
    return min(duration_s for chunk in chunks for duration_s in chunk)
