"""What is no regular file, or not where it seems to be, given as a spec or as weights."""

import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from tests.hostile.case import CANARY, RUNNER, SPEC, WEIGHTS, Cases, Hostile, weights_at
from tests.spec.networks import SMALL

NO_FILE = "expected a spec file, found no regular file"
NEITHER = "expected a spec file or one of"
LOOP = "expected a readable spec file, found: Too many levels of symbolic links"
TERABYTE = 2**40


def spec_at(make: Callable[[Path], object], says: str) -> Hostile:
    """A spec that `make` puts at a path."""
    return Hostile(lambda folder: make(folder / SPEC), f"{SPEC}: {says}")


def named(name: str, says: str) -> Hostile:
    """A spec by a name or path, in a folder that holds none."""
    return Hostile(lambda _: None, says, ("--spec", name, *RUNNER))


def link(target: str) -> Callable[[Path], None]:
    """Makes a symbolic link to `target`."""
    return lambda path: path.symlink_to(target)


def chain(path: Path) -> None:
    """Make a link to a link to … a file, more than a system follows."""
    for number in range(100):
        path.with_name(f"{path.name}{number or ''}").symlink_to(f"{path.name}{number + 1}")
    path.with_name(f"{path.name}100").write_text(SMALL, encoding="utf-8")


def pipe_behind_a_link(path: Path) -> None:
    """Make a link to a pipe at which nobody writes."""
    os.mkfifo(path.with_name("pipe"))
    path.symlink_to("pipe")


def listening(path: Path) -> None:
    """Leave a socket."""
    folder = os.open(path.parent, os.O_RDONLY)  # the path of a socket may be 100 characters long, and no more
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def sparse(path: Path) -> None:
    """Leave a file of a terabyte that takes no room."""
    with path.open("wb") as file:
        file.truncate(TERABYTE)


CASES: Cases = {
    # Specs that are no regular file.
    "folder": spec_at(Path.mkdir, "expected a spec file, found a folder"),
    "pipe": spec_at(os.mkfifo, NO_FILE),
    "pipe behind a link": spec_at(pipe_behind_a_link, NO_FILE),
    "endless device": named("/dev/zero", f"/dev/zero: {NO_FILE}"),
    "endless device behind a link": spec_at(link("/dev/zero"), NO_FILE),
    "random device behind a link": spec_at(link("/dev/urandom"), NO_FILE),
    "empty device": named("/dev/null", f"/dev/null: {NO_FILE}"),
    "standard input": named("/dev/stdin", f"/dev/stdin: {NO_FILE}"),
    "folder behind a link": spec_at(link("/"), "expected a spec file, found a folder"),
    "link to itself": Hostile(lambda folder: link(SPEC)(folder / SPEC), f"'{SPEC}': {LOOP}"),
    "two links to each other": Hostile(
        lambda folder: (link("other")(folder / SPEC), link(SPEC)(folder / "other")), f"'{SPEC}': {LOOP}"
    ),
    "link to nowhere": Hostile(lambda folder: link("nowhere")(folder / SPEC), f"'{SPEC}': {NEITHER}"),
    "hundred links": Hostile(lambda folder: chain(folder / SPEC), f"'{SPEC}': {LOOP}"),
    "terabyte": spec_at(sparse, f"expected a spec of at most 524288 bytes, found {TERABYTE}"),
    # Specs by a name.
    "passwords": named("../../../../../../../../../../etc/passwd", "etc/passwd:"),
    "way up": named("../" * 300 + SPEC, NEITHER),
    "way through a file": Hostile(
        lambda folder: (folder / SPEC).write_text(SMALL, encoding="utf-8"), NEITHER, ("--spec", f"{SPEC}/x", *RUNNER)
    ),
    "shipped network with a way up": named("../networks/alexnet", NEITHER),
    "name too long": named("a" * 5000, "File name too long"),
    "path too long": named("a/" * 5000, "File name too long"),
    "no name": named("", "expected a spec file, found a folder"),
    "address": named("https://localhost/spec.yaml", NEITHER),
    "address of a file": named("file:///etc/passwd", NEITHER),
    "home": named("~/spec.yaml", NEITHER),
    "variable": named("$HOME/spec.yaml", NEITHER),
    "command": named(f"$(touch {CANARY})", NEITHER),
    "piped command": named(f"|touch {CANARY}", NEITHER),
    "pattern": named("*.yaml", NEITHER),
    "option": named("--report=x", "expected one argument"),
    "line break in a file's name": Hostile(
        lambda folder: (folder / "a\nb.yaml").write_text(""),
        "a b.yaml:1: expected a mapping",
        ("--spec", "a\nb.yaml", *RUNNER),
    ),
    "escape in a file's name": Hostile(
        lambda folder: (folder / "a\x1b[2J.yaml").write_text(""),
        r"a\x1b[2J.yaml:1:",
        ("--spec", "a\x1b[2J.yaml", *RUNNER),
    ),
    # Weights.
    "folder of weights": weights_at(Path.mkdir, f"{WEIGHTS}: expected a regular file, found a folder"),
    "pipe of weights": weights_at(os.mkfifo, f"{WEIGHTS}: expected a regular file, found none"),
    "pipe of weights behind a link": weights_at(pipe_behind_a_link, f"{WEIGHTS}: expected a regular file, found none"),
    "endless weights": weights_at(link("/dev/zero"), f"{WEIGHTS}: expected a regular file, found none"),
    "weights that link to themselves": weights_at(link(WEIGHTS), f"{WEIGHTS}"),
    "weights that are nowhere": weights_at(lambda _: None, f"'{WEIGHTS}'"),
    "weights of a terabyte": weights_at(sparse, f"{WEIGHTS}: expected a JSON header"),
}

#: What only Linux has, or lets a test make.
if sys.platform == "linux":
    CASES |= {
        "socket": spec_at(listening, NO_FILE),
        "memory of the process": named("/proc/self/mem", "/proc/self/mem: expected a readable file"),
        "environment of the process": named("/proc/self/environ", "/proc/self/environ:1: expected "),
    }
