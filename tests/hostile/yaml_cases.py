"""YAML that means more than plain values, that explodes, or that is no YAML at all."""

import gzip
import pickle

from spec.load import MAX_BYTES
from tests.hostile.case import CANARY, Cases, edited, file
from tests.spec.networks import SMALL

ANCHOR = "expected plain values, found an anchor or alias; write the value out"
DEEP = "expected at most 24 levels of nesting, found more"
CONTROL = "expected YAML, found: unacceptable character"
TOUCH = f"__import__('os').system('touch {CANARY}')"


def filled(head: str, item: str, tail: str) -> str:
    """As many items between `head` and `tail` as a file may hold."""
    return head + item * ((MAX_BYTES - len(head) - len(tail)) // len(item)) + tail


LAUGHS = "b0: &b0 [ha]\n" + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 9)}]\n" for n in range(1, 30))


class Touches:
    """Leaves the canary where it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (TOUCH,)


CASES: Cases = {
    # More than plain values.
    "billion laughs": file(LAUGHS, f"1: {ANCHOR}"),
    "aliases of a long list": file(f"a: &a [{'x,' * 9000}]\nb: [{'*a,' * 9000}]\n", f"1: {ANCHOR}"),
    "list that holds itself": file("graph: &a [*a]\n", f"1: {ANCHOR}"),
    "alias of nothing": file("graph: *nothing\n", f"1: {ANCHOR}"),
    "anchor on every operator": edited("- name: conv1", "- &a\n    name: conv1", f"9: {ANCHOR}"),
    "merge of an alias": edited("    op: relu", "    <<: *conv", f"18: {ANCHOR}"),
    "merge key": edited("    op: relu", "    <<: {op: relu}", "17: layer 'relu1': missing key 'op'"),
    "merge of a base": edited("op: relu", "op: relu\n    <<: {inputs: [conv1]}", "19: layer 'relu1': unknown key '<<'"),
    "tag that calls a function": file(
        f"title: !!python/object/apply:os.system ['touch {CANARY}']\n", "1: expected plain values, found the tag"
    ),
    "tag that makes an object": file(
        f"title: !!python/object/new:subprocess.Popen [['touch', '{CANARY}']]\n",
        "1: expected plain values, found the tag 'tag:yaml.org,2002:python/object/new:subprocess.Popen'",
    ),
    "tag that names a module": file(
        "title: !!python/module:antigravity ''\n", "1: expected plain values, found the tag"
    ),
    "tag on a key": file(f"!!python/object/apply:os.system ['touch {CANARY}']: 1\n", "1: expected a plain word as key"),
    "tag that includes a file": edited("title: A small network", "title: !include /etc/passwd", "3: expected plain"),
    "tag of a handle of its own": file("%TAG ! tag:yaml.org,2002:python/\n---\na: !name:os.system x\n", "3: expected"),
    "binary tag": edited(
        "title: A small network", "title: !!binary aGVsbG8=", "3: expected plain values, found the tag"
    ),
    "harmless tag": edited("kernel: 3\n    stride: 1", "kernel: !!int 3\n    stride: 1", "12: expected plain values"),
    "mapping as key": file("? {a: 1}\n: 2\n", "1: expected a plain word as key"),
    "no key at all": file("? []\n", "1: expected a plain word as key"),
    "duplicate key": edited(
        "    pads: 1\n", "    pads: 1\n    pads: 2\n", "15: duplicate key 'pads', first on line 14"
    ),
    "duplicate key in disguise": edited("op: relu", 'op: relu\n    "\\x6fp": conv', "19: duplicate key 'op'"),
    "duplicate section": file(SMALL + "graph: []\n", "42: duplicate key 'graph', first on line 8"),
    "second document": file(SMALL + "---\n" + SMALL, "42: expected one document, found a second ('---')"),
    "second document after an end": file(SMALL + "...\n%YAML 1.1\n---\na: 1\n", "43: expected one document"),
    # Deep, long, many.
    "deep lists": file(filled("", "[", ""), f"1: {DEEP}"),
    "deep mappings": file(filled("", "{a: ", ""), f"1: {DEEP}"),
    "deep items": file(filled("", "- ", ""), f"1: {DEEP}"),
    "deep blocks": file("".join(f"{' ' * depth}a:\n" for depth in range(1000)), f"26: {DEEP}"),
    "deep value of a known key": edited("shape: [4, 9, 7]", f"shape: {'[' * 99}{']' * 99}", f"7: {DEEP}"),
    "a million values": file("x: 1\n" * 1_000_000, f" expected a spec of at most {MAX_BYTES} bytes, found 5000000"),
    "a flow of numbers": file(filled("graph: [", "0,", "0]\n"), "1: expected at most 100,000 values, found more"),
    "a flow of mappings": file(filled("graph: [", "{},", "{}]\n"), "1: expected at most 100,000 values, found more"),
    "45,000 unknown keys": file("".join(f"k{n}: 1\n" for n in range(45_000)), "1: unknown key 'k0'"),
    "4,000 operators with ten unknown keys": file(
        SMALL.replace(
            "graph:\n", "graph:\n" + f"  - {{op: relu{''.join(f', {a}: 1' for a in 'abcdefghij')}}}\n" * 4000
        ),
        "9: layer 0: unknown key 'a'",
    ),
    "a line of half a megabyte": edited("A small network", "x" * 500_000, "3: title: expected at most 300 characters"),
    "a key of half a megabyte": file(f"? {'k' * 500_000}\n: 1\n", "1: unknown key 'kkk"),
    "a quoted scalar that never ends": file(filled('title: "', "\\x41", ""), "1: expected YAML, found: "),
    "nothing but blanks": file(
        " " * MAX_BYTES, "1: expected a mapping with the keys of a network, found an empty file"
    ),
    "nothing but comments": file(filled("", "#\n", ""), "1: expected a mapping"),
    "nothing but dashes": file(filled("", "---\n", ""), "2: expected one document, found a second"),
    "nothing but directives": file(filled("", "%YAML 1.2\n", ""), "2: expected YAML, found: "),
    "nothing but question marks": file(filled("", "? ", ""), "1: expected a plain word as key"),
    # No text, or none of ours.
    "empty": file("", "1: expected a mapping with the keys of a network, found an empty file"),
    "one word": file("alexnet\n", "1: expected a mapping with the keys of a network, found a str"),
    "a list": file("[format, name]\n", "1: expected a mapping with the keys of a network, found a list"),
    "UTF-16 with its mark": file(SMALL.encode("utf-16"), "1: expected UTF-8, found byte 0xff"),
    "UTF-16 without": file(SMALL.encode("utf-16-le"), f"1: {CONTROL}"),
    "UTF-32": file(SMALL.encode("utf-32-be"), f"1: {CONTROL}"),
    "overlong UTF-8": file(SMALL.encode() + b"# \xc0\xaf\n", "42: expected UTF-8, found byte 0xc0"),
    "surrogate in UTF-8": file(SMALL.encode() + b"# \xed\xa0\x80\n", "42: expected UTF-8, found byte 0xed"),
    "NUL": file(SMALL.encode() + b"\0", f"42: {CONTROL} #x0000"),
    "escape of a terminal": edited("A small network", "A \x1b]0;owned\x07\x1b[2J network", f"3: {CONTROL} #x001b"),
    "pickle": file(pickle.dumps(Touches()), "1: expected UTF-8, found byte 0x80"),
    "pickle of protocol 0": file(pickle.dumps(Touches(), 0), "1: expected a mapping"),
    "compressed": file(gzip.compress(SMALL.encode()), "1: expected UTF-8, found byte 0x8b"),
    "program": file(f"#!/usr/bin/env python\n{TOUCH}\n", "1: expected a mapping"),
}
