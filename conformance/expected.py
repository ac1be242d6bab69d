"""`python -m conformance.expected`: the oracle's output for a batch, as a file that timed processes compare with."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from conformance.caps import caps
from conformance.measure import Array, relative_rms
from conformance.oracle import Tensors, evaluate
from conformance.storage import operand, stored
from impls.frameworks import DTYPES, Dtype
from impls.options import words
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.load import load
from spec.network import Network
from spec.operators import Conv, Dense
from spec.tensors import read, write


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
    options = parser.parse_args(arguments)
    network = load(options.spec)
    tensors = _file(options.weights, "--weights")
    x = _file(options.input, "--input")[network.input.name]
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
