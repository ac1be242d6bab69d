"""Reports of conformance that no run made: a small network of three taps, seen in two weight sets and five seeds."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gate.reported import Reported, read
from gate.results import Numerics

CASES = [f"{weights}-photographs-seed{seed}-batch2" for weights in ("paper", "scaled") for seed in range(5)]
OPERATORS = {"conv1": "conv", "norm1": "lrn", "relu1": "relu"}
UNITS = {"conv1": "noise units", "norm1": "ULP", "relu1": "off"}
RMS = {"conv1": 4.0, "norm1": 0.6, "relu1": 0.0}

Fields = dict[str, Any]
Change = Callable[[Fields], Fields | None]


def result(tap: str, check: str, case: str) -> Fields:
    """A result that passed, as conformance.json has it; the error varies a little from seed to seed."""
    local = check == "local"
    seed = int(case.split("seed")[1].split("-")[0])
    rms = (RMS[tap] if local else 3e-7) * (1.0 + 0.01 * (seed - 2))
    noise = rms if local and tap == "conv1" else None
    return {
        "network": "small", "framework": "jax", "device": "cpu", "dtype": "float32", "mode": "compiled",
        "lowering": "native", "version": "0.9.2", "case": case, "tap": tap, "check": check, "outcome": "passed",
        "operator": OPERATORS[tap], "noise_rms": noise, "noise_max": None if noise is None else 5 * noise,
        "effective_bits": None if rms == 0.0 else 21.5, "worst": 5 * rms, "rms": rms,
        "unit": UNITS[tap] if local else "of the usual",
        "digest": f"{check}-{tap}-{case}", "repeatable": True, "repeat_rms": 0.0, "message": "",
    }  # fmt: skip


def gradient(tap: str, check: str, case: str, **changes: Any) -> Fields:
    """A gradient that is right, as conformance.json has it."""
    own = {
        "operator": "conv",
        "rms": 3.0,
        "worst": 15.0,
        "effective_bits": 21.5,
        "unit": "noise units",
        "noise_rms": 3.0,
    }
    bits = {"digest": f"{check}-{tap}-{case}", "elements": 1000, "repeatable": None, "repeat_rms": None}
    return result("conv1", "local", case) | {"tap": tap, "check": check} | own | bits | changes


def gradients(case: str) -> list[Fields]:
    """Those of one convolution, and of the loss."""
    units = {"noise_rms": None, "rms": 0.2, "worst": 0.2, "unit": "log units"}
    return [
        gradient("conv1", "gradient_input", case),
        gradient("conv1.weight", "gradient_parameter", case),
        gradient("conv1.bias", "gradient_parameter", case, elements=6),
        gradient("relu1", "loss", case, operator="loss", elements=1, **units),
        gradient("relu1", "loss_gradient", case, operator="loss"),
    ]


def content(change: Change = lambda fields: fields, trained: Sequence[str] = ()) -> Fields:
    """A whole report, each result changed; those changed to None are left out. The cases `trained` have gradients."""
    results = [result(tap, check, case) for case in CASES for check in ("local", "end_to_end") for tap in OPERATORS] + [
        result("relu1", "untapped", case) for case in CASES
    ]
    results += [own for case in trained for own in gradients(case)]
    return {
        "format": "lockstep-conformance/1",
        "network": {"name": "small", "sha256": "0" * 64},
        "environments": {"suite": {"processor": "a", "threads": "2"}},
        "results": [fields for fields in map(change, results) if fields is not None],
    }


def reported(
    folder: Path,
    change: Change = lambda fields: fields,
    name: str = "conformance.json",
    trained: Sequence[str] = (),
) -> Reported:
    """The same, read back from a file."""
    path = folder / name
    path.write_text(json.dumps(content(change, trained)), encoding="utf-8")
    return read(path)


def identical(numerics: Numerics) -> tuple[str, ...]:
    """The operators that give the same bits by themselves, forward."""
    return tuple(tap.tap for tap in numerics.taps if tap.identical and tap.check == "local")


def at(tap: str, check: str = "local", **changes: Any) -> Change:
    """Changes of the results at one tap, each with other bits; a function is given the old value."""

    def change(fields: Fields) -> Fields:
        if (fields["tap"], fields["check"]) != (tap, check):
            return fields
        new = {key: value(fields[key]) if callable(value) else value for key, value in changes.items()}
        return fields | {"digest": f"{new} {fields['digest']}"} | new

    return change


def both(*changes: Change) -> Change:
    """Several changes, one after the other."""

    def change(fields: Fields) -> Fields | None:
        for each in changes:
            changed = each(fields)
            if changed is None:
                return None
            fields = changed
        return fields

    return change


def noisier(tap: str, times: float, check: str = "local") -> Change:
    """So many times the error at one tap, still within the caps."""

    def grown(value: float | None) -> float | None:
        return None if value is None else times * value

    return at(tap, check, rms=grown, noise_rms=grown, noise_max=grown, worst=grown)
