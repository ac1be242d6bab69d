"""A page whose table a program writes."""

from pathlib import Path

import pytest

from spec.exits import NotRunError
from spec.page import Page

BEGIN, END = "<!-- begin -->", "<!-- end -->"


def test_page_is_renewed_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    page = Page(path, BEGIN, END)
    page.renew("new")
    assert path.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    page.renew("newer")
    assert path.read_text() == f"before\n{BEGIN}\n\nnewer\n\n{END}\nafter\n"
    assert list(tmp_path.iterdir()) == [path]


def test_page_without_marks_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("text")
    with pytest.raises(NotRunError, match="expected the marks"):
        Page(path, BEGIN, END).renew("new")
    assert path.read_text() == "text"


def test_page_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotRunError, match="expected a page for the table"):
        Page(tmp_path / "none.md", BEGIN, END).require()
