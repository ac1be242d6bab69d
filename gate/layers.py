"""Where a step lost its time: each layer of the network alone, on both sides, in one block."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.layers import layers_alone
from gate.blocks import Bench, Block, Files, SideError
from gate.plan import Cell
from gate.results import LayerCost, Quantity

#: Turns of a layer: it tells where to look, and decides nothing.
TURNS = 4


def layer_costs(cell: Cell, bench: Bench, tell: Callable[[str], None]) -> tuple[LayerCost, ...]:
    """What each layer costs by itself on both sides; from the first that cannot be timed on, layers are left out."""
    plan = replace(bench.plan, turns=TURNS, workload="forward")
    found = []
    with TemporaryDirectory(prefix="lockstep-layers-") as folder:
        layers = [
            (replace(cell, network=own.network), own)
            for own in layers_alone(cell.network, cell.batch, plan.seed, Path(folder))
        ]
        files = {alone.key: Files.of(alone, own.weights, own.input, Path(folder)) for alone, own in layers}
        with Block(replace(bench, plan=plan, files=files), f"{plan.seed} layers {cell.key}") as block:
            try:
                block.start()
                for alone, own in layers:
                    tell(f"speed: layer by layer: {cell}: {own.layer.name}")
                    sample, _ = block.measure(alone, None)
                    pair = sample.pair(Quantity.STEADY)
                    if pair is not None:
                        found.append(LayerCost(own.layer.name, own.layer.operator.op, *pair))
            except SideError:
                pass  # the verdict on the whole network stands; it has less to say where
    return tuple(found)
