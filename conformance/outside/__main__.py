"""`python -m conformance.outside`: networks that nobody here wrote, beside the generated sources.

torchvision's own, and AlexNet written by hand in Keras 3 on each of its backends, all from the same weights. They are
workers of one environment, requirements/outside.txt, with torch as its makers publish it: torchvision refuses a build
for CPUs alone. Options that are not listed go to `python -m conformance`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conformance.__main__ import main as conform
from impls.environments import make
from impls.options import words
from spec.arguments import Arguments
from spec.exits import Exit, InputError, end
from spec.terminal import progress

REQUIREMENTS = Path(__file__).parents[2] / "requirements" / "outside.txt"

TORCHVISION = {"torchvision": "conformance.outside.run_torchvision"}
KERAS = {f"keras_{name}": f"conformance.outside.run_keras {name}" for name in ("torch", "jax", "tensorflow")}
#: The runners of each network, by its name: what they are called, and their programs.
RUNNERS: dict[str, dict[str, str]] = {
    "alexnet": KERAS,
    "alexnet_owt": TORCHVISION,
    "vgg11": TORCHVISION,
    "resnet18": TORCHVISION,
    "googlenet_torchvision": TORCHVISION,
}


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m conformance.outside", description=__doc__)
    add = parser.add_argument
    add("--networks", type=words(tuple(RUNNERS)), default=list(RUNNERS), metavar="A,B", help="default: all of them")
    add("--outside-python", metavar="PATH", help="an interpreter that has what requirements/outside.txt names")
    add("--report", type=Path, default=Path("reports/outside"), metavar="DIR", help="a folder a network is made there")
    options, rest = parser.parse_known_args(arguments)
    python = options.outside_python or _made()
    if not (os.access(python, os.X_OK) and Path(python).is_file()):
        raise InputError(f"--outside-python: expected an interpreter, found none at {python!r:.200}")
    codes = []
    for network in options.networks:
        runners = [f"--runner={name}={python} -m {program}" for name, program in RUNNERS[network].items()]
        given = ["--spec", network, "--lanes", "forward", "--weights", "scaled"]
        codes.append(conform([*given, *runners, "--report", str(options.report / network), *rest]))
    return max(codes)


def _made() -> str:
    """The interpreter of the environment, which is made where it is missing; raises NotRunError."""
    with progress() as tell, _published_builds():
        return str(make(REQUIREMENTS, "outside", tell))


@contextmanager
def _published_builds() -> Iterator[None]:
    """Leave aside the wheels of one machine, among which torch may be a build for CPUs alone."""
    kept = {name: os.environ.pop(name) for name in ("PIP_FIND_LINKS", "UV_FIND_LINKS") if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


if __name__ == "__main__":
    end(main)
