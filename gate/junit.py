"""The report as JUnit XML: a test case a cell and quantity."""

from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from gate.results import Numerics, NumericVerdict, SpeedVerdict
from gate.table import percent
from gate.verdict import Cell, Report
from spec.text import sayable

#: How a verdict is told to a reader that knows failures, errors and skipped tests only. What is undecided has not
#: passed, and so is an error.
_NUMERIC = {
    NumericVerdict.DRIFTED: "failure",
    NumericVerdict.PRECISION: "failure",
    NumericVerdict.DIVERGED: "failure",
    NumericVerdict.ERRORED: "error",
    NumericVerdict.SKIPPED: "skipped",
}
_SPEED = {
    SpeedVerdict.SLOWER: "failure",
    SpeedVerdict.ERRORED: "error",
    SpeedVerdict.UNDECIDED: "error",
    SpeedVerdict.SKIPPED: "skipped",
}


@dataclass(frozen=True)
class _Test:
    place: str
    name: str
    tag: str | None
    verdict: str
    message: str


def junit_text(report: Report) -> str:
    """One suite a cell, one test for its numerics and each of its costs; stale acceptances and missing cells too."""
    root = ElementTree.Element("testsuites", name=sayable(f"gate of {report.title}"))
    for cell in report.cells:
        _suite(root, f"{cell.run.title}: {cell.network}, {cell.variant}", list(_tests(cell)))
    stale = [line for _, line in report.stale]
    if stale:
        _suite(
            root,
            "accepted.toml",
            [_Test("accepted.toml", f"entry {n}", "failure", "stale", line) for n, line in enumerate(stale, 1)],
        )
    if report.missing:
        _suite(
            root,
            "missing",
            [_Test("missing", place, "error", "missing", "no report of this cell") for place in report.missing],
        )
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _tests(cell: Cell) -> Iterator[_Test]:
    place = f"{cell.network}.{cell.variant.framework}"
    if cell.numerics is not None:
        yield _numeric(place, cell.numerics)
    for batch, effect in cell.effects:
        tag = _SPEED.get(effect.verdict)
        said = percent(effect.estimate) if effect.estimate is not None else ""
        message = "; ".join(filter(None, [said, effect.reason]))
        yield _Test(place, f"{effect.quantity}, batch {batch}", tag, str(effect.verdict), message)


def _numeric(place: str, numerics: Numerics) -> _Test:
    return _Test(place, "numerics", _NUMERIC.get(numerics.verdict), str(numerics.verdict), numerics.reason)


def _suite(root: ElementTree.Element, name: str, tests: list[_Test]) -> None:
    counts = {tag: str(sum(test.tag == tag for test in tests)) for tag in ("failure", "error", "skipped")}
    suite = ElementTree.SubElement(
        root, "testsuite", name=sayable(name), tests=str(len(tests)), failures=counts["failure"],
        errors=counts["error"], skipped=counts["skipped"],
    )  # fmt: skip
    for test in tests:
        element = ElementTree.SubElement(suite, "testcase", classname=sayable(test.place), name=sayable(test.name))
        if test.tag is not None:
            message = f"{test.verdict}: {test.message}" if test.message else test.verdict
            ElementTree.SubElement(element, test.tag, type=test.verdict, message=sayable(message))
