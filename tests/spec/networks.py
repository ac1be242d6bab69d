"""Small specs for tests: one that is right, and ways to make it wrong."""

from textwrap import dedent

from spec.load import parse
from spec.network import Network

SMALL = dedent("""\
    format: lockstep-network/1
    name: small
    title: A small network
    source: these tests
    input:
      name: image
      shape: [4, 9, 7]
    graph:
      - name: conv1
        op: conv
        out_channels: 6
        kernel: 3
        stride: 1
        pads: 1
        groups: 2
        bias: true
      - name: relu1
        op: relu
      - name: pool1
        op: max_pool
        kernel: 3
        stride: 2
        pads: 0
        rounding: floor
      - name: flatten
        op: flatten
      - name: fc2
        op: dense
        in_features: 72
        out_features: 5
        bias: true
    expect:
      shapes:
        conv1: [6, 9, 7]
        relu1: [6, 9, 7]
        pool1: [6, 4, 3]
        flatten: [72]
        fc2: [5]
      parameters: 479
      macs: 7164
      neurons: 383
    """)

BRANCHES = dedent("""\
    format: lockstep-network/1
    name: branches
    title: Every operator that the AlexNets lack
    source: these tests
    input:
      name: image
      shape: [3, 8, 6]
    graph:
      - {name: left, op: conv, out_channels: 4, kernel: 1, stride: 1, pads: 0, groups: 1, bias: false}
      - {name: norm, op: batch_norm, epsilon: 1.0e-5}
      - {name: right, op: conv, inputs: [image], out_channels: 4, kernel: [3, 1], stride: 1, pads: [1, 0, 1, 0],
         groups: 1, bias: true}
      - {name: both, op: add, inputs: [norm, right]}
      - {name: relu, op: relu}
      - {name: joined, op: concat, inputs: [relu, image]}
      - {name: mean, op: avg_pool, kernel: 2, stride: 2, pads: 0, rounding: ceil, padding_counted: false}
      - {name: bent, op: tanh}
      - {name: whole, op: global_avg_pool}
      - {name: flatten, op: flatten}
      - {name: fc, op: dense, in_features: 7, out_features: 2, bias: true}
      - {name: probabilities, op: softmax}
    expect:
      shapes:
        left: [4, 8, 6]
        norm: [4, 8, 6]
        right: [4, 8, 6]
        both: [4, 8, 6]
        relu: [4, 8, 6]
        joined: [7, 8, 6]
        mean: [7, 4, 3]
        bent: [7, 4, 3]
        whole: [7, 1, 1]
        flatten: [7]
        fc: [2]
        probabilities: [2]
      parameters: 76
      macs: 2318
      neurons: 386
    """)


def small(name: str = "small") -> Network:
    return parse(SMALL.replace("name: small", f"name: {name}"), "small.yaml")


def branches() -> Network:
    return parse(BRANCHES, "branches.yaml")


def changed(*replacements: tuple[str, str]) -> str:
    """The small spec with each old text, which must be there once, replaced by a new one."""
    text = SMALL
    for old, new in replacements:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the small spec"
        text = text.replace(old, new)
    return text


def line_of(text: str, part: str) -> int:
    """The line on which `part` begins, which must be there once."""
    assert text.count(part) == 1
    return text.count("\n", 0, text.index(part)) + 1
