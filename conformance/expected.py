"""`python -m conformance.expected`: the oracle's output for a batch, as a file that timed processes compare with."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from conformance.caps import caps
from conformance.measure import Array, relative_rms
from conformance.oracle import Tensors, evaluate
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.load import load
from spec.network import Network
from spec.tensors import read, write


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError."""
    parser = Arguments(prog="python -m conformance.expected", description=__doc__)
    parser.add_argument("--spec", required=True, metavar="NETWORK")
    parser.add_argument("--weights", required=True, metavar="FILE")
    parser.add_argument("--input", required=True, metavar="FILE")
    parser.add_argument("--output", required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    network = load(options.spec)
    tensors = _file(options.weights, "--weights")
    x = _file(options.input, "--input")[network.input.name]
    write_expected(network, tensors, x, Path(options.output))
    return Exit.PASSED


def write_expected(network: Network, tensors: Tensors, x: Array, output: Path) -> None:
    """Write the output in float64, and beside it how far from it, in relative RMS error, a float32 one may be."""
    expected = _last(network, tensors, x, lambda value: value.astype(np.float64))
    single = _last(network, tensors, x, lambda value: value.astype(np.float32))
    rules = caps()
    usual = max(rules.end_to_end.floor, relative_rms(single.astype(np.float64), expected))
    cap = rules.timed_output.factor * usual
    write(
        output, {"expected": expected}, {"relative_rms_cap": repr(cap), "rule": "conformance/caps.toml, timed_output"}
    )


def _last(network: Network, tensors: Tensors, x: Array, cast: Callable[[Array], Array]) -> Array:
    """The last operator's output; what no later operator reads is let go on the way."""
    last_read = {name: layer.name for layer in network.layers for name in layer.operator.reads}
    values = {network.input.name: cast(x)}
    for layer in network.layers:
        reads = layer.operator.reads
        values[layer.name] = evaluate(layer, tuple(values[name] for name in reads), tensors)
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
