"""`python -m conformance.expected`: what a timed workload should compute, as a file that timed processes compare with.

For a forward pass that is the oracle's output. For a training step it is the velocity of every parameter after one step
from the start: everything that the step computes is in it. The batch of a training step is made here too: a few images,
labels and masks, repeated, so that the oracle's work does not grow with the batch.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from conformance.backpropagation import backpropagate, logits_tap
from conformance.caps import caps
from conformance.dropout import drawn_masks
from conformance.measure import Array, relative_rms
from conformance.oracle import Tensors, evaluate
from conformance.storage import operand, stored
from conformance.updates import Rates, start, update
from impls.frameworks import DTYPES, Dtype
from impls.options import count, words
from impls.training import MASK
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.load import load
from spec.network import Network
from spec.operators import Conv, Dense
from spec.tensors import read, write
from spec.weights import generator

#: Of a timed training step: so small that parameters stay what they are however often it runs, and that no rounding of
#: the velocity depends on it.
RATE = 2.0**-30


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError."""
    parser = Arguments(prog="python -m conformance.expected", description=__doc__)
    parser.add_argument("--spec", required=True, metavar="NETWORK")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--input", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="FILE")
    parser.add_argument(
        "--dtypes", type=words(DTYPES), default=["float32"], metavar="A,B", help="whose caps are wanted"
    )
    parser.add_argument("--train-step", metavar="FILE", help="the workload is a training step: write its batch here")
    parser.add_argument("--repeats", type=count, default=1, metavar="N", help="how often the batch repeats the input")
    options = parser.parse_args(arguments)
    network = load(options.spec)
    tensors = _file(options.weights, "--weights")
    x = _file(options.input, "--input")[network.input.name]
    if options.train_step:
        write_train_step(network, tensors, x, options.repeats, Path(options.train_step), Path(options.output))
    else:
        write_expected(network, tensors, x, Path(options.output), options.dtypes)
    return Exit.PASSED


def write_expected(
    network: Network, tensors: Tensors, x: Array, output: Path, dtypes: Sequence[Dtype] = ("float32",)
) -> None:
    """Write the output in float64, and beside it how far from it, in relative RMS error, one in each dtype may be."""
    expected = _last(network, tensors, x.astype(np.float64))
    rules = caps()
    words = {"rule": "conformance/caps.toml, timed_output"}
    for dtype in dtypes:
        single = _last(network, tensors, stored(x.astype(np.float32), dtype), dtype)
        usual = max(rules.end_to_end.floor, relative_rms(single.astype(np.float64), expected))
        factor = rules.timed_output.factor if dtype == "float32" else rules.timed_output.rounded_factor
        words[cap_key(dtype)] = repr(factor * usual)
    write(output, {"expected": expected}, words)


def write_train_step(network: Network, tensors: Tensors, x: Array, repeats: int, batch: Path, output: Path) -> None:
    """Write a batch that has `x` (K, C, H, W) `repeats` times, and the velocities after one step; raises InputError.

    The loss's gradient of a repeated batch is that of `x` if it is a mean, and `repeats` times that if it is a sum.
    """
    training = network.training
    if training is None:
        raise InputError(f"{network.name}: a training step needs the section 'training', found none")
    classes = prod(next(layer for layer in network.layers if layer.name == logits_tap(network)).output_shape)
    labels = generator(0, "timed labels").integers(0, classes, len(x))
    masks = drawn_masks(network, len(x), 0, 0)
    rates = Rates(RATE, RATE * training.optimizer.bias_rate_factor)
    given = {network.input.name: x, "labels": labels} | {f"{MASK}{name}": mask for name, mask in masks.items()}
    repeated = {name: np.concatenate([value] * repeats) for name, value in given.items()}
    write(batch, repeated | {"rates": np.array([rates.weights, rates.biases])})

    def velocities(dtype: type[np.floating[Any]]) -> dict[str, Array]:
        own = {name: value.astype(dtype) for name, value in tensors.items()}
        found = backpropagate(network, own, x.astype(dtype), labels, masks, training.loss).parameters
        if training.loss.reduction == "sum":
            found = {name: repeats * value for name, value in found.items()}
        begun = start({name: own[name] for name in found})
        return update(begun, found, training.optimizer, rates).velocities

    expected, single = velocities(np.float64), velocities(np.float32)
    strays = [relative_rms(single[name].astype(np.float64), value) for name, value in expected.items()]
    rules = caps()
    cap = rules.timed_output.factor * max(rules.end_to_end.floor, *strays)
    write(output, expected, {"rule": "conformance/caps.toml, timed_output", cap_key("float32"): repr(cap)})


def cap_key(dtype: str) -> str:
    """Under which word the cap of a dtype stands: `relative_rms_cap.float32`."""
    return f"relative_rms_cap.{dtype}"


def _last(network: Network, tensors: Tensors, x: Array, dtype: Dtype | None = None) -> Array:
    """The last operator's output, in the precision of `x`; with a dtype, values are rounded as variants of it do.

    What no later operator reads is let go on the way.
    """
    last_read = {name: layer.name for layer in network.layers for name in layer.operator.reads}
    values = {network.input.name: x}
    for layer in network.layers:
        reads = layer.operator.reads
        inputs, own = tuple(values[name] for name in reads), {name: tensors[name] for name in layer.tensor_shapes}
        if dtype is not None:
            own = {name: stored(value, dtype) for name, value in own.items()}
            if isinstance(layer.operator, Conv | Dense):
                own |= {name: operand(value, dtype) for name, value in own.items() if name.endswith(".weight")}
                inputs = tuple(operand(value, dtype) for value in inputs)
        value = evaluate(layer, inputs, own)
        values[layer.name] = value if dtype is None else stored(value, dtype)
        for name in set(reads):
            if last_read[name] == layer.name:
                del values[name]
    return values[network.output]


def _file(path: str, option: str) -> Tensors:
    try:
        return read(Path(path))
    except (OSError, ValueError) as error:
        raise InputError(f"{option}: {error}") from None


if __name__ == "__main__":
    end(main)
