"""The sessions: each installs pinned requirements and calls a program of Lockstep; the programs hold the logic.

Without nox the same programs are `python -m conformance`, `python -m impls.generate`, …
"""

import atexit
import logging
import os
import shutil
import sys
from pathlib import Path

import nox

nox.needs_version = ">=2026.8.17"  # the first that tells a failed command's exit code
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["conformance"]

HERE = Path(__file__).parent

#: The exit codes of our programs (spec/exits.py). Any other, such as a signal's, remains nox's own 1.
OUR_EXIT_CODES = range(1, 5)

failures: list[int] = []


def run(session: nox.Session, *command: str) -> None:
    """Run a program so that its exit code becomes nox's own (left alone, nox ends every failure with 1).

    Its stderr remains stderr (left alone, nox writes it to stdout).
    """
    try:
        session.run(*command, stderr=None)
    except nox.command.CommandFailed as failure:
        if failure.return_code is not None and failure.return_code in OUR_EXIT_CODES:
            failures.append(failure.return_code)
        raise


@atexit.register
def end_with_first_failure() -> None:
    """End nox, which has nothing left to do, with the exit code of the first program that failed."""
    if failures:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(failures[0])


def install(session: nox.Session, group: str) -> None:
    """Install the pinned requirements of a group; `nox -R` skips this."""
    session.install("-r", f"requirements/{group}.txt")


@nox.session
def conformance(session: nox.Session) -> None:
    """Generate, run and compare a network in every framework."""
    install(session, "suite")
    run(session, "python", "-m", "conformance", "--locked", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run networks at random through every framework, and what failed before first."""
    install(session, "fuzz")
    run(session, "python", "-m", "conformance", "fuzz", "--locked", *session.posargs)


@nox.session
def outside(session: nox.Session) -> None:
    """Compare networks of torchvision and Keras, which nobody here wrote, too; its environment takes several GB."""
    install(session, "suite")
    run(session, "python", "-m", "conformance.outside", "--locked", *session.posargs)


@nox.session
def train(session: nox.Session) -> None:
    """Train a network in every framework from the same weights; by itself scikit-learn's digits, in minutes."""
    install(session, "train")
    run(session, "python", "-m", "conformance", "train", "--locked", *session.posargs)


@nox.session
def power(session: nox.Session) -> None:
    """Plant faults in every framework and count those that are caught; with `-- --clean N`, count false alarms."""
    install(session, "fuzz")
    run(session, "python", "-m", "conformance", "power", "--locked", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time a network's implementations side by side."""
    install(session, "bench")
    run(session, "python", "-m", "bench", "--locked", *session.posargs)


@nox.session
def gate(session: nox.Session) -> None:
    """Decide whether a framework upgrade may go in: `nox -s gate -- jax==0.9.2 jax==0.10.2`."""
    install(session, "ray" if any(word.partition("=")[0] == "--ray" for word in session.posargs) else "gate")
    run(session, "python", "-m", "gate", *session.posargs)


@nox.session
def generate(session: nox.Session) -> None:
    """Write the generated sources; with `-- --check`, show where they differ instead."""
    install(session, "suite")
    run(session, "python", "-m", "impls.generate", *session.posargs)


@nox.session
def schema(session: nox.Session) -> None:
    """Write the JSON Schema of the spec language; with `-- --check`, show where it differs instead."""
    install(session, "suite")
    run(session, "python", "-m", "spec", "schema", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the project's own tests."""
    install(session, "tests")
    # Two files at a time: most tests wait for processes of their own.
    run(session, "python", "-m", "pytest", *(session.posargs or ["-n", "2", "--dist", "loadfile"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, types, import rules, and that generated files are what their source gives."""
    install(session, "lint")
    run(session, "ruff", "check", ".")
    run(session, "ruff", "format", "--check", ".")
    run(session, "lint-imports")
    run(session, "python", "-m", "spec", "schema", "--check")
    run(session, "python", "-m", "impls.generate", "--check")
    run(session, "python", "-m", "conformance.operator_table", "--check")
    run(session, "mypy", ".")
    # A runner and a generated source are checked against their framework's own types, in its own environment.
    environments = session.run("python", "-m", "impls.environments", silent=True, stderr=None)
    for line in (environments or "").splitlines():
        framework, _, python = line.partition(": ")
        places = [f"impls/{what}_{framework}*.py" for what in ("run", "read", "write")]
        places.append(f"tests/impls/{framework}_*models.py")
        own = [path for place in (*places, f"impls/generated/*_{framework}*.py") for path in HERE.glob(place)]
        sources = sorted(str(path.relative_to(HERE)) for path in own)
        run(session, "mypy", f"--python-executable={python}", f"--cache-dir=.mypy_cache/{framework}", *sources)


@nox.session
def lock(session: nox.Session) -> None:
    """Renew requirements/*.txt from the groups of pyproject.toml."""
    if shutil.which("uv") is None:
        session.install("uv")
    run(session, "python", "-m", "requirements.renew", *session.posargs)
