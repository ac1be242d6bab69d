"""Options that the commands of the conformance suite share, and the entrants that they name."""

import os
import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path

from conformance.participants import Entrant
from impls.client import framework_command
from impls.frameworks import FRAMEWORKS, MODES, FrameworkName, Variant
from impls.generate import write_source
from impls.options import by_framework, count, named, pythons_of
from spec.arguments import Arguments
from spec.exits import InputError
from spec.identifiers import checked_identifier
from spec.network import Network


def add_worker_options(parser: Arguments, timeout_s: int) -> None:
    """Add the options that say how workers are started."""
    add = parser.add_argument
    add(
        "--mode", type=named, action="append", default=[], metavar="FRAMEWORK=MODE", help="eager, compiled, xla, graphs"
    )
    add(
        "--python",
        type=named,
        action="append",
        default=[],
        metavar="FRAMEWORK=PATH",
        help="an interpreter that exists",
    )
    add("--runner", type=named, action="append", default=[], metavar="NAME=COMMAND", help="a worker of your own")
    add("--locked", action="store_true", help="make and use the environments of requirements/*.txt")
    add("--threads", type=count, default=os.cpu_count() or 1, metavar="N", help="threads of each worker")
    add("--timeout", type=count, default=timeout_s, metavar="SECONDS", help="how long a worker may take to answer")


def seed_number(text: str) -> int:
    """The type of an option that is a seed."""
    if not text.isascii() or not text.isdigit() or int(text) >= 2**63:
        raise ArgumentTypeError(f"expected a whole number from 0 to 2⁶³ − 1, found {text!r:.80}")
    return int(text)


def entrants_of(network: Network, options: Namespace, tell: Callable[[str], None]) -> list[Entrant]:
    """Who takes part: the frameworks of the options, each with its generated sources, and the user's own runners.

    Raises InputError, and NotRunError where an environment cannot be made.
    """
    modes = by_framework("--mode", options.mode)
    for framework, mode in modes.items():
        if mode not in MODES[framework]:
            raise InputError(
                f"--mode: expected one of {', '.join(MODES[framework])} for {framework}, found {mode!r:.80}"
            )
    if options.dtype == "tf32" and options.device == "cpu":
        raise InputError("--dtype tf32: expected --device cuda beside it, found cpu, which has no TF32")
    frameworks: list[FrameworkName] = [name for name in options.frameworks if name != "none"]
    if not frameworks and not options.runner:
        raise InputError("--frameworks none: expected a --runner beside it, found none; there is nothing to run")
    pythons = pythons_of(frameworks, options.python, options.locked, tell)

    def variant(name: str, mode: str, lowering: str) -> Variant:
        return Variant(name, options.device, options.dtype, mode, lowering)

    entrants = [
        Entrant(
            variant(framework, modes.get(framework, MODES[framework][0]), lowering),
            tuple(framework_command(framework, pythons[framework])),
            write_source(network, framework, lowering=lowering),
        )
        for framework in frameworks
        for lowering in options.lowering
    ]
    for name, command in options.runner:
        try:
            checked_identifier(name)
            program = tuple(shlex.split(command))
        except ValueError as error:
            raise InputError(f"--runner: {error}") from None
        if name in FRAMEWORKS or name in [entrant.variant.framework for entrant in entrants]:
            raise InputError(f"--runner: expected a name that no other runner has, found {name!r}")
        if not program:
            raise InputError(f"--runner {name}: expected a command, found none")
        entrants.append(Entrant(variant(name, "runner", "runner"), program, None))
    return entrants


def original_of(options: Namespace, tell: Callable[[str], None]) -> list[Entrant]:
    """The ONNX file that the network was imported from, as one more who takes part; none where none is named.

    Raises InputError, and NotRunError where an environment cannot be made.
    """
    if not options.original:
        if options.output_name:
            raise InputError(
                "--output-name: expected --original MODEL.onnx beside it, whose output it names, found none"
            )
        return []
    model = Path(options.original)
    if not model.is_file():
        raise InputError(f"--original: expected an ONNX file, found none at {options.original!r:.200}")
    if not (options.weights or "").endswith(".safetensors"):
        raise InputError(
            "--original: expected --weights FILE.safetensors beside it, which `python -m spec import --weights` wrote "
            "of that file: it has weights of its own"
        )
    python = pythons_of(["onnx"], [pair for pair in options.python if pair[0] == "onnx"], options.locked, tell)["onnx"]
    variant = Variant("original", options.device, options.dtype, "file", "original")
    output = [options.output_name] if options.output_name else []
    return [Entrant(variant, (*framework_command("onnx_file", python), *output), model.resolve())]
