"""A script that shows one operator's difference: its own lines of a generated source, a small input, NumPy's value.

Many are written, from the smallest operator and input that there can be to those of the network, and all are run in
one process of the framework's own interpreter. The first that shows a difference is kept.
"""

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

import numpy as np

from conformance.diagnosis.cut import cut
from conformance.diagnosis.formulas_text import expected_lines
from conformance.measure import Array
from conformance.participants import Participant
from conformance.reference import Reference
from conformance.results import Check, Result, Script
from conformance.xfails import xfails
from impls.frameworks import FRAMEWORKS, FrameworkName, Lowering, Variant
from impls.generate import source_text
from spec.base import Shape
from spec.network import Input, Network
from spec.operators import AnyOperator, AvgPool, BatchNorm, Concat, Conv, Dense, Flatten, Lrn, MaxPool, Relu
from spec.shapes import Layer, ShapeError

#: So many lines a script has at most.
LINES = 40
#: How far right float32 strays from float64, over the largest element, and what computes nothing.
FLOAT32, EXACT = 3e-6, 0.0
#: How long all scripts of one operator may take together.
TIMEOUT_S = 120

#: Runs every script of a folder, in one process, and writes what each ended with.
DRIVER = """
import json, pathlib, runpy, sys
said = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.py")):
    try:
        runpy.run_path(str(path))
    except SystemExit as end:
        said[path.name] = str(end.code)
        break
    except Exception as error:
        print(path.name, error, file=sys.stderr)
pathlib.Path(sys.argv[1], "said.json").write_text(json.dumps(said))
"""

#: How a framework is asked, after the lines of the source.
ASKED: dict[FrameworkName, list[str]] = {
    "torch": ["given = {name: torch.from_numpy(value) for name, value in tensors.items()}",
              "actual = load(given)(torch.from_numpy(x)).detach().numpy()"],
    "jax": ["given = {name: jax.numpy.asarray(value) for name, value in tensors.items()}",
            "actual = np.asarray(jax.jit(forward)(load(given), {x}))"],
    "tensorflow": ["actual = load(tensors)(tf.constant({x})).numpy()"],
    "onnx": ["model = build(tensors).SerializeToString()",
             "session = onnxruntime.InferenceSession(model, providers=['CPUExecutionProvider'])",
             "(actual,) = session.run(None, {session.get_inputs()[0].name: x})"],
}  # fmt: skip
IMPORTS: dict[FrameworkName, str] = {
    "torch": "import torch",
    "jax": "import jax",
    "tensorflow": "import tensorflow as tf",
    "onnx": "import onnxruntime",
}


@dataclass(frozen=True)
class Wrong:
    """An operator that failed, and on what."""

    network: Network
    layer: Layer
    x: Array
    """What it read."""
    index: tuple[int, ...]
    """Where its output is furthest off."""
    variant: Variant
    version: str
    source: Path
    """The generated source that was run."""


def with_script(participant: Participant, results: Sequence[Result], expected: Reference) -> list[Result]:
    """The results; one of an operator that nothing explains has the script that shows it, where there is one."""
    unexplained = [
        own for own in results if own.check is Check.LOCAL and own.tried is not None and not own.explanations
    ]
    source, command = participant.entrant.source, participant.entrant.command
    if not unexplained or source is None or not participant.settings.reproduces:
        return list(results)
    (result,) = unexplained
    if any(xfail.covers(result) for xfail in xfails()):
        return list(results)
    reference = expected.local[result.tap]
    if result.tap not in participant.reproductions:
        participant.settings.progress(f"{result.case}: a script that shows {result.tap} of {result.variant.framework}")
        wrong = Wrong(
            network=participant.network,
            layer=reference.layer,
            x=reference.inputs[0].astype(np.float32),
            index=result.divergence.index if result.divergence else (),
            variant=result.variant,
            version=result.version,
            source=source,
        )
        participant.reproductions[result.tap] = reproduced(wrong, command[0])
    script = participant.reproductions[result.tap]
    return [replace(own, reproduction=script) if own is result else own for own in results]


def reproduced(wrong: Wrong, python: str) -> Script | None:
    """The smallest script that shows the difference in `python`; None where none does, or none can."""
    texts = list(scripts(wrong))
    with tempfile.TemporaryDirectory(prefix="lockstep-reproduction-") as temporary:
        folder = Path(temporary)
        for place, text in enumerate(texts):
            (folder / f"{place:03}.py").write_text(text, encoding="utf-8")
        command = [python, "-I", "-c", DRIVER, str(folder)]
        try:
            subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False, stdin=subprocess.DEVNULL)
            said = json.loads((folder / "said.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
    first = next(iter(said), None)
    name = f"{wrong.variant.framework}_{wrong.variant.lowering}_{wrong.layer.name}.py"
    return Script(name, texts[int(first.partition(".")[0])]) if first else None


def scripts(wrong: Wrong) -> Iterator[str]:
    """Scripts, the smallest first, and last the source's own lines at their full size."""
    framework = next((name for name in FRAMEWORKS if name == wrong.variant.framework), None)
    if framework is None or (wrong.variant.device, wrong.variant.dtype) != ("cpu", "float32"):
        return
    lowering: Lowering = "fast" if wrong.variant.lowering == "fast" else "native"
    for operator, shape in _shrunk(wrong.layer):
        one = _alone(wrong.network, operator, shape)
        try:
            layer = one.layers[-1]
            source = source_text(one, framework, lowering)
        except (ShapeError, ValueError):
            continue
        yield from _with_data(wrong, framework, one, layer, source)
    yield from _with_data(wrong, framework, wrong.network, wrong.layer, wrong.source.read_text(encoding="utf-8"))


def _with_data(wrong: Wrong, framework: FrameworkName, network: Network, layer: Layer, source: str) -> Iterator[str]:
    """The scripts of one source: with an input by seed, and with the one that failed where it is small."""
    factors = _factors(layer.operator, network.input.name)
    lines = cut(source, layer.name, [own.name for own in network.layers], factors)
    if lines is None:
        return
    sizes = wrong.x.astype(np.float64)
    mean, std = float(sizes.mean()), float(sizes.std()) or 1.0
    drawn = f"({mean:.3g} + {std:.3g} * random.standard_normal({(2, *layer.input_shape)})).astype(np.float32)"
    literal = _literal(wrong, layer)
    for x in filter(None, (drawn, literal)):
        text = _text(wrong, framework, layer, lines, x, [factors[read] for read in layer.operator.reads])
        if text.count("\n") <= LINES:
            yield text


def _factors(operator: AnyOperator, image: str) -> dict[str, int]:
    """How many times x each input is: different ones where there are several, and in float32 exactly."""
    several = len(operator.reads) > 1
    return {read: 2 ** (place + 1) if several and read != image else 1 for place, read in enumerate(operator.reads)}


def _text(wrong: Wrong, framework: FrameworkName, layer: Layer, lines: str, x: str, factors: Sequence[int]) -> str:
    images = len(layer.input_shape) == 3
    last = "LAYOUT = 'NHWC'" in lines
    own = [line for line in lines.splitlines() if not line.startswith("LAYOUT")]
    given = "x.transpose(0, 2, 3, 1)" if images and last else "x"
    asked = [line.replace("{x}", given) for line in ASKED[framework]]
    back = ["actual = actual.transpose(0, 3, 1, 2)"] if len(layer.output_shape) == 3 and last else []
    imports = [line for line in (IMPORTS[framework], "import numpy as np") if line not in own]
    within = EXACT if isinstance(layer.operator, Relu | MaxPool | Flatten | Concat) else FLOAT32
    variant = wrong.variant
    of = f"{layer.name} ({layer.operator.op}) in {variant.framework} {_plain(wrong.version)}"
    return "\n".join(
        [
            f'"""{of} is not what NumPy gives."""',
            *imports,
            *own,
            "random = np.random.default_rng(0)",
            f"x = {x}",
            f"tensors = {_tensors(layer)}",
            *asked,
            *back,
            "wide = x.astype(np.float64)",
            *expected_lines(layer, factors),
            "if actual.shape != expected.shape:",
            "    raise SystemExit(f'expected shape {expected.shape}, found {actual.shape}')",
            "index = np.unravel_index(np.abs(actual - expected).argmax(), expected.shape)",
            "apart = np.abs(actual[index] - expected[index]) / np.abs(expected).max()",
            f"if not apart <= {within!r}:",
            "    at = tuple(map(int, index))",
            "    raise SystemExit(f'at {at} expected {expected[index]:.9g}, found {actual[index]:.9g}')",
            "",
        ]
    )


def _tensors(layer: Layer) -> str:
    """Parameters by seed; a variance is positive."""
    drawn = []
    for name, shape in layer.tensor_shapes.items():
        fan_in = prod(shape[1:]) if len(shape) > 1 else 1
        value = f"random.standard_normal({shape}, np.float32)"
        if name.endswith(".variance"):
            value = f"random.random({shape}, np.float32) + np.float32(0.5)"
        elif fan_in > 1:
            value = f"{value} * np.float32({fan_in**-0.5:.3g})"
        drawn.append(f"'{name}': {value}")
    return f"{{{', '.join(drawn)}}}"


def _literal(wrong: Wrong, layer: Layer) -> str:
    """What was read at the worst element, where the operator looks at nothing else."""
    if not isinstance(layer.operator, Relu | Lrn) or not wrong.index or wrong.x.shape[1:] != wrong.layer.output_shape:
        return ""
    column = wrong.x[wrong.index[0]]
    if column.ndim == 3:
        column = column[:, wrong.index[2], wrong.index[3]]
    if layer.input_shape != (len(column), *[1] * (wrong.x.ndim - 2)):
        return ""
    values = ", ".join(f"{value:.9g}" for value in column)
    return f"np.array([{values}], np.float32).reshape{(1, *layer.input_shape)}"


def _plain(text: str) -> str:
    return "".join(letter for letter in text if letter.isalnum() or letter in ".+-")


def _alone(network: Network, operator: AnyOperator, shape: Shape) -> Network:
    """A network of one operator; where that reads several inputs, of one more for each, which the script leaves out."""
    image = "image" if operator.name != "image" else "picture"
    count = len(operator.reads)
    before = [Relu(op="relu", name=f"{operator.name}_{place}", inputs=(image,)) for place in range(count)]
    reads = tuple(each.name for each in before) if count > 1 else (image,)
    own = operator.model_copy(update={"inputs": reads, "source": None})
    update = {"input": Input(name=image, shape=shape), "name": "one_operator", "title": "One operator"}
    return network.with_graph([*before, own] if count > 1 else [own]).model_copy(
        update={**update, "preprocessing": None, "training": None, "evaluation": None}
    )


def _shrunk(layer: Layer) -> Iterator[tuple[AnyOperator, Shape]]:
    """The operator and what it reads, from the smallest that there can be to its own size."""
    operator, shape = layer.operator, layer.input_shape
    match operator:
        case Conv():
            rows, columns = operator.kernel
            more = (rows + 2 * operator.stride[0], columns + 2 * operator.stride[1])
            for times, size in ((1, (rows, columns)), (2, (rows, columns)), (2, more)):
                channels = times * operator.groups
                yield operator.model_copy(update={"out_channels": channels}), (channels, *size)
            yield operator, (shape[0], *more)
        case MaxPool() | AvgPool():
            rows, columns = operator.kernel
            yield operator, (1, rows, columns)
            yield operator, (2, rows + 2 * operator.stride[0] + 1, columns + 2 * operator.stride[1] + 1)
        case Dense():
            for inputs, outputs in ((1, 1), (4, 3), (layer.input_shape[0], 3)):
                yield operator.model_copy(update={"in_features": inputs, "out_features": outputs}), (inputs,)
        case Lrn():
            for channels in (operator.towers, operator.towers * (operator.n + 1), shape[0]):
                yield operator, (channels, 1, 1)
        case BatchNorm():
            yield from ((operator, (channels, 2, 2)) for channels in (1, 3))
        case _:
            small = ((1, 1, 1), (2, 3, 2), (shape[0], 1, 1)) if len(shape) == 3 else ((2,), (5,))
            yield from ((operator, size) for size in small)
    yield operator, shape
