"""`python -m gate --calibrate`: how often this runner sees a slow-down where there is none."""

from argparse import Namespace
from collections.abc import Callable

from gate import calibration
from gate.environments import installed_in, installed_where_asked
from gate.options import cells_of, plan_of
from gate.packages import FRAMEWORK_OF, framework_of
from gate.results import Calibration, Side
from impls.environments import interpreter
from impls.frameworks import FrameworkName
from spec.exits import InputError
from spec.load import load

#: False alarms come from the machine: the framework that starts quickest and a small network show most of them.
FRAMEWORK: FrameworkName = "onnx"
NETWORK = "alexnet_narrow"


def calibrate(options: Namespace, tell: Callable[[str], None]) -> Calibration:
    """An environment against itself, until there are enough verdicts; raises InputError and NotRunError."""
    if options.sides or options.candidate_python or options.baseline_report:
        raise InputError(
            "--calibrate: expected no sides, which are one and the same here, found some; --framework or "
            "--baseline-python say what is timed"
        )
    side, framework = _side(options, tell)
    plan = plan_of(options)
    calibration.read(calibration.conditions_of(framework, options.device, plan))  # better now than after minutes
    cells = cells_of(options, framework, map(load, dict.fromkeys(options.spec or (NETWORK,))))
    journal = calibration.place().with_suffix(".jsonl")
    if options.fresh:
        journal.unlink(missing_ok=True)
    found = calibration.calibrate(framework, side, cells, plan, options.verdicts, tell, journal)
    journal.unlink(missing_ok=True)
    return found


def _side(options: Namespace, tell: Callable[[str], None]) -> tuple[Side, FrameworkName]:
    python = options.baseline_python
    if python is None:
        framework = framework_of((), options.framework or FRAMEWORK)
        python = str(interpreter(framework, tell))
        label = f"requirements/{framework}.txt"
        return Side("baseline", label, python, installed_in(python).packages), framework
    packages = installed_where_asked("baseline", python).packages
    framework = framework_of([name for name in packages if name in FRAMEWORK_OF], options.framework)
    return Side("baseline", python, python, packages), framework
