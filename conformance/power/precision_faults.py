"""Planted faults of precision: fewer bits, approximations, what is flushed, swallowed or wrong in one place."""

import numpy as np

from conformance.oracle import Array
from conformance.power.fault import MILLION, OPERATORS, Fault, tensor

#: Rounds x to TF32 by arithmetic alone: with c = 8193·x, c − (c − x) keeps 11 significant bits.
_TF32 = "x * 8193.0 - (x * 8193.0 - x)"
#: To 8 significant bits, likewise: bfloat16.
_BF16 = "({y} * 65537.0 - ({y} * 65537.0 - {y}))"


def _tf32(values: Array) -> Array:
    """Float32 with its last 13 bits rounded away."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def _bf16(values: Array) -> Array:
    """Float32 with its last 16 bits rounded away."""
    bits = np.asarray(values, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def _float16(values: Array) -> Array:
    return values.astype(np.float16).astype(np.float32)


def _int8(values: Array) -> Array:
    step = np.abs(values).max() / 127.0
    rounded: Array = (np.round(values / step) * step).astype(np.float32)
    return rounded


def _half(value: str) -> dict[str, str]:
    """A value rounded to float16, in each framework; `value` is what ONNX calls its tap."""
    return {
        "torch": "{y}.half().float()",
        "jax": '{y}.astype("float16").astype("float32")',
        "tensorflow": "tf.cast(tf.cast({y}, tf.float16), tf.float32)",
        "onnx": f'node("{value}", "Cast", node("{value}.half", "Cast", {{y}}, to=10), to=1)',
    }


PRECISION_FAULTS: tuple[Fault, ...] = (
    Fault(
        "tf32_in_one_layer",
        "conv",
        "precision",
        "inputs and kernels of conv4 are rounded to TF32",
        "conv4",
        tensors=tensor("conv4.weight", _tf32),
        lines={
            "torch": (("self.conv4(x)", f"self.conv4({_TF32})"),),
            "jax": (('conv(x, p["conv4"]', 'conv(lax.reduce_precision(x, 8, 10), p["conv4"]'),),
            "tensorflow": (("conv(x, self.conv4", f"conv({_TF32}, self.conv4"),),
            "onnx": (
                ("constants = {", 'constants = {"split": np.array(8193.0, np.float32),'),
                (
                    'node("conv4", "Conv", x',
                    'node("conv4", "Conv", node("high", "Sub", node("c", "Mul", x, "split"), node("d", "Sub", "c", x))',
                ),
            ),
        },
        explained_by="precision: tf32",
    ),
    Fault(
        "tf32_in_a_dense_layer",
        "dense",
        "precision",
        "the weights of fc6 are rounded to TF32",
        "fc6",
        tensors=tensor("fc6.weight", _tf32),
        explained_by="precision: float16 or tf32 weights",
    ),
    Fault(
        "bf16_in_one_layer",
        "conv",
        "precision",
        "the kernels of conv2 are rounded to bfloat16",
        "conv2",
        tensors=tensor("conv2.weight", _bf16),
        explained_by="precision: bf16 weights",
    ),
    Fault(
        "bf16_in_a_dense_layer",
        "dense",
        "precision",
        "the weights of fc8 are rounded to bfloat16",
        "fc8",
        tensors=tensor("fc8.weight", _bf16),
        explained_by="precision: bf16 weights",
    ),
    Fault(
        "float16_weights",
        "conv",
        "precision",
        "the kernels of conv5 are stored in float16",
        "conv5",
        tensors=tensor("conv5.weight", _float16),
        explained_by="precision: float16 or tf32 weights",
    ),
    Fault(
        "int8_weights",
        "dense",
        "precision",
        "the weights of fc7 are quantised to 8 bits",
        "fc7",
        tensors=tensor("fc7.weight", _int8),
        explained_by="precision: int8 weights",
    ),
    Fault(
        "float16_accumulation",
        "dense",
        "precision",
        "sums of fc7 are kept in float16 while they grow",
        "fc7",
        instead={
            "torch": "(sum(((x[:, i::8] @ self.fc7.weight[:, i::8].T).half() for i in range(8)), "
            "self.fc7.bias.half())).float()",
            "jax": 'sum(((x[:, i::8] @ p["fc7"]["weight"][:, i::8].T).astype("float16") for i in range(8)), '
            'p["fc7"]["bias"].astype("float16")).astype("float32")',
            "tensorflow": 'tf.cast(sum((tf.cast(tf.linalg.matmul(x[:, i::8], self.fc7["weight"][i::8]), tf.float16) '
            'for i in range(8)), tf.cast(self.fc7["bias"], tf.float16)), tf.float32)',
        },
        explained_by="precision: float16 accumulation",
    ),
    Fault(
        "float16_storage",
        "conv",
        "precision",
        "the output of conv1 is stored in float16",
        "conv1",
        instead=_half("conv1"),
        explained_by="precision: float16 result",
    ),
    Fault(
        "float16_storage_of_a_copy",
        "concat",
        "precision",
        "what is joined is stored in float16",
        "join",
        OPERATORS,
        instead=_half("join"),
        explained_by="precision: float16 result",
    ),
    Fault(
        "reciprocal_approximated",
        "lrn",
        "precision",
        "a fast-math reciprocal of 12 bits",
        "norm1",
        instead={
            "torch": "(lambda x, d: x * (d * 4097.0 - (d * 4097.0 - d)))({x}, (self.norm1({x}) / {x}).nan_to_num())",
            "jax": "{x} * lax.reduce_precision("
            "local_response_norm({x}, n=5, k=2.0, alpha=0.0001, beta=0.75) / jnp.where({x} == 0, 1, {x}), 8, 11)",
            "tensorflow": "(lambda x, d: x * (d * 4097.0 - (d * 4097.0 - d)))({x}, tf.math.divide_no_nan({y}, {x}))",
        },
        explained_by="precision: quick reciprocal",
    ),
    Fault(
        "root_approximated",
        "batch_norm",
        "precision",
        "a fast-math reciprocal root of 12 bits",
        "bn1",
        OPERATORS,
        lines={
            "jax": (
                (
                    'lax.rsqrt(p["variance"] + epsilon)',
                    'lax.reduce_precision(lax.rsqrt(p["variance"] + epsilon), 8, 11)',
                ),
            ),
        },
        instead={
            "torch": "(lambda f: (({x} - self.bn1.running_mean[:, None, None]) "
            "* (self.bn1.weight * (f * 4097.0 - (f * 4097.0 - f)))[:, None, None]) + self.bn1.bias[:, None, None])"
            "(torch.rsqrt(self.bn1.running_var + 1e-3))",
            "tensorflow": '(lambda f: ({x} - self.bn1["mean"]) * (self.bn1["scale"] * (f * 4097.0 - (f * 4097.0 - f))) '
            '+ self.bn1["shift"])(tf.math.rsqrt(self.bn1["variance"] + 1e-3))',
        },
        explained_by="precision: quick reciprocal",
    ),
    Fault(
        "tanh_approximated",
        "tanh",
        "precision",
        "a rational approximation, off by 1e-3 at most where it bends",
        "tanh1",
        OPERATORS,
        instead={
            "torch": "(lambda x: x * (27.0 + x * x) / (27.0 + 9.0 * x * x))({x}.clamp(-3.0, 3.0))",
            "jax": "(lambda x: x * (27.0 + x * x) / (27.0 + 9.0 * x * x))({x}.clip(-3.0, 3.0))",
            "tensorflow": "(lambda x: x * (27.0 + x * x) / (27.0 + 9.0 * x * x))(tf.clip_by_value({x}, -3.0, 3.0))",
        },
    ),
    Fault(
        "exponential_approximated",
        "softmax",
        "precision",
        "probabilities from logits in bfloat16",
        "prob",
        OPERATORS,
        instead={
            "torch": "F.softmax(self._logits(x, tap, masks).bfloat16().float(), dim=1)",
            "jax": 'jax.nn.softmax({x}.astype("bfloat16").astype("float32"), axis=1)',
            "tensorflow": "tf.nn.softmax(tf.cast(tf.cast({x}, tf.bfloat16), tf.float32))",
            "onnx": 'node("prob", "Softmax", node("wide", "Cast", node("narrow", "Cast", {x}, to=16), to=1), axis=1)',
        },
        explained_by="precision: bf16 inputs",
    ),
    Fault(
        "mean_in_bf16",
        "global_avg_pool",
        "precision",
        "a mean over places is rounded to bfloat16",
        "gap",
        OPERATORS,
        instead={
            "torch": "{y}.bfloat16().float()",
            "jax": '{y}.astype("bfloat16").astype("float32")',
            "tensorflow": "tf.cast(tf.cast({y}, tf.bfloat16), tf.float32)",
            "onnx": 'node("gap", "Cast", node("narrow", "Cast", {y}, to=16), to=1)',
        },
        explained_by="precision: bf16 result",
    ),
    Fault(
        "small_values_flushed",
        "relu",
        "precision",
        "values below 1, of some hundreds, are flushed to zero",
        "relu4",
        instead={
            "torch": "F.threshold({x}, 1.0, 0.0)",
            "jax": "jnp.where({x} > 1.0, {x}, 0.0)",
            "tensorflow": "tf.where({x} > 1.0, {x}, 0.0)",
            "onnx": 'node("relu4", "ThresholdedRelu", {x}, alpha=1.0)',
        },
    ),
    Fault(
        "one_in_a_million",
        "conv",
        "precision",
        "one element of 1,048,576 is off by 1%",
        "conv1",
        MILLION,
        instead={
            "torch": "(lambda y: torch.where(torch.arange(y.numel()).reshape(y.shape) == 345678, 1.01 * y, y))({y})",
            "jax": "{y}.at[0, 5, 70, 78].multiply(1.01)",
            "tensorflow": "(lambda y: tf.where(tf.reshape(tf.range(tf.size(y)), tf.shape(y)) == 345678, 1.01 * y, y))"
            "({y})",
            "onnx": 'node("conv1", "ScatterND", {y}, node("at", "Constant", value_ints=[0, 5, 70, 78]), '
            'node("value", "Mul", node("one", "GatherND", "conv1.right", "at"), '
            'node("off", "Constant", value_float=1.01)))',
        },
    ),
    Fault(
        "nan_swallowed_by_relu",
        "relu",
        "precision",
        "one NaN, which the next ReLU takes for 0",
        "conv3",
        lines={
            "torch": (('"relu3", F.relu(x)', '"relu3", torch.where(x > 0, x, 0.0)'),),
            "jax": (('"relu3", jax.nn.relu(x)', '"relu3", jnp.where(x > 0, x, 0.0)'),),
            "tensorflow": (('"relu3", tf.nn.relu(x)', '"relu3", tf.where(x > 0, x, 0.0)'),),
        },
        instead={
            "torch": "(lambda y: torch.where(torch.arange(y.numel()).reshape(y.shape) == 100, torch.nan, y))({y})",
            "jax": "{y}.at[0, 2, 6, 0].set(jnp.nan)",
            "tensorflow": "(lambda y: tf.where(tf.reshape(tf.range(tf.size(y)), tf.shape(y)) == 100, np.nan, y))({y})",
        },
    ),
    Fault(
        "nan_swallowed_by_a_pool",
        "max_pool",
        "precision",
        "one NaN, which the next pool takes for the smallest number",
        "relu5",
        lines={
            "torch": (("self.pool5(x)", "self.pool5(x.nan_to_num(-torch.inf))"),),
            "jax": (('"pool5", max_pool(x', '"pool5", max_pool(jnp.nan_to_num(x, nan=-jnp.inf)'),),
            "tensorflow": (
                (
                    '"pool5", tf.nn.max_pool2d(x',
                    '"pool5", tf.nn.max_pool2d(tf.where(tf.math.is_nan(x), -np.inf, x)',
                ),
            ),
        },
        instead={
            "torch": "(lambda y: torch.where(torch.arange(y.numel()).reshape(y.shape) == 100, torch.nan, y))({y})",
            "jax": "{y}.at[0, 2, 6, 0].set(jnp.nan)",
            "tensorflow": "(lambda y: tf.where(tf.reshape(tf.range(tf.size(y)), tf.shape(y)) == 100, np.nan, y))({y})",
        },
    ),
    Fault(
        "float16_sums",
        "dense",
        "precision",
        "sums of fc6 are rounded to float16",
        "fc6",
        instead=_half("fc6"),
        explained_by="precision: float16 result",
    ),
)
