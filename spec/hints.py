"""What a user may have meant."""

import difflib
from collections.abc import Iterable


def did_you_mean(found: str, known: Iterable[str]) -> str:
    """A question that names what of `known` is like `found`, to end a message with; or nothing."""
    close = difflib.get_close_matches(found, list(known), 1)
    return f"; did you mean {close[0]!r}?" if close else ""
