"""One virtual environment a framework, made from its pinned requirements and kept for the next run.

An environment is named by the content of its requirements, the Python and the platform, so a changed pin makes a new
one and never changes an old one. It is made with uv where uv is present, else with venv and pip. Run as a program, this
makes the environments named on the command line (default: all) and prints where each one's Python is.
"""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from impls.frameworks import FRAMEWORKS
from spec.exits import Exit, InputError, NotRunError, end, one_line, shortened

Progress = Callable[[str], None]

_ROOT = Path(__file__).parents[1]

#: Written last into an environment: one without it was interrupted, and is made anew.
_COMPLETE = ".complete"

#: What uv calls the things that a user has told pip. pip separates places by blanks, uv by commas.
_UV_NAMES = {
    "PIP_CERT": "SSL_CERT_FILE",
    "PIP_EXTRA_INDEX_URL": "UV_INDEX",
    "PIP_FIND_LINKS": "UV_FIND_LINKS",
    "PIP_INDEX_URL": "UV_DEFAULT_INDEX",
}


def interpreter(framework: str, progress: Progress) -> Path:
    """The Python of `framework`'s environment, which is made first where it is missing; raises NotRunError."""
    if framework not in FRAMEWORKS:
        raise InputError(f"{framework!r:.200}: expected a framework, one of {', '.join(FRAMEWORKS)}")
    return make(_ROOT / "requirements" / f"{framework}.txt", framework, progress)


def interpreters(frameworks: Sequence[str], progress: Progress) -> dict[str, str]:
    """The Python of each of `frameworks`, made several at once where they are missing; raises NotRunError."""
    with ThreadPoolExecutor(max(1, len(frameworks))) as pool:
        pythons = pool.map(lambda framework: str(interpreter(framework, progress)), frameworks)
        return dict(zip(frameworks, pythons, strict=True))


def make(requirements: Path, name: str, progress: Progress) -> Path:
    """The Python of an environment that holds `requirements`, made first where it is missing; raises NotRunError.

    `name` is what people read; what tells one environment from another is the content of `requirements`.
    """
    try:
        folder = _folder(requirements, name)
        python = folder / "bin" / "python"
        if _is_complete(folder):
            return python
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder.with_name(f"{folder.name}.lock"), name, progress) as lock:
            if not _is_complete(folder):
                _make_anew(folder, requirements, name, progress, lock)
    except OSError as error:
        raise NotRunError(f"the environment for {name} could not be made: {error}") from None
    return python


def for_uv(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with what it tells pip (index, certificates, local wheels) told to uv too."""
    told = dict(environment)
    for pip_name, uv_name in _UV_NAMES.items():
        if pip_name in environment and uv_name not in environment:
            value = environment[pip_name]
            told[uv_name] = ",".join(value.split()) if uv_name == "UV_FIND_LINKS" else value
    return told


def place() -> Path:
    """The folder that holds all environments."""
    return Path(os.environ.get("LOCKSTEP_ENVIRONMENTS") or _ROOT / "build" / "environments").absolute()


def _folder(requirements: Path, name: str) -> Path:
    """Where the environment for these requirements is, or would be."""
    content = "\n".join([requirements.read_text(encoding="utf-8"), sys.version, sysconfig.get_platform()])
    return place() / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"


def _is_complete(folder: Path) -> bool:
    """Whether the environment was made to the end, and the Python that it was made from is still there."""
    return (folder / _COMPLETE).is_file() and (folder / "bin" / "python").exists()


@contextmanager
def _lock(path: Path, name: str, progress: Progress) -> Iterator[int]:
    """Hold the file `path` for this process and thread alone; yields its descriptor."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress(f"{name}: waiting for another run, which is making this environment")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def _make_anew(folder: Path, requirements: Path, name: str, progress: Progress, lock: int) -> None:
    """Make the environment in `folder`, over whatever an interrupted run left there."""
    if folder.exists():
        progress(f"{name}: removing an environment that was not finished")
        shutil.rmtree(folder)
    installer = "uv" if uv_command() else "pip"
    progress(f"{name}: making its environment with {installer}, once")
    started_s = time.monotonic()
    try:
        for command in _commands(folder, requirements):
            _run(command, name, lock)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _COMPLETE).touch()
    progress(f"{name}: environment made in {time.monotonic() - started_s:.0f} s")


def _commands(folder: Path, requirements: Path) -> list[list[str]]:
    """The commands that make an environment: uv where present, else venv and pip.

    The pip of the running Python installs into the other one, which saves a pip in each environment and needs no
    ensurepip (some systems ship Python without it). A Python without pip has to bring ensurepip.
    """
    python = str(folder / "bin" / "python")
    uv = uv_command()
    if uv:
        return [
            [*uv, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder)],
            [*uv, "pip", "install", "--quiet", "--python", python, "--requirement", str(requirements)],
        ]
    # Without --no-compile, pip compiles every file of a framework: about as long as the installation itself.
    install = ["install", "--quiet", "--no-compile", "--no-input", "--requirement", str(requirements)]
    if importlib.util.find_spec("pip"):
        return [
            [sys.executable, "-m", "venv", "--without-pip", str(folder)],
            [sys.executable, "-m", "pip", "--python", python, *install],
        ]
    return [[sys.executable, "-m", "venv", str(folder)], [python, "-m", "pip", *install]]


def uv_command() -> list[str]:
    """The command that runs uv, empty where there is none."""
    found = shutil.which("uv")
    if found:
        return [found]
    return [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else []


def _run(command: list[str], name: str, lock: int) -> None:
    """Run one command; raises NotRunError with its last meaningful line.

    The command inherits the lock: where this process is killed and the command goes on, no other run starts over it.
    """
    done = subprocess.run(
        command,
        env=for_uv(os.environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(lock,),
        check=False,
    )
    if done.returncode != 0:
        said = cause(done.stdout.decode("utf-8", errors="replace"))
        raise NotRunError(f"the environment for {name} could not be made: {said or f'exit code {done.returncode}'}")


def cause(output: str) -> str:
    """What pip or uv gives as the cause: pip's last ERROR line, or uv's error from its first line on."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    if errors:
        said = errors[-1].removeprefix("ERROR:")
        if "WARNING: Retrying" in output:  # pip's error then speaks of the package, not of the network
            said += " (the package index did not answer)"
    else:
        first = next((i for i, line in enumerate(lines) if line.lstrip().startswith(("error:", "×", "╰─▶"))), -1)
        said = " ".join(lines[first:]).removeprefix("error:") if lines else ""
    return shortened(one_line(said.replace("╰─▶", "").replace("×", "")))


def main(arguments: list[str]) -> Exit:
    """Make the environments of the frameworks named, several at once, and print each one's Python."""
    frameworks = arguments or list(FRAMEWORKS)
    for framework in frameworks:
        if framework not in FRAMEWORKS:
            raise InputError(f"{framework!r:.200}: expected a framework, one of {', '.join(FRAMEWORKS)}")

    def progress(message: str) -> None:
        sys.stderr.write(f"{message}\n")  # one write, so that lines of several threads stay whole

    for framework, python in interpreters(frameworks, progress).items():
        print(f"{framework}: {python}")
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
