"""Each value of the paper's network says where it stands in the paper."""

import re

import pytest

from spec.load import shipped

LINES = shipped()["alexnet"].read_text(encoding="utf-8").splitlines()

# Names that Lockstep gives, citations themselves, and claims that are quoted because no primary source has them.
UNCITED_KEYS = ("format", "name", "title", "source", "claim")

VALUE = re.compile(r"^\s*(?:- )?(?P<key>[a-z0-9_.]+): *(?P<value>[^#\s][^#]*?)? *(?:#(?P<comment>.*))?$")
CITATION = re.compile(r"§\d|Figure \d|Table \d|abstract|derived")


def value_lines() -> list[tuple[int, str, str]]:
    """Line number, text and comment of every line that states a value."""
    found = []
    for number, line in enumerate(LINES, 1):
        match = VALUE.match(line)
        if match and match["value"] and match["key"] not in UNCITED_KEYS:
            found.append((number, line.strip(), match["comment"] or ""))
    return found


def test_the_values_are_seen() -> None:
    texts = [text for _, text, _ in value_lines()]
    assert len(texts) > 150
    for start in ("shape: [3, 227, 227]", "alpha: 1.0e-4", "conv2.bias:", "op: conv", "parameters: 60965224"):
        assert any(text.startswith(start) for text in texts), start


@pytest.mark.parametrize(("number", "text", "comment"), value_lines())
def test_value_cites_its_source(number: int, text: str, comment: str) -> None:
    assert CITATION.search(comment), f"line {number} cites no section, figure or table: {text}"


def test_every_line_is_a_value_a_heading_or_a_comment() -> None:
    for number, line in enumerate(LINES, 1):
        assert not line.strip() or line.lstrip().startswith("#") or VALUE.match(line), f"line {number}: {line}"


def test_every_operator_names_a_source() -> None:
    assert sum(line.startswith("    source: §") for line in LINES) == sum(line.startswith("    op: ") for line in LINES)
