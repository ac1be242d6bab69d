"""What is known of the GPU that a process would use: NVIDIA's own tool tells. Standard library only."""

import csv
import os
import subprocess

#: The tool's word for each fact → the name under which reports have it. Clocks are in MHz, as the tool writes them.
QUERIES = {
    "name": "device",
    "driver_version": "driver",
    "memory.total": "device_memory",
    "clocks.current.sm": "clock_sm",
    "clocks.max.sm": "clock_sm_max",
    "clocks.current.memory": "clock_memory",
    "clocks.max.memory": "clock_memory_max",
    "power.limit": "power_limit",
}
TIMEOUT_S = 20.0


def device_facts() -> dict[str, str]:
    """Name, driver, memory, clocks and power limit of the first GPU that CUDA shows; nothing where nothing tells."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "0").partition(",")[0].strip()
    command = ["nvidia-smi", f"--id={visible}", f"--query-gpu={','.join(QUERIES)}", "--format=csv,noheader"]
    try:
        told = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {}
    values = next(csv.reader(told.stdout.splitlines()[:1], skipinitialspace=True), [])
    if len(values) != len(QUERIES):
        return {}
    return dict(zip(QUERIES.values(), map(str.strip, values), strict=True))
