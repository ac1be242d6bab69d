"""A diagnosis in sentences, from the fields of a result in conformance.json."""

from collections.abc import Mapping
from typing import Any

from conformance.measure import NOISE
from conformance.results import Check

#: How many explanations are said; the report has all.
SAID = 3
#: Checks that hold a variant against itself.
INVARIANTS = (Check.REPEATED, Check.PERMUTED_BATCH, Check.SINGLE_IMAGES, Check.MODES, Check.SCALED_INPUT)
AGAINST_ITSELF = "not diagnosed: the variant disagrees with itself, and not with what should be"


def sentences(result: Mapping[str, Any]) -> list[str]:
    """What explains a failed check, best first; that nothing does, or why nobody looked, unless that is plain."""
    tap = result["tap"]
    said = [f"{tap}: explained by {_said(each)}" for each in result["explanations"][:1]]
    said += [f"{tap}: or by {_said(each)}" for each in result["explanations"][1:SAID]]
    if not said and (why := result["remark"] or _unexplained(result)):
        script = f"; {result['reproduction']} shows the difference" if result["reproduction"] else ""
        said.append(f"{tap}: {why}{script}")
    return said


def _unexplained(result: Mapping[str, Any]) -> str:
    if result["tried"] is not None:
        return f"none of {result['tried']} changes explains it"
    return AGAINST_ITSELF if result["check"] in INVARIANTS else ""


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
