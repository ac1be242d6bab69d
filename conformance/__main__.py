"""`python -m conformance`: generate a network's implementations, run them, and compare them with the oracle.

`python -m conformance train` trains them; `python -m conformance claims` holds claims of the paper against small runs;
`python -m conformance power` plants faults, and counts which of them the suite catches.
"""

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from conformance.lane import LANES, PARTS, USUAL_LANES
from conformance.memory import require_memory
from conformance.options import add_worker_options, entrants_of, original_of, seed_number
from conformance.participants import Files, Settings
from conformance.report import Report
from conformance.results import Case
from conformance.suite import run
from conformance.terminal import show
from impls.frameworks import DEVICES, DTYPES, FRAMEWORKS, LOWERINGS
from impls.options import count, words
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.files import require_folder
from spec.inputs import InputKind
from spec.load import load
from spec.network import Network
from spec.own_weights import checked
from spec.store import Store
from spec.terminal import progress
from spec.weights import WeightSet


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    match arguments[:1]:
        case ["train"]:
            from conformance.train import command as train  # draws, and the suite does without matplotlib

            return train.main(arguments[1:])
        case ["claims"]:
            from conformance.claims import command as claims

            return claims.main(arguments[1:])
        case ["fuzz"]:
            from conformance.fuzz import command as fuzz  # the suite does without Hypothesis

            return fuzz.main(arguments[1:])
        case ["power"]:
            from conformance.power import command as power

            return power.main(arguments[1:])
    options = _parser().parse_args(arguments)
    network = load(options.spec)
    require_memory(network, options.batch)
    report_folder = Path(options.report)
    require_folder(report_folder)
    with progress() as tell:
        entrants = entrants_of(network, options, tell) + original_of(options, tell)
        cases = _cases(network, options, tell)
        settings = Settings(options.threads, options.timeout, progress=tell, repeats=options.repeats)
        parts = [part for part in PARTS if part.name in options.parts]
        columns = run(network, entrants, cases, settings, options.lanes, parts, options.training_seeds)
    report = Report(network, columns, options.threads)
    files: list[Path] = []
    try:
        files = report.write(report_folder)
    finally:  # a disk that is full by now is no reason to lose what was found
        show(report.fields(), network, files)
    return report.exit


def _parser() -> Arguments:
    parser = Arguments(prog="python -m conformance", description=__doc__)
    add = parser.add_argument
    add("--spec", default="alexnet", metavar="NETWORK", help="name of a shipped network, or path of a spec")
    add(
        "--frameworks",
        type=words((*FRAMEWORKS, "none")),
        default=list(FRAMEWORKS),
        metavar="A,B",
        help="default: all four",
    )
    add("--device", choices=DEVICES, default="cpu")
    add("--dtype", choices=DTYPES, default="float32", help="bf16: stored as bfloat16; tf32: products in TF32 (cuda)")
    add(
        "--lanes",
        type=words(LANES),
        default=list(USUAL_LANES),
        metavar="A,B",
        help=f"{', '.join(LANES)}; default: {', '.join(USUAL_LANES)}",
    )
    named = [part.name for part in PARTS]
    add("--parts", type=words(named), default=named, metavar="A,B", help=f"of the training lane: {', '.join(named)}")
    add("--training-seeds", type=count, metavar="N", help="of how many seeds the training lane is run; default: all")
    add("--lowering", type=words(LOWERINGS), default=["native"], metavar="A,B", help="native, fast, or both")
    add(
        "--weights",
        metavar="SETS",
        help="paper, scaled, or a safetensors file; default: paper (if the spec has it), scaled",
    )
    add("--original", metavar="MODEL.onnx", help="the file that --spec and --weights were imported from, run beside")
    add("--output-name", metavar="NAME", help="the value of --original that is the network's output, as for its import")
    add(
        "--inputs",
        type=words(get_args(InputKind)),
        default=["photographs"],
        metavar="KINDS",
        help="photographs, noise",
    )
    add("--batch", type=count, default=2, metavar="N")
    add("--seed", type=seed_number, default=0, metavar="N", help="of weights and inputs")
    add("--seeds", type=count, default=1, metavar="N", help="how many seeds, counted up from --seed")
    add("--repeats", type=count, default=1, metavar="N", help="run every trace N times: are its bits the same again?")
    add("--report", default="reports", metavar="DIR")
    add_worker_options(parser, timeout_s=300)
    return parser


def _cases(network: Network, options: Namespace, tell: Callable[[str], None]) -> list[Files]:
    store = Store()
    cases = []
    # Activations of the paper's weights are small: LRN's constants then move no bit of bfloat16.
    asked = options.weights or ("scaled" if options.dtype == "bf16" else None)
    for seed in range(options.seed, options.seed + options.seeds):
        for kind in options.inputs:
            for name, path in _weights(network, asked, seed, store, tell):
                case = Case(name, kind, seed, options.batch)
                cases.append(Files(case, path, store.input_file(network, kind, seed, options.batch)))
    return cases


def _weights(
    network: Network, asked: str | None, seed: int, store: Store, tell: Callable[[str], None]
) -> list[tuple[str, Path]]:
    known: tuple[WeightSet, ...] = get_args(WeightSet)
    if asked is None:
        asked = ",".join(known if network.training is not None else known[1:])
    if asked.endswith(".safetensors"):
        return [(Path(asked).stem, checked(network, Path(asked)))]
    named = []
    for word in asked.split(","):
        weight_set = next((name for name in known if name == word), None)
        if weight_set is None:
            raise InputError(f"--weights: expected {', '.join(known)} or a .safetensors file, found {word!r:.80}")
        tell(f"{weight_set} weights, seed {seed}")
        named.append((str(weight_set), store.weights_file(network, weight_set, seed)))
    return named


if __name__ == "__main__":
    end(main)
