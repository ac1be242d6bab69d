"""`python -m conformance train`: train a network in every framework, from the same weights on the same batches."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from conformance.lane import OUT_OF_SCOPE
from conformance.options import add_worker_options, entrants_of, seed_number
from conformance.participants import Entrant
from conformance.results import Outcome
from conformance.train.checkpoint import Checkpoint
from conformance.train.dataset import dataset_of
from conformance.train.markdown import markdown_text
from conformance.train.plan import Plan, Settings, plan_of, usual_threads
from conformance.train.progress import watching
from conformance.train.report import Report
from conformance.train.run import Run, train
from conformance.train.stages import alone, checkpoint_path, start_of, trained_path, write_trained
from conformance.train.terminal import show
from impls.frameworks import DEVICES, FRAMEWORKS, LOWERINGS, MODES, FrameworkName, Variant
from impls.options import count, words
from spec.arguments import Arguments
from spec.exits import Exit, NotRunError
from spec.files import write_all
from spec.load import load
from spec.terminal import progress

PICTURE = "train-curves.svg"


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    options = _parser().parse_args(arguments)
    report_folder = Path(options.report)
    network = load(options.spec)
    from conformance.train.curves import curves  # late: matplotlib takes a second, and a wrong spec is told sooner

    dataset = dataset_of(options.data, options.seed)
    threads = options.threads or usual_threads(network)
    settings = Settings(threads, options.timeout, options.epochs, options.checkpoint_steps)
    kept_out: list[FrameworkName] = [name for name in options.frameworks if name in OUT_OF_SCOPE]
    options.frameworks = [name for name in options.frameworks if name not in OUT_OF_SCOPE]
    with progress() as tell:
        plan = plan_of(network, dataset, options.seed, settings, tell)
        entrants = entrants_of(network, options, tell) if options.frameworks or options.runner else []
    with alone(report_folder):
        paths = [checkpoint_path(report_folder, network.name, entrant.variant) for entrant in entrants]
        starts = [start_of(path, plan, options.resume) for path in paths]
        try:
            runs = list(_runs(plan, list(zip(entrants, paths, starts, strict=True)), report_folder, options.at_most))
        except KeyboardInterrupt:
            raise NotRunError(
                f"interrupted; no report was written; go on from the checkpoints in {report_folder} with --resume"
            ) from None
    report = Report(plan, [*runs, *(_skipped(name, options) for name in kept_out)])
    drawn = [run for run in runs if run.epochs]
    pictures = {PICTURE: curves(f"training of {network.name}, seed {options.seed}", drawn)} if drawn else {}
    texts = {"train.json": report.json_text(), "train.md": markdown_text(report, list(pictures))}
    show(report, write_all(report_folder, texts | pictures))
    return report.exit


def _runs(
    plan: Plan, entrants: list[tuple[Entrant, Path, Checkpoint | None]], report_folder: Path, at_most: float | None
) -> Iterator[Run]:
    """Train one entrant after the other, so that each has all threads; what each has learned is written at once."""
    with watching(plan.epochs) as watch:
        for entrant, path, start in entrants:
            run = train(plan, entrant, path, start, watch)
            if run.parameters:
                write_trained(
                    trained_path(report_folder, plan.network.name, run.variant), plan.identity, run.parameters
                )
            yield _bounded(run, at_most)


def _parser() -> Arguments:
    parser = Arguments(prog="python -m conformance train", description=__doc__)
    add = parser.add_argument
    add("--spec", default="alexnet_digits", metavar="NETWORK", help="name of a shipped network, or path of a spec")
    add("--data", metavar="FOLDER", help="images, a folder a class; default: scikit-learn's digits")
    add(
        "--frameworks",
        type=words((*FRAMEWORKS, "none")),
        default=list(FRAMEWORKS),
        metavar="A,B",
        help="default: all that train",
    )
    add("--epochs", type=count, metavar="N", help="how far to go; default: as the recipe says")
    add("--seed", type=seed_number, default=0, metavar="N", help="of splits, weights, shuffles, masks and augmentation")
    add("--resume", action="store_true", help="go on from the checkpoints in the report's folder")
    add("--checkpoint-steps", type=count, metavar="N", help="a checkpoint every N steps, beside that of every epoch")
    add("--at-most", type=_percent, metavar="PERCENT", help="a test error above it fails")
    add("--device", choices=DEVICES, default="cpu")
    add("--dtype", choices=("float32", "tf32"), default="float32", help="tf32: products in TF32 (cuda)")
    add("--lowering", type=words(LOWERINGS), default=["native"], metavar="A,B", help="native, fast, or both")
    add("--report", default="reports", metavar="DIR", help="of report, checkpoints and trained weights")
    add_worker_options(parser, timeout_s=600)
    parser.set_defaults(threads=None)  # what is usual depends on the network
    return parser


def _percent(text: str) -> float:
    try:
        percent = float(text)
    except ValueError:
        percent = -1.0
    if not 0 <= percent <= 100:
        raise ArgumentTypeError(f"expected a share from 0 to 100, found {text!r:.80}")
    return percent


def _bounded(run: Run, at_most: float | None) -> Run:
    """The run, failed if its final error is above what was asked for."""
    if at_most is None or run.tested is None or run.tested.error_percent <= at_most:
        return run
    message = f"expected a test error of at most {at_most:g}% (--at-most), found {run.tested.error_percent:.2f}%"
    return replace(run, outcome=Outcome.FAILED, message=message)


def _skipped(name: FrameworkName, options: Namespace) -> Run:
    variant = Variant(name, options.device, options.dtype, MODES[name][0], options.lowering[0])
    return Run(variant, Outcome.SKIPPED, OUT_OF_SCOPE[name])
