"""The part of YAML that a spec may use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spec.yaml_tree import MAX_DEPTH, TreeError, parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("-1", -1),
        ("010", 10),
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        (".5", 0.5),
        ("5.", 5.0),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("~", None),
        ("null", None),
        ("12:30", "12:30"),
        ("2012-01-01", "2012-01-01"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ('"1"', "1"),
        ("'true'", "true"),
        ("§3.5", "§3.5"),
    ],
)
def test_scalar_follows_the_core_schema(text: str, value: object) -> None:
    found = parse(f"a: {text}\n").value["a"]
    assert found == value
    assert type(found) is type(value)


def test_lines_of_keys_and_items_are_known() -> None:
    tree = parse("a:\n  - b: 1\n\n  - c: 2\n")
    assert tree.value == {"a": [{"b": 1}, {"c": 2}]}
    assert tree.line(("a",)) == 1
    assert tree.line(("a", 0, "b")) == 2
    assert tree.line(("a", 1, "c")) == 4


def test_line_of_what_is_missing_is_that_of_what_holds_it() -> None:
    assert parse("a:\n  b:\n    c: 1\n").line(("a", "b", "missing", 3)) == 2


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: &name 2\n", 2, "expected plain values, found an anchor or alias; write the value out"),
        ("a: *name\n", 1, "expected plain values, found an anchor or alias; write the value out"),
        ("a: 1\nb: [&x 1]\n", 2, "expected plain values, found an anchor or alias; write the value out"),
        ("a: !!python/object:os.system 1\n", 1, "found the tag"),
        ("a: !mine {}\n", 1, "found the tag '!mine'"),
        ("a: !!int 1\n", 1, "found the tag"),
        ("a: 1\nb: 2\na: 3\n", 3, "duplicate key 'a', first on line 1; remove one"),
        ("a: 1\n---\nb: 2\n", 2, "expected one document, found a second ('---')"),
        ("? [a, b]\n: 1\n", 1, "expected a plain word as key"),
        ("&key a: 1\n", 1, "expected a plain word as key"),
        ("a: [1, 2\nb: 3\n", 2, "expected YAML, found: "),
        ("a: 1\n\tb: 2\n", 2, "expected YAML, found: "),
        ("a: 1\nb: ü\x07\n", 2, "expected YAML, found: unacceptable character #x0007"),
    ],
)
def test_what_a_spec_may_not_use_is_rejected_at_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(TreeError) as caught:
        parse(text)
    assert caught.value.line == line
    assert message in str(caught.value)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_rejected_and_not_followed(opening: str) -> None:
    with pytest.raises(TreeError, match=f"at most {MAX_DEPTH} levels of nesting"):
        parse(opening * 20_000)


def test_aliases_cannot_multiply() -> None:
    layers = "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 10))
    with pytest.raises(TreeError, match="anchor or alias"):
        parse(f"b0: &b0 [1]\n{layers}")


def test_merge_key_is_a_key_like_any_other() -> None:
    assert parse("<<: {a: 1}\n").value == {"<<": {"a": 1}}


@given(st.text(max_size=200))
def test_any_text_is_read_or_rejected(text: str) -> None:
    try:
        tree = parse(text)
    except TreeError as error:
        assert error.line >= 1
    else:
        assert tree.value is None or isinstance(tree.value, dict | list | str | int | float | bool)
