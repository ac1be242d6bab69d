"""What gates found, without one having been run: a report of one network, changed as a test needs it."""

from dataclasses import replace
from typing import Any

from gate.results import (
    Calibration,
    Change,
    Conditions,
    Effect,
    EntryUse,
    Finding,
    Numerics,
    NumericVerdict,
    Quantity,
    Side,
    Sides,
    Speed,
    SpeedVerdict,
    TapDrift,
)
from gate.verdict import Report, Run
from impls.frameworks import Variant

VARIANT = Variant("jax", "cpu", "float32", "compiled", "native")
SIDES = Sides(
    "jax",
    Side("baseline", "jax==0.9.2", "/old/python", {"jax": "0.9.2", "jaxlib": "0.9.2", "numpy": "2.4.6"}),
    Side("candidate", "jax==0.10.2", "/new/python", {"jax": "0.10.2", "jaxlib": "0.10.2", "numpy": "2.4.6"}),
    (Change("jax", "0.9.2", "0.10.2", True), Change("jaxlib", "0.9.2", "0.10.2", False)),
)
CALIBRATION = Calibration(
    Conditions("a machine", "jax", "cpu", "threads 1; looks 12,20,32"), ("alexnet_narrow, batch 16",), 60, 0, 3, 0.0487
)
MACHINE = {"processor": "a processor", "cores": "2", "platform": "a system", "device": "none"}


def tap(name: str = "conv3", verdict: NumericVerdict = NumericVerdict.IDENTICAL, **changes: Any) -> TapDrift:
    own = TapDrift(
        name, "conv", "local", verdict, verdict is NumericVerdict.IDENTICAL, True, 21.4, 21.4, "float32", "float32",
        3.4, 3.4, verdict is not NumericVerdict.IDENTICAL, "noise units",
    )  # fmt: skip
    return replace(own, **changes)


def numerics(verdict: NumericVerdict = NumericVerdict.IDENTICAL, network: str = "alexnet", **changes: Any) -> Numerics:
    """Of two taps, the second of which has the verdict."""
    moved = tap("conv3", verdict, **changes)
    first = moved if verdict is not NumericVerdict.IDENTICAL else None
    return Numerics(network, VARIANT, verdict, first, (tap("conv2"), moved), 10, f"because of {verdict}")


def effect(verdict: SpeedVerdict = SpeedVerdict.OK, quantity: Quantity = Quantity.STEADY, **changes: Any) -> Effect:
    return replace(Effect(quantity, verdict, 1.001, 0.99, 1.012, 12, 1, 0.034, 0.5), **changes)


def speed(*effects: Effect, network: str = "alexnet", batch: int = 16) -> Speed:
    return Speed(network, VARIANT, batch, effects or (effect(),))


def entry_use(line: str = "accepted.toml:3: old", is_needed: bool = False, networks: tuple[str, ...] = ()) -> EntryUse:
    return EntryUse(line, networks, is_needed)


def run(*parts: Numerics | Speed, **changes: Any) -> Run:
    found = Finding(
        SIDES,
        tuple(part for part in parts if isinstance(part, Numerics)),
        tuple(part for part in parts if isinstance(part, Speed)),
        None,
        MACHINE,
    )
    names = dict.fromkeys(part.network for part in parts)
    specs = {name: name for name in names}
    own = {name: changes.pop(name) for name in list(changes) if name in ("sides", "entries", "calibration")}
    whole = Run(replace(found, **own), ("jax==0.9.2", "jax==0.10.2"), specs, "cpu", (), 61.0)
    return replace(whole, **changes)


def report(*parts: Numerics | Speed, **changes: Any) -> Report:
    return Report((run(*parts, **changes),))
