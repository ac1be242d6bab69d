"""Interpreters that stand for environments: they say what is installed, and as a worker run NumPy."""

import json
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"jax": "1.0", "jaxlib": "1.0", "numpy": "2.4.6"}


def interpreter(
    folder: Path, name: str, worker: str = "", modules: tuple[str, ...] = (), runs: str = "", **packages: str
) -> str:
    """An executable with these packages; its worker has a fault (conformance.power.wrong_runner), and tells the version
    of jax that is among them, or that it `runs` another.
    """
    installed = PACKAGES | packages
    said = {
        "packages": installed,
        "modules": list(modules or ("jax", "jaxlib", "numpy")),
        "python": "3.11.0",
    }
    version = runs or installed["jax"]
    runner = shlex.join([sys.executable, "-m", "tests.gate.standin_worker", version, *([worker] if worker else [])])
    path = folder / name
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = - ]; then echo {shlex.quote(json.dumps(said))}; exit 0; fi\n'
        f"PYTHONPATH={shlex.quote(str(ROOT))} exec {runner}\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
    return str(path)
