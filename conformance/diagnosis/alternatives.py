"""What an operator may have computed instead of what was asked: the oracle's own functions, asked something else.

An alternative is an operator with another field, other inputs or other tensors; or another formula in its place; or
what becomes of a right output. Each is named by what is other, `field: value`, and the names are the same every time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
import numpy.typing as npt

from conformance.diagnosis.formulas import OF_BATCH, formulas
from conformance.diagnosis.precision import SAME_SIGNIFICAND
from conformance.diagnosis.weights import other_tensors
from conformance.diagnosis.wrong_values import changes, library_defaults
from conformance.oracle import Tensors, evaluate, noise_scale
from conformance.storage import BF16_DROPPED, TF32_DROPPED, operand, stored
from conformance.windows import Array
from spec.network import Network
from spec.operators import AvgPool, Conv, Dense, Flatten, MaxPool, Relu, Softmax
from spec.shapes import Layer, ShapeError, shaped

Channels = npt.NDArray[np.integer] | slice
ALL = slice(None)
FIRST = slice(0, 1)
#: Of so many output channels, over all groups, a costly operator is evaluated before it is as a whole.
FEW_CHANNELS = 16
COSTLY_MACS = 4_000_000
#: Of so many inputs all orders are tried.
MOST_PERMUTED = 4


@dataclass(frozen=True)
class Asked:
    """What an operator is asked: itself in its place, what it reads, and its tensors, in float64 or float32."""

    layer: Layer
    inputs: tuple[Array, ...]
    tensors: Tensors

    def fits(self) -> bool:
        """Whether its tensors have the shapes that it asks for."""
        shapes = self.layer.tensor_shapes
        return all(name in self.tensors and self.tensors[name].shape == shape for name, shape in shapes.items())

    def value(self) -> Array:
        """What the oracle gives."""
        return evaluate(self.layer, self.inputs, self.tensors)

    def scale(self) -> Array | None:
        """S of every element, where it is a sum of products."""
        return noise_scale(self.layer, self.inputs, self.tensors)

    def changed(self, operator: object = None, inputs: tuple[Array, ...] | None = None) -> "Asked | None":
        """The same with another operator, or with other inputs; None where that does not fit."""
        inputs = self.inputs if inputs is None else inputs
        try:
            layer = shaped(operator or self.layer.operator, tuple(x.shape[1:] for x in inputs))  # type: ignore[arg-type]
        except ShapeError:
            return None
        own = Asked(layer, inputs, self.tensors)
        return own if own.fits() else None

    def images(self, images: slice) -> "Asked":
        """The same for some images."""
        return replace(self, inputs=tuple(x[images] for x in self.inputs))

    def channels(self, channels: Channels) -> "Asked":
        """The same for some of the output's channels, as many of each group."""
        if isinstance(channels, slice):
            return self
        return replace(self, tensors={name: value[channels] for name, value in self.tensors.items()})


@dataclass(frozen=True)
class Alternative:
    """One thing that may have been computed instead."""

    change: str
    asked: Asked
    formula: Callable[[Asked], Array] = field(default=Asked.value)
    after: Callable[[Array], Array] = field(default=lambda value: value)
    """What becomes of the output, and of S."""
    exact: bool = True
    """Whether it computes nothing where the operator itself computes nothing."""
    undo: Callable[[Array], Array] = field(default=lambda actual: actual)
    """What is done to what was found, before it is compared."""
    told_anyway: bool = False
    """Whether it is told beside another that comes to the same."""
    of_batch: bool = False
    """Whether it is about images together, and can be told by all of them only."""

    def expected(self, images: slice, channels: Channels) -> tuple[Array, Array | None]:
        """Value and S for some images and some channels."""
        own = self.asked.images(images).channels(channels)
        value, scale = self.formula(own), own.scale()
        if scale is not None and scale.shape != value.shape:
            scale = np.abs(value)  # no sum of products any more: what was rounded is what is there
        return self.after(value), None if scale is None else self.after(scale)

    def few_channels(self) -> Channels:
        """Some output channels that say enough of a costly operator; all of any other."""
        layer, operator = self.asked.layer, self.asked.layer.operator
        if self.of_batch or layer.macs < COSTLY_MACS or not isinstance(operator, Conv | Dense):
            return ALL
        groups = operator.groups if isinstance(operator, Conv) else 1
        outputs = np.arange(layer.output_shape[0]).reshape(groups, -1)
        few = max(1, FEW_CHANNELS // groups)
        return outputs[:, :: -(-outputs.shape[1] // few)].ravel()


@dataclass(frozen=True)
class Surroundings:
    """Where an operator stands: what others read and hold."""

    network: Network
    taps: Mapping[str, Array]
    """What every tap is read as, the input's too."""
    tensors: Tensors
    """Of all operators."""
    outputs: Mapping[str, Array] = field(default_factory=dict)
    """What every operator should give by itself."""


def alternatives(asked: Asked, around: Surroundings) -> Iterator[Alternative]:
    """Everything that is tried; of two that come to the same, the first is named."""
    yield from _fields(asked)
    yield from _windows(asked)
    yield from _kernels(asked)
    yield from _extents(asked)
    if isinstance(asked.layer.operator, Softmax):
        yield Alternative("operator: logarithm of softmax", asked, undo=np.exp)
    for change, formula, exact in formulas(asked.layer.operator):
        yield Alternative(change, asked, formula, exact=exact, of_batch=change in OF_BATCH)
    for change, tensors in other_tensors(asked.layer, asked.tensors, around.tensors, _flattened(asked.layer, around)):
        yield Alternative(change, replace(asked, tensors=tensors))
    yield from _inputs(asked, around)
    yield from _outputs(asked, around)
    yield from _precisions(asked)


def _fields(asked: Asked) -> Iterator[Alternative]:
    """Fields one by one, and those that are left to a library together."""
    operator = asked.layer.operator
    for change in (*changes(operator), *library_defaults(operator)):
        if (own := asked.changed(operator.model_copy(update=dict(change.update)))) is not None:
            yield Alternative(change.words, own)


def _windows(asked: Asked) -> Iterator[Alternative]:
    """Windows that begin a row or column too late or too early."""
    operator = asked.layer.operator
    if not isinstance(operator, Conv | MaxPool | AvgPool):
        return
    (x,), (top, left, bottom, right) = asked.inputs, operator.pads
    moved = {
        "window: one row down": (x[:, :, 1:], (top, left, bottom + 1, right)),
        "window: one row up": (x[:, :, :-1], (top + 1, left, bottom, right)),
        "window: one column right": (x[:, :, :, 1:], (top, left, bottom, right + 1)),
        "window: one column left": (x[:, :, :, :-1], (top, left + 1, bottom, right)),
        "window: one row down, one column right": (x[:, :, 1:, 1:], (top, left, bottom + 1, right + 1)),
    }
    for change, (seen, pads) in moved.items():
        if min(seen.shape) > 0 and (own := asked.changed(operator.model_copy(update={"pads": pads}), (seen,))):
            yield Alternative(change, own)


def _kernels(asked: Asked) -> Iterator[Alternative]:
    """A kernel with holes, its middle alone, and one of which some groups see a part."""
    operator = asked.layer.operator
    if not isinstance(operator, Conv):
        return
    name = f"{asked.layer.name}.weight"
    kernel = asked.tensors[name]
    for groups in (2, 4):
        part = kernel[:, : kernel.shape[1] // groups]
        more = operator.model_copy(update={"groups": operator.groups * groups})
        if (own := replace(asked, tensors={**asked.tensors, name: part}).changed(more)) is not None:
            yield Alternative(f"groups: {more.groups}", own)
        if len(kernel) % more.groups == 0 and kernel.shape[1] % groups == 0:
            towers = np.arange(len(kernel)) * more.groups // len(kernel) % groups
            of_inputs = np.arange(kernel.shape[1]) * groups // kernel.shape[1]
            inside = np.where((towers[:, None] == of_inputs)[:, :, None, None], kernel, 0.0)
            yield Alternative(f"groups: {more.groups}", replace(asked, tensors={**asked.tensors, name: inside}))
    if min(operator.kernel) > 2:
        middle = np.zeros_like(kernel)
        middle[:, :, 1:-1, 1:-1] = kernel[:, :, 1:-1, 1:-1]
        change = f"kernel: [{operator.kernel[0] - 2}, {operator.kernel[1] - 2}]"
        yield Alternative(change, replace(asked, tensors={**asked.tensors, name: middle}))
    if operator.kernel == (1, 1):
        return
    rows, columns = (2 * extent - 1 for extent in operator.kernel)
    wide = np.zeros((*kernel.shape[:2], rows, columns), kernel.dtype)
    wide[:, :, ::2, ::2] = kernel
    (top, left, bottom, right), (down, across) = operator.pads, (rows // 2, columns // 2)
    for pads in (operator.pads, (top + down // 2, left + across // 2, bottom + down // 2, right + across // 2)):
        holed = operator.model_copy(update={"kernel": (rows, columns), "pads": pads})
        if (own := replace(asked, tensors={**asked.tensors, name: wide}).changed(holed)) is not None:
            yield Alternative("dilation: 2", own)


def _extents(asked: Asked) -> Iterator[Alternative]:
    """One output, or one feature that is read, too few."""
    operator = asked.layer.operator
    if not isinstance(operator, Conv | Dense):
        return
    field_name = "out_channels" if isinstance(operator, Conv) else "out_features"
    outputs = asked.layer.output_shape[0]
    change = f"{field_name}: {outputs - 1}"
    fewer = operator.model_copy(update={field_name: outputs - 1})
    if outputs > 1:
        cut = {name: value[:-1] for name, value in asked.tensors.items()}
        if (own := replace(asked, tensors=cut).changed(fewer)) is not None:
            yield Alternative(change, own)
        repeated = {name: value[[*range(outputs - 1), outputs - 2]] for name, value in asked.tensors.items()}
        yield Alternative(change, replace(asked, tensors=repeated))
    if isinstance(operator, Dense):
        name = f"{asked.layer.name}.weight"
        weight = asked.tensors[name].copy()
        weight[:, -1] = 0.0
        yield Alternative(
            f"in_features: {operator.in_features - 1}", replace(asked, tensors={**asked.tensors, name: weight})
        )


def _flattened(layer: Layer, around: Surroundings) -> tuple[int, ...] | None:
    """The image that a dense layer reads flattened, if it does."""
    before = next((own for own in around.network.layers if own.name == layer.operator.reads[0]), None)
    return before.input_shape if before is not None and isinstance(before.operator, Flatten) else None


def _inputs(asked: Asked, around: Surroundings) -> Iterator[Alternative]:
    """Another tap in the place of one that it reads: what an exchange of neighbours comes to."""
    reads = asked.layer.operator.reads
    for place, read in enumerate(reads):
        for tap in around.taps:
            if tap in (asked.layer.name, read):
                continue
            inputs = (*asked.inputs[:place], around.taps[tap], *asked.inputs[place + 1 :])
            if (own := asked.changed(inputs=inputs)) is not None:
                named = (*reads[:place], tap, *reads[place + 1 :])
                yield Alternative(f"inputs: [{', '.join(named)}]", own)
    for place, read in enumerate(reads):
        if len(reads) > 1:
            x = tuple(np.zeros_like(value) if index == place else value for index, value in enumerate(asked.inputs))
            yield Alternative(f"inputs: {read} missing", replace(asked, inputs=x))
    for places in permutations(range(len(reads))) if 1 < len(reads) <= MOST_PERMUTED else ():
        if places != tuple(range(len(reads))):
            own = asked.changed(inputs=tuple(asked.inputs[place] for place in places))
            if own is not None:
                yield Alternative(f"inputs: [{', '.join(reads[place] for place in places)}]", own)


def _outputs(asked: Asked, around: Surroundings) -> Iterator[Alternative]:
    """What becomes of a right output, or stands in its place."""
    name, x = asked.layer.name, asked.inputs[0]
    yield Alternative("operator: absent", asked, lambda own: own.inputs[0])
    if asked.layer.output_shape != x.shape[1:] and np.prod(asked.layer.output_shape) == np.prod(x.shape[1:]):
        shape = asked.layer.output_shape
        yield Alternative("operator: absent", asked, lambda own: own.inputs[0].reshape(-1, *shape))
    if name in around.taps:
        fed = around.taps[name]
        yield Alternative("output: what was fed in its place", asked, lambda own: fed[: len(own.inputs[0])])
    for layer in around.network.layers:
        if layer.operator.reads == (name,) and not layer.tensor_shapes:
            own = _followed(layer)
            sums = isinstance(layer.operator, Relu)
            yield Alternative(f"output: that of {layer.name}", asked, own, exact=sums)
    for tap, value in around.outputs.items():
        if tap != name and value.shape[1:] == asked.layer.output_shape:
            yield Alternative(f"output: that of {tap}", asked, _given(value), exact=False)
    yield Alternative("batch: in reverse order", asked, after=lambda value: value[::-1], of_batch=True)
    yield Alternative("batch: moved on by one", asked, after=lambda value: np.roll(value, 1, 0), of_batch=True)
    yield Alternative("batch: moved back by one", asked, after=lambda value: np.roll(value, -1, 0), of_batch=True)
    yield Alternative(
        "batch: its first image throughout", asked, after=lambda y: np.repeat(y[:1], len(y), 0), of_batch=True
    )
    if len(asked.layer.output_shape) == 3:
        yield from (Alternative(change, asked, after=after) for change, after in IMAGES.items())


def _followed(layer: Layer) -> Callable[[Asked], Array]:
    return lambda own: evaluate(layer, (own.value(),), {})


def _given(value: Array) -> Callable[[Asked], Array]:
    return lambda own: value[: len(own.inputs[0])]


def _precisions(asked: Asked) -> Iterator[Alternative]:
    """Operands, or a result, that are rounded to fewer bits."""
    if asked.scale() is None:
        for name in RESULTS:
            yield Alternative(f"precision: {name} result", asked, after=ROUNDED[name][0], exact=False)
    sums = isinstance(asked.layer.operator, Conv | Dense)
    for name, rounded in [(name, each) for name, ways in ROUNDED.items() for each in ways]:
        x = tuple(rounded(value) for value in asked.inputs)
        if sums:
            tensors = _weights_as(asked.tensors, rounded)
            yield _rounded(f"{name}", replace(asked, inputs=x, tensors=tensors))
            yield _rounded(f"{name} weights", replace(asked, tensors=tensors))
        yield _rounded(f"{name} inputs", replace(asked, inputs=x))
    for name, quantised in QUANTISED.items() if sums else ():
        own = replace(asked, tensors=_weights_as(asked.tensors, quantised))
        yield Alternative(f"precision: {name} weights", own, exact=False)
    yield Alternative("precision: denormals are 0", asked, lambda own: _flushed(own.value()))


def _rounded(name: str, asked: Asked) -> Alternative:
    """Operands in float16 and in TF32 are both told: that they come to the same is what there is to say."""
    return Alternative(f"precision: {name}", asked, exact=False, told_anyway=name.startswith(SAME_SIGNIFICAND))


def _weights_as(tensors: Tensors, rounded: Callable[[Array], Array]) -> dict[str, Array]:
    """The tensors, with weights in another format, which float32 holds."""
    return {
        name: rounded(value).astype(np.float32) if name.endswith(".weight") else value
        for name, value in tensors.items()
    }


def _flushed(values: Array) -> Array:
    return np.where(np.abs(values) < np.finfo(np.float32).tiny, 0.0, values)


def _truncated(values: Array, dropped: int) -> Array:
    """Without the last bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return (bits & np.uint32(0xFFFFFFFF << dropped & 0xFFFFFFFF)).view(np.float32).astype(np.float64)


def _half_up(values: Array) -> Array:
    """TF32 to nearest, ties away from 0."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32) + np.uint32(0x1000)
    return (bits & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)


def _float16(values: Array) -> Array:
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float64)


#: Formats of operands, and the ways in which they are rounded.
ROUNDED: dict[str, tuple[Callable[[Array], Array], ...]] = {
    "tf32": (
        lambda values: operand(values.astype(np.float32), "tf32").astype(np.float64),
        _half_up,
        lambda values: _truncated(values, TF32_DROPPED),
    ),
    "bf16": (lambda values: stored(values.astype(np.float32), "bf16").astype(np.float64),),
    "bf16 toward zero": (lambda values: _truncated(values, BF16_DROPPED),),
    "float16": (_float16,),
}
#: Those of results that nothing is added up for; of two that come to the same, the first.
RESULTS = ("bf16", "float16", "tf32")


def _quantised(values: Array, axes: tuple[int, ...] | None) -> Array:
    """To whole multiples of a 127th of the largest."""
    step = np.abs(values).max(axis=axes, keepdims=True) / 127.0
    y: Array = np.round(values / np.where(step > 0, step, 1.0)) * step
    return y


#: Formats of weights alone.
QUANTISED: dict[str, Callable[[Array], Array]] = {
    "int8": lambda values: _quantised(values, None),
    "int8, by channel,": lambda values: _quantised(values, tuple(range(1, values.ndim))),
}

#: What becomes of images on the way out.
IMAGES: dict[str, Callable[[Array], Array]] = {
    "output: rows and columns exchanged": lambda y: y.transpose(0, 1, 3, 2),
    "output: rows in reverse order": lambda y: y[:, :, ::-1],
    "output: columns in reverse order": lambda y: y[:, :, :, ::-1],
    "output: channels in reverse order": lambda y: y[:, ::-1],
    "output: channels last": lambda y: y.transpose(0, 2, 3, 1),
    "output: channels last, read as channels first": lambda y: y.transpose(0, 2, 3, 1).reshape(y.shape),
    "output: channels first, read as channels last": lambda y: y.reshape(len(y), *y.shape[2:], y.shape[1]).transpose(
        0, 3, 1, 2
    ),
}
