"""The report as JUnit XML: what CI services read."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from conformance.diagnosis.words import sentences
from conformance.matrix import columns, variant_of
from spec.text import sayable


def junit_text(report: Mapping[str, Any]) -> str:
    """One suite a variant, one test a check; from the fields of conformance.json."""
    root = ElementTree.Element("testsuites", name=f"conformance of {report['network']['name']}")
    for variant in columns(report["results"]):
        own = [result for result in report["results"] if variant_of(result) == variant]
        counts = {outcome: sum(result["outcome"] == outcome for result in own) for outcome in report["outcomes"]}
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=variant,
            tests=str(len(own)),
            failures=str(counts["failed"]),
            errors=str(counts["errored"]),
            skipped=str(counts["skipped"] + counts["xfailed"]),
        )
        for result in own:
            _add(suite, result)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _add(suite: ElementTree.Element, result: Mapping[str, Any]) -> None:
    test = ElementTree.SubElement(
        suite,
        "testcase",
        classname=sayable(f"{result['network']}.{result['framework']}.{result['case']}"),
        name=f"{result['tap'] or 'worker'} {result['check']}",
    )
    message = sayable(result["message"])
    match result["outcome"]:
        case "failed":
            failure = ElementTree.SubElement(test, "failure", message=message)
            failure.text = sayable("\n".join(sentences(result))) or None
        case "errored":
            ElementTree.SubElement(test, "error", message=message)
        case "skipped":
            ElementTree.SubElement(test, "skipped", message=message)
        case "xfailed":
            ElementTree.SubElement(test, "skipped", type="xfail", message=message)
