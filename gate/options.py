"""The command line of the gate: what both sides are, what is run on them, and how sure a verdict must be."""

import shlex
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from gate import accepted
from gate.numerics import FEWEST_SEEDS
from gate.plan import Cell, Plan
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS, LOWERINGS, MODES, FrameworkName, Mode, Variant
from impls.options import count, words
from spec.arguments import Arguments
from spec.exits import InputError
from spec.network import Network

#: The paper's own network has every operator of its family. The others have the same in another order or with other
#: constants: they cost as much again, and show little more.
NETWORKS = ("alexnet",)

EPILOG = """
python -m gate list … prints the cells of a matrix as JSON; python -m gate merge REPORT.json … joins their reports.
Exit codes: 0 passed; 1 drifted, diverged, precision class changed or slower; 2 wrong input; 3 not run; 4 undecided.
"""

#: Options that say what the sides are and how a cell is run: what a cell repeats of them.
_OF_A_CELL = (
    "baseline_python", "candidate_python", "baseline_report", "framework", "dtype", "lowering", "mode", "batch",
    "seeds", "gradients", "numerics_only", "speed_only", "looks", "timeout", "threads", "accepted",
)  # fmt: skip


#: Of these, the ones that a rate of false alarms depends on.
_OF_A_RATE = ("looks", "threads")


def parsed(arguments: list[str]) -> Namespace:
    """The options of a gate; raises InputError."""
    parser = _parser("python -m gate", "May this framework upgrade go in? One verdict over numerics and speed.")
    parser.add_argument("--device", choices=DEVICES, default="cpu")
    parser.add_argument("--report", metavar="DIR", help="folder of the reports; default: reports")
    parser.add_argument(
        "--calibrate", action="store_true", help="baseline against itself: how often is this runner wrong?"
    )
    parser.add_argument("--verdicts", type=count, metavar="N", help="how many verdicts --calibrate takes; default: 20")
    parser.add_argument(
        "--part", action="store_true", help="one cell of several: an acceptance that it does not need is not stale"
    )
    parser.add_argument("--fresh", action="store_true", help="go on from no stopped run, and resolve versions anew")
    parser.add_argument(
        "--ray", nargs="?", metavar="ADDRESS",
        help="each cell of `gate list` as a task of Ray, on the cluster there; without an address on this machine",
    )  # fmt: skip
    options = parser.parse_intermixed_args(arguments)
    check(options)
    if options.calibrate and options.report is not None:
        raise InputError("--calibrate: expected no --report beside it, found one; the rate is printed, and kept")
    if options.verdicts is not None and not options.calibrate:
        raise InputError("--verdicts: expected --calibrate beside it, found none; a gate has a verdict a cell")
    return changed(options, report=options.report or "reports", verdicts=options.verdicts or 20)


def parsed_list(arguments: list[str]) -> Namespace:
    """The options of `gate list`; raises InputError."""
    parser = _parser(
        "python -m gate list", "The cells of a matrix as JSON, fit for GitHub's fromJSON; all options of the gate."
    )
    parser.add_argument("--device", type=words(DEVICES), default=["cpu"], metavar="A,B", help="cpu, cuda, or both")
    options = parser.parse_intermixed_args(arguments)
    for device in options.device:
        check(Namespace(**{**vars(options), "device": device}))
    return options


def check(options: Namespace) -> None:
    """Raise InputError for options that contradict each other."""
    if options.dtype == "tf32" and options.device == "cpu":
        raise InputError("--dtype tf32: expected --device cuda beside it, found cpu, which has no TF32")
    if options.seeds < FEWEST_SEEDS:
        raise InputError(f"--seeds {options.seeds}: expected at least {FEWEST_SEEDS}: fewer say too little about noise")
    if options.gradients > options.seeds:
        raise InputError(f"--gradients {options.gradients}: expected at most --seeds {options.seeds}")
    if "" in (options.spec or ()):
        raise InputError(f"--spec: expected a shipped network or the path of a spec, found ''; such as {NETWORKS[0]}")
    if options.baseline_report is not None and options.speed_only:
        raise InputError(
            "--speed-only: expected no --baseline-report beside it, found one; a report has no speed to pair"
        )
    if options.baseline_report is not None and options.baseline_python is not None:
        raise InputError("expected --baseline-report or --baseline-python, found both")


def mode_of(framework: FrameworkName, options: Namespace) -> Mode:
    """The mode in which both sides run: the one asked for, else what users of the framework do; raises InputError."""
    known = MODES[framework]
    if options.mode is None:
        return known[0]
    if options.mode not in known:
        raise InputError(f"--mode: expected one of {', '.join(known)} for {framework}, found {options.mode!r:.80}")
    mode: Mode = options.mode
    return mode


def words_of(options: Namespace, leave_out: Iterable[str] = ()) -> list[str]:
    """What a cell repeats of the options: those that are not as they are left alone."""
    usual = vars(_parser("", "").parse_args([]))
    found = []
    for name in _OF_A_CELL:
        value = getattr(options, name)
        if name not in leave_out and value != usual[name]:
            found += [f"--{name.replace('_', '-')}", *([] if value is True else [_text(value)])]
    return found


def plan_of(options: Namespace) -> Plan:
    """How costs are measured."""
    return Plan(threads=options.threads or Plan().threads, timeout_s=options.timeout, looks=tuple(options.looks))


def cells_of(options: Namespace, framework: FrameworkName, networks: Iterable[Network]) -> list[Cell]:
    """What is timed; raises InputError."""
    mode = mode_of(framework, options)
    return [
        Cell(network, Variant(framework, options.device, options.dtype, mode, lowering), batch)
        for network in networks
        for lowering in options.lowering
        for batch in options.batch
    ]


def calibrating(options: Namespace, framework: FrameworkName) -> list[str]:
    """The arguments that measure the rate of false alarms which a gate with these options can quote."""
    device = ["--device", options.device] if options.device != "cpu" else []
    return ["--calibrate", "--framework", framework, *device, *words_of(options, set(_OF_A_CELL) - set(_OF_A_RATE))]


def shell(arguments: Iterable[str]) -> str:
    """Arguments as one would type them."""
    return shlex.join(arguments)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _parser(prog: str, description: str) -> Arguments:
    parser = Arguments(prog=prog, description=description, epilog=EPILOG)
    add = parser.add_argument
    add(
        "sides",
        nargs="*",
        metavar="SIDE",
        help="BASELINE and CANDIDATE: jax==0.9.2, 'torch==2.15.0 numpy==2.3.5', or a requirement file",
    )
    add("--baseline-python", metavar="PATH", help="an interpreter that exists, instead of BASELINE")
    add("--candidate-python", metavar="PATH", help="an interpreter that exists, instead of CANDIDATE")
    add(
        "--baseline-report",
        type=Path,
        metavar="JSON",
        help="an earlier conformance.json instead of BASELINE: numerics alone",
    )
    add("--framework", metavar="NAME", help=f"{', '.join(FRAMEWORKS)}: where that is not plain from what differs")
    add(
        "--spec",
        action="append",
        metavar="NETWORK",
        help=f"a shipped network or a spec, may be repeated; default: {', '.join(NETWORKS)}",
    )
    add("--dtype", choices=DTYPES, default="float32")
    add("--lowering", type=words(LOWERINGS), default=["native"], metavar="A,B", help="native, fast, or both")
    add("--mode", help="eager, compiled, xla, graphs; default: what users of the framework do")
    add("--batch", type=_numbers, default=[16], metavar="A,B", help="images of a timed step; default: 16")
    add(
        "--seeds", type=count, default=FEWEST_SEEDS, metavar="N", help=f"of weights and inputs; default: {FEWEST_SEEDS}"
    )
    add(
        "--gradients", type=_count_or_none, default=1, metavar="N",
        help="of how many of the seeds gradients are compared too, 0: of none; default: 1",
    )  # fmt: skip
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--numerics-only", action="store_true", help="no timing")
    only.add_argument("--speed-only", action="store_true", help="no comparison of numbers")
    add(
        "--looks",
        type=_looks,
        default=list(Plan().looks),
        metavar="A,B",
        help="after so many blocks there may be a verdict on speed",
    )
    add("--threads", type=count, metavar="N", help="of each worker; default: numerics all processors, speed one")
    add("--timeout", type=count, default=600, metavar="SECONDS", help="how long a worker may take over one answer")
    add(
        "--accepted",
        type=Path,
        default=accepted.FILE,
        metavar="TOML",
        help="changes that are accepted on purpose; default: Lockstep's own gate/accepted.toml",
    )
    return parser


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else count(text)


def _numbers(text: str) -> list[int]:
    return [count(word) for word in dict.fromkeys(text.split(","))]


def _looks(text: str) -> list[int]:
    looks = [count(word) for word in text.split(",")]
    if looks != sorted(set(looks)) or looks[0] < 6 or looks[-1] > 1000:
        raise ArgumentTypeError(
            f"expected growing numbers of blocks from 6 to 1000, such as 12,20,32, found {text!r:.80}"
        )
    return looks


def named_specs(options: Namespace) -> tuple[str, ...]:
    """The networks that are asked for, each once."""
    return tuple(dict.fromkeys(options.spec or NETWORKS))


def changed(options: Namespace, **values: object) -> Namespace:
    """The options with some of them replaced."""
    own: Mapping[str, object] = vars(options) | values
    return Namespace(**own)
