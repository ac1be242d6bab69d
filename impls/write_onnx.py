"""Writes an ONNX model with its weights: `python -m impls.write_onnx SOURCE WEIGHTS OUTPUT`."""

from pathlib import Path

import onnx

from impls.runner import import_source
from spec.exits import Exit, end
from spec.tensors import read


def main(arguments: list[str]) -> Exit:
    """One file, checked by onnx; its batch is open."""
    source, weights, output, *_ = arguments
    model: onnx.ModelProto = import_source(source).build(read(Path(weights)))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, output)
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
