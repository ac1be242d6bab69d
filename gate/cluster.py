"""`python -m gate … --ray [ADDRESS]`: each cell of the matrix as a task of Ray, their reports merged into one verdict.

Ray is optional: it is imported here, and only where it is asked for.
"""

import importlib
import json
import logging
import os
import re
import shlex
import signal
import socket
import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gate import accepted, calibration, finished
from gate.matrix import Planned, listed
from gate.merge import merged
from gate.node import LostError, Outcome, Task, perform
from gate.options import named_specs, parsed_list
from gate.packages import parse
from gate.requirement_file import files_of
from gate.verdict import Report
from impls import environments
from spec.arguments import Arguments
from spec.exits import Exit, InputError, NotRunError, one_line, shortened
from spec.files import require_folder, write_all
from spec.load import shipped
from spec.store import default_root

ROOT = Path(__file__).parents[1]

#: What a node needs of this checkout; the rest stays here.
SENT = ("bench", "conformance", "gate", "impls", "pyproject.toml", "requirements", "spec")

#: How often a cell is tried again whose worker, node or gate was lost.
RETRIES = 3

#: What Ray calls a cluster: one that this machine belongs to, HOST:PORT, or ray://HOST:PORT.
_ADDRESS = re.compile(r"auto|(ray://)?[^\s=/]+:\d+")

#: The least that Ray accepts for what tasks hand each other; ours are reports of some KB.
_STORE_BYTES = 100 * 2**20

#: What Ray does not say itself where a cluster is there and does not let us in.
_TOKEN = (
    "where the cluster asks for its token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN unless this machine has it in "
    "~/.ray/auth_token"
)

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Node:
    """What Ray says that a node has."""

    processors: float
    gpus: float


def asked(arguments: Sequence[str]) -> bool:
    """Whether a command line of the gate asks for Ray."""
    return any(word == "--ray" or word.startswith("--ray=") for word in arguments)


def gate(arguments: list[str], tell: Tell) -> tuple[Report, Path]:
    """The cells that the arguments ask for, run by Ray: one verdict, and the folder that the report belongs in.

    Raises InputError and NotRunError.
    """
    options, rest = _parsed(arguments)
    require_folder(options.report)
    cells = listed(rest)
    more = ("--fresh",) if options.fresh else ()
    own = tasks([Planned(**cell) for cell in cells["include"]], parsed_list(rest), more)
    if options.ray is None:
        own = [replace(task, places=_here()) for task in own]
    outcomes = performed(own, options.ray, tell, _pins())
    return joined(cells, outcomes, options.report), options.report


def tasks(cells: Sequence[Planned], options: Namespace, more: Sequence[str] = ()) -> list[Task]:
    """A task a cell, each with the files that the options name; raises InputError."""
    files = {str(path): _content(path) for path in _named(options)}
    alone = not options.numerics_only and options.baseline_report is None
    return [
        Task(cell.name, (*shlex.split(cell.arguments), *more), cell.device, alone, options.threads, files)
        for cell in cells
    ]


def performed(own: Sequence[Task], address: str | None, tell: Tell, packages: Sequence[str]) -> list[Outcome]:
    """What became of each task, in their order; raises NotRunError.

    A cell that is lost is tried again elsewhere; one that fails for good has an outcome without a report.
    """
    found: dict[str, Outcome] = {}
    with _started(address, packages) as ray:
        nodes = _nodes(ray)
        remote = ray.remote(perform)
        pending: dict[Any, str] = {}
        for task in own:
            settings = {"name": task.name, "max_retries": RETRIES, "retry_exceptions": [LostError]}
            pending[remote.options(**settings, **resources(task, nodes)).remote(task)] = task.name
        tell(f"Ray: {len(own)} cells on {len(nodes)} nodes")
        while pending:
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            name = pending.pop(done)
            try:
                found[name] = ray.get(done)
            except ray.exceptions.RayError as error:
                found[name] = Outcome(Exit.NOT_RUN, None, _cause(error))
            tell(f"{name}: {_ended(found[name])}; {len(found)} of {len(own)} cells")
    return [found[task.name] for task in own]


def resources(task: Task, nodes: Sequence[Node]) -> dict[str, float]:
    """What a task needs: a whole node if it measures time, or starts a thread a processor; raises NotRunError.

    A whole node is one of the largest that there are: on none of them is then room for a second.
    """
    fit = [node for node in nodes if task.device != "cuda" or node.gpus >= 1]
    if not fit:
        raise NotRunError(f"{task.name}: expected a node with a GPU in the Ray cluster, found none among {len(nodes)}")
    largest = max(node.processors for node in fit)
    threads = task.threads or 1
    if largest < threads:
        raise NotRunError(f"{task.name}: expected a node with {threads} processors, found at most {largest:g}")
    whole = task.alone or task.threads is None
    return {"num_cpus": largest if whole else threads, "num_gpus": 1 if task.device == "cuda" else 0}


def joined(cells: Mapping[str, Any], outcomes: Sequence[Outcome], folder: Path) -> Report:
    """One verdict over all cells, and the report of each below `folder`; raises InputError and NotRunError.

    A cell without a report is among the missing, with its name and why. Where no cell has one and all say that what was
    asked is wrong, so does this; where there is but one cell, its own words are all there is to say.
    """
    planned = cells["include"]
    without = {cell["name"]: outcome for cell, outcome in zip(planned, outcomes, strict=True) if outcome.report is None}
    if len(without) == len(planned):
        first = outcomes[0].said or f"ended with exit code {outcomes[0].code} and without a word"
        if all(outcome.code == Exit.INPUT for outcome in outcomes):
            raise InputError(first)
        if len(planned) == 1:
            raise NotRunError(f"{planned[0]['name']}: {first}")
    paths = []
    for cell, outcome in zip(planned, outcomes, strict=True):
        if outcome.report is not None:
            paths += write_all(folder / "cells" / Path(cell["report"]).name, {"gate.json": outcome.report})
    with tempfile.TemporaryDirectory() as scratch:
        expected = Path(scratch, "cells.json")
        expected.write_text(json.dumps(cells), encoding="utf-8")
        whole = merged(paths, expected)
    return replace(whole, missing=tuple(_errored(name, without.get(name)) for name in whole.missing))


def _parsed(arguments: list[str]) -> tuple[Namespace, list[str]]:
    """What is said about Ray, and the arguments of `gate list`; raises InputError."""
    parser = Arguments(prog="python -m gate", add_help=False)
    parser.add_argument("--ray", nargs="?")
    parser.add_argument("--report", type=Path, default=Path("reports"))
    parser.add_argument("--fresh", action="store_true")
    options, rest = parser.parse_known_args(arguments)
    if options.ray is not None and not _ADDRESS.fullmatch(options.ray):
        raise InputError(
            f"--ray: expected HOST:PORT, ray://HOST:PORT, auto, or nothing for local Ray, found {options.ray!r:.200}; "
            f"without an address, write --ray last"
        )
    return options, rest


def _named(options: Namespace) -> list[Path]:
    """The files that the options name: networks, requirement files with those they include, a report, acceptances."""
    found = [Path(name) for name in named_specs(options) if name not in shipped()]
    found += [options.baseline_report] if options.baseline_report is not None else []
    found += [options.accepted] if options.accepted != accepted.FILE else []
    for side in options.sides:
        file = parse("side", side).file
        found += files_of(file) if file is not None else []
    for path in found:
        if path.is_absolute() or not path.resolve().is_relative_to(Path.cwd()) or ".." in path.parts:
            raise InputError(f"--ray: expected files below the current folder, which nodes are sent, found {path}")
    for option in ("baseline_python", "candidate_python"):
        python = getattr(options, option)
        if python is not None and not Path(python).is_absolute():
            name = option.replace("_", "-")
            raise InputError(f"--ray: expected --{name} as it is called on every node, from the root, found {python!r}")
    return list(dict.fromkeys(found))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a file that can be read, found: {error.strerror or error}") from None


@contextmanager
def _started(address: str | None, packages: Sequence[str]) -> Iterator[Any]:
    """Ray, connected to a cluster or to one of its own on this machine; raises NotRunError."""
    # Nothing is reported to Ray's makers, and how this process was started decides nothing about its tasks.
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"})
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError:
        raise NotRunError(
            "--ray: expected Ray, found none; install it: python -m pip install -r requirements/ray.txt"
        ) from None
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    settings["runtime_env"] = runtime_environment(packages)
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # Ray tells there of workers that it lost
        if address is None:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="lockstep-ray-", ignore_cleanup_errors=True)
            )
            settings |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_temp_dir": folder}
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _require_answer(address)
            ray.init(address=address or "local", **settings)
        except (OSError, OverflowError, RuntimeError, ValueError) as error:
            text = f"--ray {address or '(local)'}: expected a Ray cluster, found: {shortened(one_line(error))}"
            is_there = isinstance(error, ConnectionError) and not isinstance(error, ConnectionRefusedError)
            raise NotRunError(f"{text}; {_TOKEN}" if is_there else text) from None
        stack.callback(ray.shutdown)
        signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
        yield ray


def _require_answer(address: str | None) -> None:
    """Raise OSError where nobody listens: Ray itself would try for minutes, with pages of warnings."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=10.0):
            pass


def runtime_environment(packages: Sequence[str]) -> dict[str, Any]:
    """Of Ray's tasks: this checkout without what is made from it, and the gate's own packages, pinned.

    The environments of frameworks are made by the gate itself, on each node once.
    """
    others = [f"/{path.name}" for path in sorted(ROOT.iterdir()) if path.name not in SENT]
    found: dict[str, Any] = {"working_dir": str(ROOT), "excludes": [*others, "__pycache__"]}
    if packages:
        found["uv"] = {"packages": list(packages), "uv_pip_install_options": []}  # Ray's own are: without a cache
    return found


def _pins() -> list[str]:
    lines = (ROOT / "requirements" / "gate.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _here() -> dict[str, str]:
    """Where a run without Ray keeps what it uses again: local Ray shares it."""
    return {
        "LOCKSTEP_CACHE": str(default_root().absolute()),
        "LOCKSTEP_CALIBRATIONS": str(calibration.place().absolute()),
        "LOCKSTEP_ENVIRONMENTS": str(environments.place()),
        "LOCKSTEP_RUNS": str(finished.place().absolute()),
    }


def _nodes(ray: Any) -> list[Node]:
    """The nodes that can be given work; raises NotRunError."""
    found = [
        Node(node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]
    working = [node for node in found if node.processors >= 1]
    if not working:
        raise NotRunError(f"--ray: expected a node with processors, found none among {len(found)} nodes")
    return working


def _cause(error: Exception) -> str:
    """What Ray says of a task that failed, in a line: of an exception within it, that alone."""
    cause = getattr(error, "cause", None)
    said = f"{type(cause).__name__}: {cause}" if cause is not None else f"{type(error).__name__}: {error}"
    return shortened(one_line(said))


def _ended(outcome: Outcome) -> str:
    return f"exit code {outcome.code}" if outcome.report is not None else f"errored: {outcome.said}"


def _errored(name: str, outcome: Outcome | None) -> str:
    if outcome is None:
        return name
    return f"{name}: errored: {outcome.said or f'exit code {outcome.code}, without a word'}"
