"""Planted faults of runners: what is loaded, returned, or mixed up around a right network."""

from conformance.power.fault import Fault

RUNNER_FAULTS: tuple[Fault, ...] = (
    Fault(
        "echo",
        "all",
        "runner",
        "the runner returns what it was fed",
        "conv1",
        runner=True,
        explained_by="output: what was fed in its place",
    ),
    Fault(
        "stale_tensor",
        "conv",
        "runner",
        "one layer keeps its weights when others are loaded",
        "conv3",
        runner=True,
    ),
    Fault(
        "batch_reversed",
        "all",
        "runner",
        "the images of a batch come out in the other order",
        "conv1",
        runner=True,
        explained_by="batch: in reverse order",
    ),
    Fault(
        "first_image_for_all",
        "all",
        "runner",
        "every image of a batch gets the first one's output",
        "pool2",
        runner=True,
        explained_by="batch: its first image throughout",
    ),
    Fault("one_element", "all", "runner", "one element of a tap is off by 1 in 10,000", "conv5", runner=True),
    Fault("constant_output", "all", "runner", "a tap is one number throughout", "fc7", runner=True),
    Fault("missing_tap", "all", "runner", "a tap is not in the trace", "norm2", runner=True),
)
