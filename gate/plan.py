"""What is timed, how much, and from where on a difference counts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from gate.results import Quantity
from impls.frameworks import Variant
from spec.network import Network


@dataclass(frozen=True)
class Cell:
    """One variant of one network at one batch."""

    network: Network
    variant: Variant
    batch: int

    @property
    def key(self) -> str:
        """What no other cell has."""
        return f"{self.network.sha256} {self.variant} {self.batch}"

    def __str__(self) -> str:
        return f"{self.network.name}, {self.variant}, batch {self.batch}"


@dataclass(frozen=True)
class Threshold:
    """From where on a change of a quantity is `SLOWER`, and below what it is `OK`: ratios, candidate over baseline."""

    slower: float
    """`SLOWER` needs an estimate of at least this."""
    ok: float
    """`OK` needs an upper limit below this."""
    least: float
    """A change that is smaller than this, in seconds or bytes, is `OK` whatever its ratio."""
    reason: str


#: Each quantity has thresholds of its own: they are as wide as what nobody would act on, or what one process can show.
THRESHOLDS: Mapping[Quantity, Threshold] = {
    Quantity.STEADY: Threshold(1.02, 1.03, 0.0, "what a step costs is paid millions of times"),
    Quantity.FIRST_CALL: Threshold(1.10, 1.20, 0.020, "once a process, and one sample a block"),
    Quantity.BUILD: Threshold(1.10, 1.20, 0.020, "once a process, and one sample a block"),
    Quantity.IMPORT: Threshold(1.10, 1.20, 0.050, "once a process; reads files, which the system caches"),
    Quantity.MEMORY: Threshold(1.03, 1.05, 2.0**20, "hardly varies; allocators round up"),
}


@dataclass(frozen=True)
class Plan:
    """How much is measured, and how sure a verdict must be."""

    workload: str = "forward"
    threads: int = 1
    timeout_s: float = 600.0
    seed: int = 1
    turns: int = 10
    """Pairs of neighbouring chunks in a block; a cell whose steps are long has fewer, at least three."""
    chunk_s: float = 0.06
    """How long a chunk lasts; at least one call."""
    cell_s: float = 4.0
    """How long the chunks of one cell may take in one block."""
    looks: tuple[int, ...] = (12, 20, 32)
    """After so many blocks there may be a verdict."""
    shared: bool = False
    """Whether all cells are measured in one process a side, one after the other. Starting is then paid once; but a
    cell's peak of memory includes those before it, and the first cell alone bears what a framework does once."""
    alpha: float = 0.05
    """How often, at most, a `SLOWER` may be wrong before it is confirmed, over all looks and cells; and so an `OK`."""

    @property
    def conditions(self) -> str:
        """All of it that decides how often a verdict is wrong, in a line."""
        fields = asdict(self) | {"looks": ",".join(map(str, self.looks))}
        return "; ".join(f"{name} {value}" for name, value in fields.items() if name not in ("seed", "timeout_s"))
