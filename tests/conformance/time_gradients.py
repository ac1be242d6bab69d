"""`python -m tests.conformance.time_gradients`: how long the whole gradient of the paper's AlexNet takes, batch 2.

A command and no test, because a busy machine is no defect. Target: 3 s on 2 cores.
"""

import sys
import time

import numpy as np

from conformance.backpropagation import backpropagate
from conformance.dropout import drawn_masks
from spec.load import load
from spec.recipe import Loss
from spec.store import Store
from spec.tensors import read

NETWORK, BATCH = "alexnet", 2
LOSS = Loss(kind="softmax_cross_entropy", reduction="mean")


def time_gradient(runs: int) -> str:
    """Wall-clock time of forward and backward pass on photographs, in one line."""
    network, store = load(NETWORK), Store()
    tensors = read(store.weights_file(network, "scaled", 0))
    x = read(store.input_file(network, "photographs", 0, BATCH))[network.input.name].astype(np.float64)
    masks = drawn_masks(network, BATCH, 0, 0)
    durations_s = []
    for _ in range(runs):
        began_s = time.perf_counter()
        backpropagate(network, tensors, x, np.arange(BATCH), masks, LOSS)
        durations_s.append(time.perf_counter() - began_s)
    listed = ", ".join(f"{duration:.2f}" for duration in sorted(durations_s))
    return f"{NETWORK}, batch {BATCH}, {runs} runs: {listed} s"


if __name__ == "__main__":
    print(time_gradient(int(sys.argv[1]) if len(sys.argv) > 1 else 5))
