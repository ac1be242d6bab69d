"""What a hostile case is: what it leaves in an empty folder, the command it is given to, and what the one line says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.spec.networks import SMALL, changed

#: The file that comes to be in the folder of a case where anything that stands in a hostile file is executed.
CANARY = "canary"

#: A runner that is there only to leave a trace if it is ever started. A hostile case never gets so far.
RUNNER = ("--frameworks", "none", "--runner", f"mine=touch {CANARY}")

SPEC = "spec.yaml"
WEIGHTS = "mine.safetensors"

Cases = dict[str, "Hostile"]


@dataclass(frozen=True)
class Hostile:
    """A command that has to end with exit code 2 and one line."""

    leaves: Callable[[Path], object]
    """Puts the files of the case into its folder, which is empty."""
    says: str
    """Part of the line."""
    arguments: tuple[str, ...] = ("--spec", SPEC, *RUNNER)
    program: str = "conformance"


def file(content: str | bytes, says: str) -> Hostile:
    """A spec file that holds `content`."""
    return Hostile(lambda folder: (folder / SPEC).write_bytes(encoded(content)), f"{SPEC}:{says}")


def edited(old: str, new: str, says: str) -> Hostile:
    """The small spec with `old`, which is there once, replaced."""
    return file(changed((old, new)), says)


def weights(content: bytes, says: str) -> Hostile:
    """The small spec as it should be, with weights that hold `content`."""
    return weights_at(lambda path: path.write_bytes(content), says)


def weights_at(make: Callable[[Path], object], says: str) -> Hostile:
    """The small spec as it should be, with weights that `make` puts at a path."""

    def leaves(folder: Path) -> None:
        (folder / SPEC).write_text(SMALL, encoding="utf-8")
        make(folder / WEIGHTS)

    return Hostile(leaves, says, ("--spec", SPEC, "--weights", WEIGHTS, *RUNNER))


def encoded(content: str | bytes) -> bytes:
    """Text as UTF-8; bytes as they are."""
    return content if isinstance(content, bytes) else content.encode()
