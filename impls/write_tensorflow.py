"""Writes a SavedModel: `python -m impls.write_tensorflow SOURCE WEIGHTS OUTPUT C H W`."""

from pathlib import Path

import tensorflow as tf

from impls.runner import import_source
from spec.exits import Exit, end
from spec.tensors import read


def main(arguments: list[str]) -> Exit:
    """A folder with graph and variables; `serving_default` takes images (N, H, W, C) as `x`, N of any size."""
    source, weights, output, *shape = arguments
    channels, height, width = map(int, shape)
    model = import_source(source).load(read(Path(weights)))
    x = tf.TensorSpec([None, height, width, channels], tf.float32, name="x")
    tf.saved_model.save(model, output, signatures=model.__call__.get_concrete_function(x))
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
