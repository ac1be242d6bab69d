"""The report as Markdown: what a person reads in a pull request."""

from collections.abc import Mapping
from typing import Any

from conformance.diagnosis.words import sentences
from conformance.matrix import matrices, notes, words
from spec.network import Network
from spec.text import safe

MARKS = {"passed": "✅", "failed": "❌", "errored": "💥", "skipped": "⏭", "xfailed": "🔶"}


def markdown_text(report: Mapping[str, Any], network: Network) -> str:
    """The report, from the fields of conformance.json."""
    results = report["results"]
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report["outcomes"].items() if count)
    lines = [
        f"# Conformance of {network.name}: {report['verdict']}",
        "",
        f"{safe(network.title)} (sha256 {network.sha256[:16]}). {counts}.",
        "",
    ]
    for divergence in report["first_divergences"]:
        lines.append(f"- **{divergence['framework']}**, {safe(divergence['case'])}: {_what(divergence)}")
        lines += [f"  - {safe(sentence)}" for sentence in sentences(divergence)]
    for result in results:
        if result["outcome"] == "errored":
            lines.append(f"- **{result['framework']}**, {safe(result['case'])}: errored: {safe(result['message'])}")
    lines += [f"- {framework}: skipped {safe(reason)}" for framework, reason in notes(results)]
    for matrix in matrices(results, network):
        what = f"{matrix.what[0].upper()}{matrix.what[1:]}."
        head = f"| tap | {matrix.of} | " + " | ".join(matrix.variants) + " |"
        lines += ["", what, "", head, "|---" * (2 + len(matrix.variants)) + "|"]
        for row in matrix.rows:
            texts = [f"{MARKS[own.outcome]} {own.text}" if own else "" for own in row.cells]
            lines.append(f"| {row.tap} | {row.of} | " + " | ".join(texts) + " |")
    lines += [
        "",
        "| variant | version | device observed | precision declared | observed | peak memory |",
        "|---" * 6 + "|",
    ]
    for variant in report["variants"]:
        name = f"{variant['framework']} {variant['mode']} {variant['lowering']}"
        lines.append(
            f"| {name} | {safe(variant['version'])} | {safe(variant['observed_device'])} | {variant['dtype']} | "
            f"{variant['observed_precision']} | {variant['peak_bytes'] / 2**20:,.0f} MiB |"
        )
    suite = report["environments"]["suite"]
    lines += ["", "Suite: " + ", ".join(f"{key} {safe(value)}" for key, value in suite.items()) + ".", ""]
    return "\n".join(lines)


def _what(result: Mapping[str, Any]) -> str:
    return (
        f"`{result['tap']}` ({result['operator'] or 'training'}, {words(result['check'])}): {safe(result['message'])}"
    )
