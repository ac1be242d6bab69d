"""`python -m spec import MODEL.onnx -o SPEC.yaml`: an ONNX file as a spec, its initialisers as canonical weights."""

import json
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from impls.onnx_import.mapping import Imported
from impls.onnx_import.naming import identifier
from impls.onnx_import.rules import imported
from impls.options import named, pythons_of
from impls.program import run_program
from spec.arguments import Arguments
from spec.exits import Exit, InputError, NotRunError, end, one_line
from spec.files import write_all
from spec.load import parse
from spec.network import FORMAT, Network
from spec.tensors import metadata, read, write
from spec.terminal import progress
from spec.yaml_text import network_text


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m spec import", description=__doc__)
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL.onnx")
    add("-o", "--output", type=Path, required=True, metavar="SPEC.yaml")
    add("--weights", type=Path, metavar="OUT.safetensors", help="write the file's tensors as canonical weights")
    add("--input-shape", type=_shape, metavar="C,H,W", help="of an image, where the file leaves it open")
    add("--output-name", metavar="NAME", help="the value that is the network's output, where the file has several")
    add("--python", type=named, action="append", default=[], metavar="onnx=PATH", help="an interpreter that has onnx")
    add("--locked", action="store_true", help="make and use the environment of requirements/onnx.txt")
    options = parser.parse_args(arguments)
    with progress() as tell:
        python = pythons_of(["onnx"], options.python, options.locked, tell)["onnx"]
    with TemporaryDirectory(prefix="lockstep-import-") as folder:
        graph, tensors = _read(python, options, Path(folder) / "model.safetensors")
        found = imported(graph, tensors)
        if found.unsupported:
            for line in found.unsupported:
                print(f"error: {options.model}: {one_line(line)}", file=sys.stderr)
            return Exit.INPUT
        if not found.graph:
            raise InputError(f"{options.model}: expected an operator that reads the input, found none")
        network = _network(found, graph, options)
        _write(network, found, options)
    print(f"{options.output}: {network.name}: {len(network.graph)} operators, {network.parameters:,} parameters")
    return Exit.PASSED


def _shape(text: str) -> str:
    extents = text.split(",")
    if not 1 <= len(extents) <= 3 or not all(word.isascii() and word.isdigit() and int(word[:10]) for word in extents):
        raise ArgumentTypeError(f"expected extents such as 3,224,224, found {text!r:.80}")
    return text


def _read(python: str, options: Namespace, output: Path) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The graph and tensors, as a program in the environment of onnx reads them."""
    command = [str(options.model), str(output)]
    for option, value in (("--input-shape", options.input_shape), ("--output-name", options.output_name)):
        command += [option, value] if value else []
    run_program(python, "impls.read_onnx", command, options.model, "read")
    return json.loads(metadata(output)["graph"]), read(output)


def _network(found: Imported, graph: Mapping[str, Any], options: Namespace) -> Network:
    """The spec, with everything that follows from its graph; raises InputError."""
    name = identifier(options.output.stem)
    if not name:
        raise InputError(
            f"-o {options.output}: expected a file name that can name a network, found {options.output.stem!r:.80}"
        )
    content = {
        "format": FORMAT,
        "name": name,
        "title": one_line(graph["title"])[:200] or name,
        "source": one_line(f"{options.model.name}, opset {graph['opset']}")[:300],
        "input": {"name": found.input_name, "shape": list(found.input_shape)},
        "graph": found.graph,
        "expect": {"shapes": {}, "parameters": 0, "macs": 0, "neurons": 0},
    }
    return Network.model_validate(content).with_expectations()


def _write(network: Network, found: Imported, options: Namespace) -> None:
    """Write the spec and the weights, both or none; raises InputError and NotRunError."""
    text = network_text(network, f"Imported from {one_line(options.model.name)[:200]} by `python -m spec import`.")
    parse(text, str(options.output))
    weights: Path | None = options.weights
    is_new = weights is not None and not weights.exists()
    try:
        if weights is not None:
            weights.parent.mkdir(parents=True, exist_ok=True)
            write(weights, {name: found.tensors[name] for name in network.tensor_shapes})
        write_all(options.output.parent, {options.output.name: text})
    except OSError as error:
        raise NotRunError(f"{weights}: expected to write the weights, found: {error.strerror or error}") from None
    except NotRunError:
        if weights is not None and is_new:
            weights.unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    end(main)
