"""The specs that once failed, as files: each is replayed before anything new is tried."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from conformance.results import Case
from spec.exits import InputError, one_line, shortened
from spec.files import write_all
from spec.load import load
from spec.network import Network
from spec.yaml_text import network_text

SHIPPED = Path(__file__).with_name("corpus")
SUFFIX = ".yaml"
LONGEST_REMARK = 300
_CASE = re.compile(r"^# .*?\bcase (\d{1,19}):", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One spec that failed, and the seed of the weights and input with which it did."""

    path: Path
    network: Network
    case: Case


def case_of(seed: int) -> Case:
    """The case of a seed: noise, which fits any input, and weights that keep its scale."""
    return Case("scaled", "noise", seed, 2)


def entries(folders: Sequence[Path]) -> list[Entry]:
    """All specs of the folders that are there, by name; raises InputError for one that is no spec."""
    return [entry(path) for folder in folders for path in sorted(folder.glob(f"*{SUFFIX}"))]


def entry(path: Path) -> Entry:
    """One spec, with the seed that its comment names (0 where it names none)."""
    network = load(path)
    found = _CASE.search(path.read_text(encoding="utf-8"))
    return Entry(path, network, case_of(int(found[1]) if found else 0))


def save(network: Network, seed: int, case: Case, what: str, folder: Path) -> Path:
    """Write a spec that failed; `what` is how. It is named for its content, and so is its file."""
    named = network.model_copy(update={"name": f"fuzz_{network.sha256[:8]}"})
    remark = shortened(one_line(f"Network {seed}, case {case.seed}: {what}"), LONGEST_REMARK)
    _, _, text = network_text(named, remark).partition("\n")  # without the place of the schema, which differs
    (path,) = write_all(folder, {f"{named.name}{SUFFIX}": text})
    return path


def require_replayed(folder: Path) -> Path:
    """The folder that a user names; raises InputError where there is none."""
    if not folder.is_dir():
        raise InputError(
            f"--replay {folder}: expected a folder of specs, found none; leave it out for the shipped ones"
        )
    return folder
