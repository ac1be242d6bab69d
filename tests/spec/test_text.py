"""Text of others in reports."""

from xml.etree import ElementTree

import pytest

from spec.text import safe, sayable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<img src=x>\n# a heading | [link](http://x)", r"\<img src=x\> # a heading \| \[link\](http://x)"),
        ("`code` *bold* _low_ ~gone~ &amp;", r"\`code\` \*bold\* \_low\_ \~gone\~ \&amp;"),
        ("a\x1b[31mred", r"a\\x1b\[31mred"),
        ("plain → text", "plain → text"),
    ],
)
def test_text_in_markdown_is_one_line_without_markup(text: str, expected: str) -> None:
    assert safe(text) == expected


@pytest.mark.parametrize("text", ["\x00\x1b[0m", "\ud800", "<a>&\uffff", "plain → text\n"])
def test_text_in_xml_is_read_again(text: str) -> None:
    element = ElementTree.Element("a", message=sayable(text))
    said = ElementTree.fromstring(ElementTree.tostring(element, encoding="utf-8")).get("message")
    assert said == sayable(text)
    assert sayable("plain → text\n") == "plain → text\n"
