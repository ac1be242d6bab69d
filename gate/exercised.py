"""That an upgrade is exercised: a worker runs the version that is installed in its side's environment."""

from packaging.version import InvalidVersion, Version

from gate.packages import provided_by
from gate.results import Side
from gate.stored import MAIN
from impls.frameworks import FrameworkName
from spec.exits import NotRunError


def require_installed(side: Side, framework: FrameworkName, told: str) -> None:
    """Raise NotRunError where a worker tells another version of its framework than is installed for its side.

    Nothing is known of a side without packages, nor of a worker that tells no version since it did not start.
    """
    installed = {name: own for name, own in side.packages.items() if provided_by(name) == MAIN[framework]}
    if told and installed and _public(told) not in map(_public, installed.values()):
        names = ", ".join(f"{name} {version}" for name, version in installed.items())
        raise NotRunError(
            f"the upgrade was not exercised: {side.name}: expected the worker to run {names}, which is installed for "
            f"{side.python}, found that it runs {told}; does PYTHONPATH or a .pth file lead elsewhere?"
        )


def _public(version: str) -> str:
    """The version without what a build adds to it: `2.15.0` of `2.15.0+cu128`."""
    try:
        return Version(version).public
    except InvalidVersion:
        return version
