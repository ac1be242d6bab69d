"""`python -m spec export NETWORK --weights W --to FRAMEWORK -o PATH`: a network as that framework stores it."""

from argparse import Namespace
from dataclasses import dataclass
from math import prod
from pathlib import Path

from impls.frameworks import FRAMEWORKS, FrameworkName
from impls.generate import source_name, source_text
from impls.options import named, pythons_of
from impls.program import run_program
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.files import together
from spec.load import load
from spec.network import FLOAT32_BYTES, Network
from spec.own_weights import checked
from spec.terminal import progress


@dataclass(frozen=True)
class Form:
    """What a framework's users call a network that is stored."""

    what: str
    has_source: bool
    """Whether it holds tensors alone: the generated source, written beside it, says what is done with them."""
    is_folder: bool = False
    limit_bytes: int | None = None
    """The most that it can hold."""


FORMS: dict[FrameworkName, Form] = {
    "torch": Form("a state_dict", has_source=True),
    "jax": Form("a parameter tree", has_source=True),
    "tensorflow": Form("a SavedModel", has_source=False, is_folder=True),
    "onnx": Form("an ONNX model", has_source=False, limit_bytes=2**31 - 2**20),  # of protobuf, less room for the graph
}


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m spec export", description=__doc__)
    add = parser.add_argument
    forms = "; ".join(f"{name}: {form.what}" for name, form in FORMS.items())
    add("network", metavar="NETWORK", help="a shipped network's name, or the path of a spec")
    add("--weights", type=Path, required=True, metavar="W.safetensors", help="its tensors, by canonical names")
    add("--to", choices=FRAMEWORKS, required=True, help=forms)
    add("-o", "--output", type=Path, required=True, metavar="PATH")
    add("--python", type=named, action="append", default=[], metavar="FRAMEWORK=PATH", help="an interpreter")
    add("--locked", action="store_true", help="make and use the environment of requirements/FRAMEWORK.txt")
    options = parser.parse_args(arguments)
    network = load(options.network)
    weights = checked(network, options.weights)
    _require_place(network, options)
    with progress() as tell:
        python = pythons_of([options.to], options.python, options.locked, tell)[options.to]
        tell(f"{options.output}: {FORMS[options.to].what} of {network.name}")
        for path in export(network, weights, options.to, options.output, python):
            print(path)
    return Exit.PASSED


def export(network: Network, weights: Path, framework: FrameworkName, output: Path, python: str) -> list[Path]:
    """Write the network and return what was written, all or nothing; raises InputError and NotRunError."""
    form, name = FORMS[framework], source_name(network, framework, "native")
    with together(output.parent, form.what) as partial:
        source = partial / name
        source.write_text(source_text(network, framework), encoding="utf-8")
        words = [str(source), str(weights), str(partial / output.name), *map(str, network.input.shape)]
        run_program(python, f"impls.write_{framework}", words, output, "written")
        if not form.has_source:
            source.unlink()
    return [output, *([output.with_name(name)] if form.has_source else [])]


def _require_place(network: Network, options: Namespace) -> None:
    """Raise InputError for an output that cannot be, or that would take the place of something else."""
    output, form = options.output, FORMS[options.to]
    own_source = source_name(network, options.to, "native")
    if not output.name or output.name == own_source:
        raise InputError(f"-o {output}: expected a name other than that of its source, {own_source}, found it")
    if output.is_dir() and (not form.is_folder or any(output.iterdir())):
        raise InputError(f"-o {output}: expected a place for {form.what}, found a folder; choose another name")
    if form.is_folder and output.is_file():
        raise InputError(f"-o {output}: expected a new folder for {form.what}, found a file; choose another name")
    size = FLOAT32_BYTES * sum(map(prod, network.tensor_shapes.values()))
    if form.limit_bytes is not None and size > form.limit_bytes:
        raise InputError(
            f"{network.name}: expected at most {form.limit_bytes:,} bytes of tensors, which {form.what} can hold, "
            f"found {size:,}"
        )


if __name__ == "__main__":
    end(main)
