"""A runner that a stranger could have written: NumPy and the standard library, the network from its JSON.

It imports nothing of Lockstep and knows the protocol `lockstep-worker/1` from impls/README.md alone. It evaluates what
alexnet_narrow consists of, and says so of anything else:

    python -m conformance --spec alexnet_narrow --runner mine="python tests/impls/example_runner.py"

With `--plain` it declares that it cannot substitute what operators read.
"""

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

Array = npt.NDArray[np.float32]
PROTOCOL = "lockstep-worker/1"
SUBSTITUTES = "--plain" not in sys.argv[1:]


class Refusal(Exception):
    """What the runner cannot do; the first argument is the error kind, the second the message."""


def read(path: str) -> dict[str, Array]:
    """The float32 tensors of a safetensors file: a length, a JSON header, the data."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if entry["dtype"] != "F32":
            raise Refusal("unsupported", f"{name}: expected F32, found {entry['dtype']}")
        tensors[name] = np.frombuffer(data[begin:end], "<f4").reshape(entry["shape"])
    return tensors


def write(path: str, tensors: dict[str, Array]) -> None:
    """Write a safetensors file."""
    header, parts, begin = {}, [], 0
    for name, tensor in tensors.items():
        part = np.ascontiguousarray(tensor, "<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": [begin, begin + len(part)]}
        parts.append(part)
        begin += len(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def windows(x: Array, kernel: list[int], stride: list[int], pads: list[int], fill: float) -> Array:
    """Every window of padded images: (N, C, rows, columns, kernel height, kernel width)."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    return sliding_window_view(padded, tuple(kernel), axis=(2, 3))[:, :, :: stride[0], :: stride[1]]


def conv(x: Array, op: dict[str, Any], weight: Array, bias: Array | None) -> Array:
    """Cross-correlation with the kernel (O, I/groups, H, W)."""
    cut = windows(x, op["kernel"], op["stride"], op["pads"], 0.0)
    outputs = []
    for images, kernels in zip(np.split(cut, op["groups"], axis=1), np.split(weight, op["groups"]), strict=True):
        outputs.append(np.tensordot(images, kernels, axes=((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2))
    y = np.concatenate(outputs, axis=1)
    return y if bias is None else y + bias[:, None, None]


def lrn(x: Array, op: dict[str, Any]) -> Array:
    """Divide by (k + alpha · Σ x²)^beta over n neighbouring channels."""
    if op["scope"] != "whole":
        raise Refusal("unsupported", f"lrn of scope {op['scope']}")
    half, channels = op["n"] // 2, x.shape[1]
    squares = np.pad(x * x, ((0, 0), (half, half), (0, 0), (0, 0)))
    sums: Array = np.sum([squares[:, i : i + channels] for i in range(op["n"])], axis=0)
    alpha = op["alpha"] / (op["n"] if op["alpha_convention"] == "mean" else 1)
    divisor: Array = (np.float32(op["k"]) + np.float32(alpha) * sums) ** np.float32(op["beta"])
    return x / divisor


def evaluate(op: dict[str, Any], x: Array, tensors: dict[str, Array]) -> Array:
    """One operator."""
    weight, bias = tensors.get(f"{op['name']}.weight"), tensors.get(f"{op['name']}.bias")
    match op:
        case {"op": "conv"} if weight is not None:
            return conv(x, op, weight, bias)
        case {"op": "dense"} if weight is not None:
            return x @ weight.T if bias is None else x @ weight.T + bias
        case {"op": "relu"}:
            return np.maximum(x, np.float32(0))
        case {"op": "lrn"}:
            return lrn(x, op)
        case {"op": "max_pool", "rounding": "floor"}:
            cut: Array = windows(x, op["kernel"], op["stride"], op["pads"], -np.inf)
            return np.asarray(cut.max(axis=(4, 5)))
        case {"op": "flatten"}:
            return x.reshape(len(x), -1)
        case {"op": "dropout", "convention": "test_time"}:
            return x * np.float32(1 - op["drop_probability"])
        case _:
            raise Refusal("unsupported", f"operator {op['op']} of {op['name']}")


class Runner:
    """What stays from one request to the next: the network and its tensors."""

    def hello(self, request: dict[str, Any]) -> dict[str, Any]:
        """Say who this is; refuse a protocol that is not ours."""
        if request["protocol"] != PROTOCOL:
            raise Refusal("wrong_protocol", f"expected {PROTOCOL}, found {request['protocol']}")
        who = {"framework": "example", "version": "1.0", "environment": {"numpy": np.__version__}}
        return {"protocol": PROTOCOL, "substitutes": SUBSTITUTES, "devices": ["cpu"], **who}

    def load(self, request: dict[str, Any]) -> dict[str, Any]:
        """Read the network and its tensors."""
        if (request["device"], request["dtype"]) != ("cpu", "float32"):
            raise Refusal("missing_device", f"only float32 on cpu, asked {request['dtype']} on {request['device']}")
        self.network = json.loads(Path(request["network"]).read_text(encoding="utf-8"))
        self.tensors = read(request["weights"])
        return {}

    def trace(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run once; record each operator's own output, and pass on what replaces it."""
        values = read(request["input"])
        given = read(request["substitutes"]) if request["substitutes"] else {}
        recorded = {}
        for op in self.network["graph"]:
            (source,) = op["inputs"]
            y = evaluate(op, values[source], self.tensors)
            if op["name"] in request["taps"]:
                recorded[op["name"]] = y
            values[op["name"]] = given.get(op["name"], y)
        write(request["output"], recorded)
        return {"device": "cpu"}


def main() -> None:
    """Answer every line."""
    runner = Runner()
    for line in sys.stdin:
        request = json.loads(line)
        try:
            match request["do"]:
                case "hello" | "load" | "trace" as asked:
                    answer = {"ok": getattr(runner, asked)(request)}
                case "stop":
                    return
                case unknown:
                    raise Refusal("bad_request", f"unknown request {unknown!r}")
        except Refusal as refusal:
            answer = {"error": dict(zip(("kind", "message"), refusal.args, strict=True))}
        print(json.dumps({"id": request["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
