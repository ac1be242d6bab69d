"""`python -m bench`: time a network's implementations side by side; `python -m bench compare A.json B.json`."""

import os
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path

from bench.compare import compare
from bench.environment import capture, steal_s
from bench.layers import time_layers
from bench.limits import measure_limits, raised
from bench.machine import Control
from bench.markdown import markdown_text
from bench.report import Report, write
from bench.terminal import show
from bench.timing import Contender, Plan, time_all
from bench.work import PASSES
from impls.client import framework_command
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS, LOWERINGS, MODES, Dtype, FrameworkName, Variant
from impls.generate import write_source
from impls.options import by_framework, count, named, pythons_of, words
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.files import require_folder
from spec.load import load
from spec.network import Network
from spec.terminal import progress

BATCHES = (1, 16, 64)
QUICK_BATCHES = (1, 16)

#: Has glibc ask for huge pages and keep the memory that it has. Else each large tensor that a framework allocates anew
#: costs a page fault every 4 KiB, which can take longer than its arithmetic.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=4000000000"}


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    if arguments[:1] == ["compare"]:
        return _compare(arguments[1:])
    options = _parser().parse_args(arguments)
    network = load(options.spec)
    require_folder(Path(options.report))
    if options.workload == "train_step" and network.training is None:
        raise InputError(f"--workload train_step: expected a network with the section 'training', found {network.name}")
    plan = Plan(
        workload=options.workload,
        batches=tuple(options.batch or (QUICK_BATCHES if options.quick else BATCHES)),
        rounds=3 if options.quick else options.rounds,
        chunk_s=0.2 if options.quick else options.chunk,
        threads=options.threads,
        timeout_s=options.timeout,
        seed=options.seed,
    )
    with progress() as tell:
        contenders = _contenders(network, options, tell)
        limits, control = measure_limits(contenders, plan, tell), Control(plan.threads)
        stolen = steal_s()
        rows = time_all(network, contenders, plan, control, tell)
        layers = None
        wanted = options.layers and not options.quick and plan.workload == "forward"
        if wanted and all(row.outcome != "incomplete" for row in rows):
            layers = time_layers(network, contenders, options.layers, plan, tell)
        limits = raised(limits, network, plan.workload, rows, layers)
        machine, stolen = capture(plan.threads), steal_s() - stolen
        report = Report(network, plan.workload, rows, limits, machine, control.spread, stolen, layers)
        drawn = _drawn(report)
    files: list[Path] = []
    try:
        files = write(report, Path(options.report), {"bench.md": markdown_text(report, list(drawn)), **drawn})
    finally:  # a disk that is full by now is no reason to lose what was measured
        show(report, files)
    return report.exit


def _compare(arguments: list[str]) -> Exit:
    parser = Arguments(prog="python -m bench compare", description="Ratios of two reports.")
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    options = parser.parse_args(arguments)
    compare(options.before, options.after)
    return Exit.PASSED


def _parser() -> Arguments:
    parser = Arguments(prog="python -m bench", description=__doc__)
    add = parser.add_argument
    add("--spec", default="alexnet", metavar="NETWORK", help="name of a shipped network, or path of a spec")
    add("--frameworks", type=words(FRAMEWORKS), default=list(FRAMEWORKS), metavar="A,B", help="default: all four")
    add("--device", type=words(DEVICES), default=["cpu"], metavar="A,B", help="cpu, cuda, or both")
    add("--dtype", type=words(DTYPES), default=["float32"], metavar="A,B", help="float32, bf16; on cuda also tf32")
    add("--lowering", type=words(LOWERINGS), default=list(LOWERINGS), metavar="A,B", help="native, fast, or both")
    add(
        "--mode", type=named, action="append", default=[], metavar="FRAMEWORK=MODE", help="instead of the usual; or all"
    )
    add("--workload", choices=tuple(PASSES), default="forward", help="train_step: loss, gradients, update")
    add("--batch", type=_batches, metavar="A,B", help="default: 1,16,64; with --quick 1,16")
    add("--rounds", type=count, default=5, metavar="N", help="how often each variant has its turn")
    add("--chunk", type=_seconds, default=0.5, metavar="SECONDS", help="how long a turn is; at least one call")
    add("--layers", type=_batch_or_none, default=16, metavar="N", help="batch at which layers are timed alone; 0: not")
    add("--quick", action="store_true", help="three short rounds: for a look, not for a decision")
    add(
        "--huge-pages",
        choices=("fast", "all", "none"),
        default="fast",
        help="whose processes keep memory, in huge pages: of the fast lowering, whose launch is part of it; all; none",
    )
    add("--seed", type=count, default=1, metavar="N", help="of weights, inputs and the order of turns")
    add(
        "--python", type=named, action="append", default=[], metavar="FRAMEWORK=PATH", help="an interpreter that exists"
    )
    add("--locked", action="store_true", help="make and use the environments of requirements/*.txt")
    add("--report", default="reports", metavar="DIR")
    add("--threads", type=count, default=os.cpu_count() or 1, metavar="N", help="threads of each worker")
    add("--timeout", type=count, default=600, metavar="SECONDS", help="how long a worker may take over one answer")
    return parser


def _batches(text: str) -> list[int]:
    return [count(word) for word in dict.fromkeys(text.split(","))]


def _batch_or_none(text: str) -> int:
    return 0 if text == "0" else count(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ArgumentTypeError(f"expected seconds above 0, found {text!r:.80}")
    return seconds


def _drawn(report: Report) -> dict[str, str]:
    """The pictures: none, and it is said, where matplotlib is missing."""
    try:
        from bench.pictures import pictures  # late: matplotlib takes a second, and a wrong spec is told sooner
    except ImportError as error:
        print(f"note: no pictures: expected matplotlib, found: {error}; see requirements/bench.txt", file=sys.stderr)
        return {}
    return pictures(report)


def _contenders(network: Network, options: Namespace, tell: Callable[[str], None]) -> list[Contender]:
    if "tf32" in options.dtype and "cuda" not in options.device:
        raise InputError("--dtype tf32: expected --device cuda beside it, found cpu, which has no TF32")
    modes = by_framework("--mode", options.mode)
    pythons = pythons_of(options.frameworks, options.python, options.locked, tell)
    contenders = []
    for framework in options.frameworks:
        for mode in _modes(framework, modes.get(framework)):
            for lowering in options.lowering:
                source = write_source(network, framework, lowering=lowering)
                for device in options.device:
                    for dtype in _dtypes(options.dtype, device):
                        variant = Variant(framework, device, dtype, mode, lowering)
                        command = framework_command(framework, pythons[framework])
                        settings = HUGE_PAGES if options.huge_pages in ("all", lowering) else {}
                        contenders.append(Contender(variant, tuple(command), source, settings))
    return contenders


def _dtypes(asked: list[Dtype], device: str) -> list[Dtype]:
    """Those that a device has: a CPU computes in float32 what a GPU does in TF32."""
    if device == "cuda":
        return asked
    return list(dict.fromkeys("float32" if dtype == "tf32" else dtype for dtype in asked))


def _modes(framework: FrameworkName, asked: str | None) -> tuple[str, ...]:
    known = MODES[framework]
    if asked is None:
        return known[:1]
    if asked == "all":
        return known
    if asked not in known:
        raise InputError(f"--mode: expected one of {', '.join(known)} or all for {framework}, found {asked!r:.80}")
    return (asked,)


if __name__ == "__main__":
    end(main)
