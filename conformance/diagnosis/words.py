"""A diagnosis in sentences, from the fields of a result in conformance.json."""

from collections.abc import Mapping
from typing import Any

from conformance.measure import NOISE

#: How many explanations are said; the report has all.
SAID = 3


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What explains a failed check, best first; that nothing does; or nothing where nobody looked."""
    tap = result["tap"]
    said = [f"{tap}: explained by {_said(each)}" for each in result["explanations"][:1]]
    said += [f"{tap}: or by {_said(each)}" for each in result["explanations"][1:SAID]]
    if result["tried"] is not None and not said:
        script = f"; {result['reproduction']} shows the difference" if result["reproduction"] else ""
        said.append(f"{tap}: none of {result['tried']} changes explains it{script}")
    return said


def _said(explanation: Mapping[str, Any]) -> str:
    """One explanation: `alpha_convention: mean (noise 5.1e5 → 3.2 ULP). In torch, …`."""
    unit = "" if explanation["unit"] == NOISE else f" {explanation['unit']}"
    before, after = (_figure(explanation[key]) for key in ("before", "after"))
    note = f" {explanation['note']}" if explanation["note"] else ""
    return f"{explanation['change']} (noise {before} → {after}{unit}).{note}"


def _figure(value: float | None) -> str:
    """Two digits: `3.2`, `5.1e5`; null is what no number holds."""
    if value is None:
        return "∞"
    mantissa, mark, exponent = f"{value:.2g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa
