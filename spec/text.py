"""Text of others in reports: fit for Markdown and for XML, whatever it says."""

import re

from spec.exits import one_line

#: Characters that XML 1.0 has no way to say.
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def safe(text: str) -> str:
    """Text as one line of plain text: no heading, table, HTML or disguised link can come from it."""
    text = one_line(text)
    for character in "\\`*_[]<>|&~":
        text = text.replace(character, f"\\{character}")
    return text


def sayable(text: str) -> str:
    """Text that XML can hold: what it has no way to say is replaced."""
    return _UNSAYABLE.sub("\N{REPLACEMENT CHARACTER}", text)
