"""Numbers that no tensor has, graphs that cannot be, and more than any memory holds. Recipes: recipe_cases.py."""

from tests.hostile.case import Cases, Hostile, edited, file
from tests.spec.networks import SMALL

EXTENT = "expected at most 2147483647, found"
ELEMENTS = "of at most 2147483647 elements, found"
FLOAT32 = "expected 0 or a size from 1.2e-38 to 3.4e+38, which float32 can hold, found"
HEAD = SMALL[: SMALL.index("graph:")]


def conv(old: str, new: str, says: str) -> Hostile:
    """The small spec with another value in its convolution."""
    return edited(old, new, says)


def drop(value: str, says: str) -> Hostile:
    """The small spec with a dropout of that probability."""
    return edited(
        "op: relu",
        f"op: dropout\n    drop_probability: {value}\n    convention: inverted",
        f"19: layer 'relu1': drop_probability: {says}",
    )


def lrn(key: str, value: str, says: str) -> Hostile:
    """The small spec with a normalisation, of which `key` has another value."""
    values = {"n": "5", "k": "2.0", "alpha": "1.0e-4", "alpha_convention": "sum", "beta": "0.75", "scope": "whole"}
    lines = "".join(f"\n    {name}: {each}" for name, each in (values | {key: value}).items())
    return edited("op: relu", f"op: lrn{lines}", f"{19 + list(values).index(key)}: layer 'relu1': {says}")


def graph(*operators: str, shape: str = "[4, 9, 7]", says: str) -> Hostile:
    """A graph of these operators, of which nothing is expected."""
    lines = "".join(f"  - {{{operator}}}\n" for operator in operators)
    tail = "expect: {shapes: {}, parameters: 0, macs: 0, neurons: 0}\n"
    return file(HEAD.replace("[4, 9, 7]", shape) + "graph:\n" + lines + tail, says)


def repeated(operator: str, count: int, shape: str) -> Hostile:
    """A graph of `count` equal operators that keep the shape, with all figures right but for the memory they take."""
    lines = "".join(f"  - {{name: a{n}, {operator}}}\n" for n in range(count))
    shapes = "".join(f"    a{n}: {shape}\n" for n in range(count))
    text = f"{HEAD.replace('[4, 9, 7]', shape)}graph:\n{lines}expect:\n  shapes:\n{shapes}"
    whole = file(f"{text}  parameters: 0\n  macs: 0\n  neurons: 0\n", "")
    return Hostile(whole.leaves, "small needs about")


def terabytes_of_patches() -> Hostile:
    """A small image and a small kernel whose patches, side by side, would fill 67 TB."""
    operator = "name: a, op: conv, out_channels: 1, kernel: 1000, stride: 1, pads: 0, groups: 1, bias: false"
    totals = "parameters: 1000000, macs: 9006001000000, neurons: 9006001"
    head = HEAD.replace("[4, 9, 7]", "[1, 4000, 4000]")
    whole = file(f"{head}graph: [{{{operator}}}]\nexpect: {{shapes: {{a: [1, 3001, 3001]}}, {totals}}}\n", "")
    return Hostile(whole.leaves, "small needs about 134,2")


CASES: Cases = {
    # Whole numbers.
    "extent of 2³¹": conv("out_channels: 6", "out_channels: 2147483648", f"11: layer 'conv1': out_channels: {EXTENT}"),
    "extent of 2⁶⁴": conv("out_channels: 6", f"out_channels: {2**64}", f"11: layer 'conv1': out_channels: {EXTENT}"),
    "extent of 40 digits": conv(
        "out_channels: 6", f"out_channels: {'9' * 40}", f"11: layer 'conv1': out_channels: {EXTENT}"
    ),
    "extent of half a megabyte of digits": conv(
        "out_channels: 6", f"out_channels: {'9' * 500_000}", "11: layer 'conv1'"
    ),
    "extent below zero": conv(
        "out_channels: 6", "out_channels: -6", "11: layer 'conv1': out_channels: expected at least 1"
    ),
    "extent of zero": edited("shape: [4, 9, 7]", "shape: [4, 0, 7]", "7: input.shape.1: expected at least 1, found 0"),
    "extent that is infinite": conv(
        "out_channels: 6", "out_channels: .inf", "11: layer 'conv1': out_channels: expected a"
    ),
    "extent with an exponent": conv(
        "out_channels: 6", "out_channels: 1e99", "11: layer 'conv1': out_channels: expected a"
    ),
    "extent in hexadecimal": conv(
        "out_channels: 6", "out_channels: 0x6", "11: layer 'conv1': out_channels: expected a"
    ),
    "extent as text": conv(
        "out_channels: 6", "out_channels: '6'", "11: layer 'conv1': out_channels: expected a whole number"
    ),
    "truth as extent": conv(
        "out_channels: 6", "out_channels: true", "11: layer 'conv1': out_channels: expected a whole"
    ),
    "padding below zero": conv("pads: 1\n", "pads: [1, 1, -1, 1]\n", "14: layer 'conv1': pads.2: expected at least 0"),
    "stride of zero": conv("stride: 1", "stride: 0", "13: layer 'conv1': stride: expected at least 1, found 0"),
    "groups of zero": conv("groups: 2", "groups: 0", "15: layer 'conv1': groups: expected at least 1, found 0"),
    "more groups than channels": conv(
        "groups: 2", "groups: 2147483647", "15: layer 'conv1': groups=2147483647 does not"
    ),
    "total of 2⁶³": edited("macs: 7164", f"macs: {2**63}", "40: expect.macs: expected at most 9223372036854775807"),
    "total below zero": edited("macs: 7164", "macs: -1", "40: expect.macs: expected at least 0, found -1"),
    "200,000 extents": edited("[4, 9, 7]", f"[{'1,' * 90_000}1]", "7: input.shape: expected at most 3 items"),
    # Numbers.
    "probability that is none": drop(".nan", "expected a finite number, found nan"),
    "probability of 1": drop("1.0", "expected less than 1, found 1.0"),
    "probability below zero": drop("-1.0e-9", "expected at least 0, found -1e-09"),
    "probability too small for float32": drop("1.0e-40", f"{FLOAT32} 1e-40"),
    "infinite constant": lrn("k", ".inf", "k: expected a finite number, found inf"),
    "constant whose exponent overflows": lrn("k", "1e400", "k: expected a finite number, found inf"),
    "constant beyond float32": lrn("k", "1.0e+39", f"k: {FLOAT32} 1e+39"),
    "constant that is a denormal": lrn("beta", "5.0e-324", f"beta: {FLOAT32} 5e-324"),
    "constant that is a denormal of float32": lrn("alpha", "1.0e-45", f"alpha: {FLOAT32} 1e-45"),
    "constant of zero with a sign": lrn("k", "-0.0", "k: expected more than 0, found -0.0"),
    "constant as a word": lrn("alpha", "NaN", "alpha: expected a number, found 'NaN'"),
    "window of two thousand millions": lrn(
        "n", "2147483647", "expected a window of at most 15 channels, found 2147483647"
    ),
    "window that is even": edited(
        "op: relu",
        "op: lrn\n    n: 4\n    k: 2.0\n    alpha: 1.0e-4\n    alpha_convention: sum\n    beta: 0.75\n    scope: whole",
        "17: layer 'relu1': n: expected an odd number",
    ),
    # Graphs.
    "operator that reads itself": edited(
        "op: relu",
        "op: relu\n    inputs: [relu1]",
        "19: layer 'relu1': inputs: expected a graph without cycles, found relu1 → relu1",
    ),
    "cycle": edited(
        "op: conv\n",
        "op: conv\n    inputs: [pool1]\n",
        "11: layer 'conv1': inputs: expected a graph without cycles, found conv1 → pool1 → relu1 → conv1",
    ),
    "cycle of 4,096": graph(
        *(f"name: a{n}, op: relu, inputs: [a{n - 1 if n else 4095}]" for n in range(4096)),
        says="9: layer 'a0': inputs: expected a graph without cycles, found a0 → a4095 → a4094",
    ),
    "4,097 operators": graph(
        *(f"name: a{n}, op: relu" for n in range(4097)), says="8: graph: expected at most 4096 items"
    ),
    "65 inputs": graph(
        f"name: a, op: add, inputs: [{'image, ' * 65}]", says="9: layer 'a': inputs: expected at most 64"
    ),
    "100,000 inputs": graph(
        f"name: a, op: add, inputs: [{'b, ' * 90_000}]", says="9: layer 'a': inputs: expected at most"
    ),
    "input of nowhere": edited(
        "op: relu", "op: relu\n    inputs: [nowhere]", "19: layer 'relu1': inputs: expected the name"
    ),
    "operator that nothing reads": edited(
        "name: pool1\n", "name: pool1\n    inputs: [conv1]\n", "17: layer 'relu1': expected"
    ),
    "no operators": file(
        f"{HEAD}graph: []\nexpect: {{shapes: {{}}, parameters: 0, macs: 0, neurons: 0}}\n", "8: graph: "
    ),
    "4,000 unknown operators": graph(*(f"op: z{n}" for n in range(4000)), says="9: layer 0: op: unknown operator 'z0'"),
    "kernel wider than its image": conv(
        "kernel: 3\n    stride: 1", "kernel: 999\n    stride: 1", "12: layer 'conv1': expected"
    ),
    # More than any memory holds.
    "image of 2⁶⁰ pixels": edited(
        "[4, 9, 7]", "[4, 1073741824, 1073741824]", "7: input.shape: expected at most 2147483647"
    ),
    "image skipped by its stride": file(
        SMALL.replace("[4, 9, 7]", "[4, 2147483647, 2147483647]").replace("stride: 1", "stride: 2147483647"),
        "7: input.shape: expected at most 2147483647 elements",
    ),
    "2³¹ channels": conv(
        "out_channels: 6", "out_channels: 2147483646", f"10: layer 'conv1': expected a output {ELEMENTS}"
    ),
    "kernel of 2³¹ weights": edited(
        "out_features: 5", "out_features: 2147483647", f"28: layer 'fc2': expected a weight {ELEMENTS}"
    ),
    "padding of gigabytes, skipped by its stride": file(
        SMALL.replace(
            "kernel: 3\n    stride: 1\n    pads: 1", "kernel: 1\n    stride: 2147483647\n    pads: 2147483647"
        ),
        f"10: layer 'conv1': expected a padded input {ELEMENTS}",
    ),
    "patches of terabytes": terabytes_of_patches(),
    "tensors that fit each, and not together": repeated("op: relu", 4000, "[3, 20000, 20000]"),
}
