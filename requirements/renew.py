"""Renew the pins beside this file, each from its group in pyproject.toml: `nox -s lock`.

A pin holds on every Python that pyproject.toml allows and on Linux and macOS alike (markers where they differ).
"""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from impls.environments import for_uv
from spec.exits import Exit, InputError, NotRunError, end

HERE = Path(__file__).parent
PYPROJECT = HERE.parent / "pyproject.toml"

#: In this order, because the later ones build upon the pins of the suite.
GROUPS = tuple("suite torch jax tensorflow onnx outside tests lint bench train fuzz gate ray nox".split())

#: Groups that share an environment with the suite, so that one pin must hold for both.
WITH_SUITE = ("tests", "lint", "bench", "train", "fuzz", "gate", "ray")

#: What torch's CUDA build pins itself, exactly, and its CPU build does without: a pin here would force CUDA on both.
PINNED_BY_TORCH = ("cuda-", "nvidia-", "triton")

#: Where one machine finds builds of its own (such as torch's CPU build) must not colour pins that are for all.
PLACES = ("PIP_FIND_LINKS", "UV_FIND_LINKS")


def renew(group: str, uv: str) -> int:
    """Write the newest pins of `group` and return how many there are; raises NotRunError."""
    command = [uv, "pip", "compile", "--quiet", "--universal", "--no-header", "--no-annotate", "--fork-strategy=fewest"]
    command += [f"--python-version={oldest_python()}", f"--group={PYPROJECT}:{group}"]
    command += [f"--constraint={HERE / 'held-back.txt'}"]
    if group in WITH_SUITE:
        command += [f"--constraint={HERE / 'suite.txt'}"]
    if group == "ray":  # what tells the cells to a cluster, and what runs them there
        command += [f"--constraint={HERE / 'gate.txt'}"]
    environment = for_uv({name: value for name, value in os.environ.items() if name not in PLACES})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise NotRunError(
            f"pyproject.toml: expected versions that suit the group {group!r}, uv found none: {done.stderr}"
        )
    pins = [line for line in done.stdout.splitlines() if not line.startswith(PINNED_BY_TORCH)]
    header = f"# Made by `nox -s lock` from the group {group!r} of pyproject.toml. Do not edit."
    (HERE / f"{group}.txt").write_text("\n".join([header, *pins]) + "\n", encoding="utf-8")
    return len(pins)


def oldest_python() -> str:
    """The oldest Python that pyproject.toml allows."""
    allowed: str = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["requires-python"]
    return allowed.partition(",")[0].removeprefix(">=")


def main(arguments: list[str]) -> Exit:
    """Renew every file, or those of the groups named on the command line."""
    unknown = sorted(set(arguments) - set(GROUPS))
    if unknown:
        raise InputError(f"{unknown[0]!r:.200}: expected a group, one of {', '.join(GROUPS)}")
    uv = shutil.which("uv")
    if uv is None:
        raise NotRunError("expected uv on the path, found none; `nox -s lock` installs it")
    for group in arguments or GROUPS:
        print(f"requirements/{group}.txt: {renew(group, uv)} pins")
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
