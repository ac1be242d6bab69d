"""Output sizes against windows that are placed one by one."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spec.operators import AnyOperator, AvgPool, Concat, Conv, Dense, MaxPool
from spec.shapes import ShapeError, shaped, window

EXTENT = st.integers(1, 24)
KERNEL = st.integers(1, 7)
STRIDE = st.integers(1, 6)
PAD = st.integers(0, 6)


def conv(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, int, int, int],
    groups: int = 1,
    out_channels: int = 4,
) -> Conv:
    return Conv(
        name="conv",
        op="conv",
        out_channels=out_channels,
        kernel=kernel,
        stride=stride,
        pads=pads,
        groups=groups,
        bias=True,
        inputs=("image",),
    )


def max_pool(kernel: int, stride: int, pads: tuple[int, int, int, int], rounding: str) -> MaxPool:
    return MaxPool.model_validate(
        {"name": "pool", "op": "max_pool", "kernel": kernel, "stride": stride, "pads": pads, "rounding": rounding}
    )


def starts_by_floor(size: int, before: int, after: int, kernel: int, stride: int) -> list[int]:
    """Where windows begin, in the coordinates of the input: each lies on the padded input with all its elements."""
    starts = range(-before, size + after, stride)
    return [start for start in starts if start + kernel <= size + after]


def starts_by_ceil(size: int, before: int, after: int, kernel: int, stride: int) -> list[int]:
    """As many as it takes to cover the padded input, except a last one that would begin beyond the input."""
    starts = [-before]
    while starts[-1] + kernel < size + after:
        starts.append(starts[-1] + stride)
    return starts if starts[-1] < size else starts[:-1]


@given(EXTENT, EXTENT, KERNEL, KERNEL, STRIDE, STRIDE, PAD, PAD, PAD, PAD)
def test_convolution_has_one_output_a_window_that_fits(
    height: int,
    width: int,
    kernel_h: int,
    kernel_w: int,
    stride_h: int,
    stride_w: int,
    t: int,
    left: int,
    b: int,
    r: int,
) -> None:
    rows = starts_by_floor(height, t, b, kernel_h, stride_h)
    columns = starts_by_floor(width, left, r, kernel_w, stride_w)
    assume(rows and columns)
    operator = conv((kernel_h, kernel_w), (stride_h, stride_w), (t, left, b, r))
    placed = window(operator, height, width)
    assert placed.output == (len(rows), len(columns))
    assert placed.overflow == (0, 0)


@given(EXTENT, EXTENT, KERNEL, STRIDE, PAD, PAD, st.sampled_from(["floor", "ceil"]))
def test_pooling_has_one_output_a_window(
    height: int, width: int, kernel: int, stride: int, before: int, after: int, rounding: str
) -> None:
    assume(max(before, after) < kernel and min(height, width) + before + after >= kernel)
    place = starts_by_ceil if rounding == "ceil" else starts_by_floor
    rows, columns = (place(size, before, after, kernel, stride) for size in (height, width))
    placed = window(max_pool(kernel, stride, (before, before, after, after), rounding), height, width)
    assert placed.output == (len(rows), len(columns))
    beyond = [max(0, starts[-1] + kernel - (size + after)) for starts, size in ((rows, height), (columns, width))]
    assert placed.overflow == tuple(beyond)


@given(EXTENT, KERNEL, STRIDE, PAD, PAD)
def test_every_ceil_window_sees_the_input(size: int, kernel: int, stride: int, before: int, after: int) -> None:
    assume(max(before, after) < kernel and size + before + after >= kernel)
    (rows, _) = window(max_pool(kernel, stride, (before, before, after, after), "ceil"), size, size).output
    for row in range(rows):
        start = row * stride - before
        assert start < size
        assert start + kernel > 0


@given(EXTENT, KERNEL)
def test_kernel_larger_than_the_padded_input_is_rejected(size: int, extra: int) -> None:
    with pytest.raises(ShapeError, match=f"fits the padded height {size}, found {size + extra}"):
        window(max_pool(size + extra, 1, (0, 0, 0, 0), "ceil"), size, size)


def test_caffe_and_torch_sizes_of_ceil_pooling() -> None:
    # Caffe's GoogLeNet: 112 → 56 and 56 → 28 with a 3×3 window, stride 2, ceil; floor gives 55 and 27.
    assert window(max_pool(3, 2, (0, 0, 0, 0), "ceil"), 112, 56).output == (56, 28)
    assert window(max_pool(3, 2, (0, 0, 0, 0), "floor"), 112, 56).output == (55, 27)
    # A 2×2 window with stride 2 and padding 1 on 4 rows: a last window that begins on the bottom padding is left out.
    assert window(max_pool(2, 2, (1, 1, 1, 1), "ceil"), 4, 5).output == (3, 3)


def test_convolution_of_2012_reaches_55_rows_with_lopsided_padding() -> None:
    assert window(conv((11, 11), (4, 4), (0, 0, 3, 3)), 224, 224).output == (55, 55)
    assert window(conv((11, 11), (4, 4), (0, 0, 0, 0)), 224, 224).output == (54, 54)
    assert window(conv((11, 11), (4, 4), (2, 2, 2, 2)), 227, 227).output == (56, 56)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_convolution_counts_its_products(groups: int, inside: int, outside: int, kernel_h: int, kernel_w: int) -> None:
    operator = conv((kernel_h, kernel_w), (1, 1), (0, 0, 0, 0), groups=groups, out_channels=groups * outside)
    layer = shaped(operator, ((groups * inside, 5, 4),))
    products = 0
    for _group in range(groups):
        for _output in range(outside * (5 - kernel_h + 1) * (4 - kernel_w + 1)):
            products += inside * kernel_h * kernel_w
    assert layer.macs == products
    assert layer.parameter_shapes == {
        "conv.weight": (groups * outside, inside, kernel_h, kernel_w),
        "conv.bias": (groups * outside,),
    }


def test_concat_needs_images_of_one_size() -> None:
    concat = Concat(name="both", op="concat", inputs=("a", "b"))
    assert shaped(concat, ((2, 5, 4), (3, 5, 4))).output_shape == (5, 5, 4)
    for other in ((3, 5, 5), (3, 4, 4), (3,)):
        with pytest.raises(ShapeError, match="expected inputs that differ in channels only"):
            shaped(concat, ((2, 5, 4), other))


@pytest.mark.parametrize(
    "operator",
    [
        conv((1, 1), (1, 1), (0, 0, 0, 0)),
        max_pool(1, 1, (0, 0, 0, 0), "floor"),
        AvgPool(
            name="pool",
            op="avg_pool",
            kernel=(1, 1),
            stride=(1, 1),
            pads=(0,) * 4,
            rounding="floor",
            padding_counted=True,
        ),
    ],
)
def test_operators_on_images_reject_features(operator: AnyOperator) -> None:
    with pytest.raises(ShapeError, match=r"expects an image \(C, H, W\), found shape 10"):
        shaped(operator, ((10,),))


def test_dense_layer_has_one_product_a_weight() -> None:
    dense = Dense(name="fc", op="dense", in_features=7, out_features=3, bias=False, inputs=("image",))
    layer = shaped(dense, ((7,),))
    assert (layer.macs, layer.parameters, layer.neurons, layer.output_shape) == (21, 21, 3, (3,))
