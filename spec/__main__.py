"""`python -m spec`: show, list, check, import and export networks; write the JSON Schema of their language."""

import subprocess
import sys
from typing import assert_never

from spec import schema, show
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end, one_line
from spec.load import find, load, shipped, shown
from spec.terminal import Terminal

#: Commands that know of frameworks, as nothing here does: programs of `impls`.
PROGRAMS = {"import": "impls.onnx_import", "export": "impls.export"}


def main(arguments: list[str]) -> Exit:
    """Run one sub-command; raises InputError and NotRunError."""
    if arguments and arguments[0] in PROGRAMS:
        return _program(arguments[0], arguments[1:])
    options = _parser().parse_args(arguments)
    match options.command:
        case "show":
            return _show(options.network)
        case "list":
            return _list()
        case "check":
            return _check(options.paths)
        case "schema":
            return _schema(options.check)
        case _:
            assert_never(options.command)


def _parser() -> Arguments:
    parser = Arguments(prog="python -m spec", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    network = "a shipped network's name, or the path of a spec"
    command = commands.add_parser("show", help="print a network's layers and totals")
    command.add_argument("network", metavar="NETWORK", help=network)
    commands.add_parser("list", help="print the shipped networks")
    command = commands.add_parser("check", help="check specs; exit code 2 if one is wrong")
    command.add_argument("paths", metavar="NETWORK", nargs="+", help=network)
    commands.add_parser("import", help="make a spec of an ONNX file; see `python -m spec import --help`")
    commands.add_parser("export", help="write a network as its framework stores it; see `python -m spec export --help`")
    command = commands.add_parser("schema", help="write spec/network.schema.json")
    command.add_argument("--check", action="store_true", help="only compare; exit code 1 if the file differs")
    return parser


def _program(command: str, arguments: list[str]) -> Exit:
    """Have the program of a command run."""
    return Exit(subprocess.run([sys.executable, "-m", PROGRAMS[command], *arguments], check=False).returncode)


def _show(name_or_path: str) -> Exit:
    network = load(name_or_path)
    terminal = Terminal()
    terminal.print(show.heading(network))
    terminal.print(show.layer_table(network, terminal.width))
    terminal.print(show.totals(network))
    return Exit.PASSED


def _list() -> Exit:
    Terminal().print(show.network_table([load(name) for name in shipped()]))
    return Exit.PASSED


def _check(names_or_paths: list[str]) -> Exit:
    code = Exit.PASSED
    for name_or_path in names_or_paths:
        try:
            network = load(name_or_path)
        except InputError as error:
            code = Exit.INPUT
            print(f"error: {one_line(error)}", file=sys.stderr)
        else:
            print(f"{shown(find(name_or_path))}: {network.name}: {show.totals(network)}")
    return code


def _schema(check: bool) -> Exit:
    if not check:
        schema.write()
        return Exit.PASSED
    difference = schema.drift()
    if not difference:
        return Exit.PASSED
    print(difference, end="")
    print(f"error: {shown(schema.SCHEMA)} differs from the model; run `python -m spec schema`", file=sys.stderr)
    return Exit.DIVERGED


if __name__ == "__main__":
    end(main)
