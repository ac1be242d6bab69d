"""`python -m tests.conformance.time_oracle`: how long the oracle takes for a case of the paper's AlexNet, batch 2.

A command and no test, because a busy machine is no defect. Target: 3 s on 2 cores.
"""

import sys
import time
from statistics import median

from conformance.reference import reference
from spec.load import load
from spec.network import Network
from spec.store import Store
from spec.tensors import read
from spec.weights import WEIGHT_SETS, WeightSet

NETWORK, BATCH = "alexnet", 2


def time_case(network: Network, weight_set: WeightSet, runs: int) -> str:
    """Wall-clock and processor time of the oracle on photographs, in one line."""
    store = Store()
    tensors = read(store.weights_file(network, weight_set, 0))
    x = read(store.input_file(network, "photographs", 0, BATCH))[network.input.name]
    durations_s, processor_s = [], []
    for _ in range(runs):
        began_s, began_processor_s = time.perf_counter(), time.process_time()
        reference(network, tensors, x)
        durations_s.append(time.perf_counter() - began_s)
        processor_s.append(time.process_time() - began_processor_s)
    return (
        f"{network.name}, {weight_set} weights, batch {BATCH}, {runs} runs: least {min(durations_s):.2f} s, median "
        f"{median(durations_s):.2f} s, most {max(durations_s):.2f} s; processor time at least {min(processor_s):.2f} s"
    )


if __name__ == "__main__":
    for each in WEIGHT_SETS:
        print(time_case(load(NETWORK), each, int(sys.argv[1]) if len(sys.argv) > 1 else 5))
