"""`python -m gate BASELINE CANDIDATE`: may this framework upgrade go in? One verdict over numerics and speed.

`python -m gate list …` prints the cells of a matrix as JSON, `python -m gate merge REPORT.json …` joins their reports.
"""

import json
import signal
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from gate import calibration, cluster
from gate.calibrate import calibrate
from gate.matrix import listed
from gate.merge import merged
from gate.options import parsed
from gate.report import write
from gate.run import run
from gate.table import rate_text
from gate.terminal import show
from gate.verdict import Report
from spec.arguments import Arguments
from spec.exits import FULL, Exit, NotRunError, end
from spec.files import require_folder
from spec.terminal import progress

_Given = TypeVar("_Given")


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    match arguments[:1]:
        case ["list"]:
            print(json.dumps(listed(arguments[1:]), ensure_ascii=False))
            return Exit.PASSED
        case ["merge"]:
            return _merge(arguments[1:])
        case _ if cluster.asked(arguments) and not {"-h", "--help"} & set(arguments):
            return _stoppable(_on_ray, arguments)
        case _:
            return _stoppable(_gate, parsed(arguments))


def _gate(options: Namespace) -> Exit:
    if options.calibrate:
        with progress() as tell:
            found = calibrate(options, tell)
        calibration.store(found)
        print(rate_text(found))
        return Exit.PASSED
    folder = Path(options.report)
    require_folder(folder)
    with progress() as tell:
        own, finished = run(options, tell)
    report = Report((own,))
    files = write(report, folder)
    finished.close()
    show(report, files)
    return report.exit


def _on_ray(arguments: list[str]) -> Exit:
    with progress() as tell:
        report, folder = cluster.gate(arguments, tell)
    show(report, write(report, folder))
    return report.exit


def _merge(arguments: list[str]) -> Exit:
    parser = Arguments(prog="python -m gate merge", description="The reports of cells as one verdict.")
    parser.add_argument("reports", nargs="+", type=Path, metavar="REPORT.json")
    parser.add_argument("--cells", type=Path, metavar="JSON", help="what `gate list` printed: no cell may be missing")
    parser.add_argument("--report", default="reports", metavar="DIR")
    options = parser.parse_args(arguments)
    report = merged(options.reports, options.cells)
    show(report, write(report, Path(options.report)))
    return report.exit


def _stoppable(do: Callable[[_Given], Exit], given: _Given) -> Exit:
    """Do it; stopped by Ctrl-C, SIGTERM or a full disk, say that nothing is lost."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return do(given)
    except KeyboardInterrupt:
        raise NotRunError(
            "interrupted; no report was written; the same command goes on from what is finished"
        ) from None
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NotRunError(
            f"{error.filename or 'disk'}: expected room to write, found: {error.strerror}; no report was written; "
            f"the same command goes on from what is finished"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    end(main)
