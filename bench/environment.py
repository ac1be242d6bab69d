"""Where a benchmark was run: all that can change its figures without the code changing."""

import os
import platform
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from impls.device import device_facts


def capture(threads: int) -> dict[str, str]:
    """The machine and the suite's own libraries, as far as the system tells."""
    cpu = _fields(Path("/proc/cpuinfo"))
    caches = sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"))
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    blas = [
        f"{pool['internal_api']} {pool.get('version', '')} {pool.get('architecture', '')}" for pool in threadpool_info()
    ]
    return {
        "processor": cpu.get("model name", platform.processor()),
        "clock_mhz": cpu.get("cpu MHz", "unknown"),
        "cores": str(os.cpu_count()),
        "allowed_cores": str(len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else "unknown",
        "caches": ", ".join(f"L{_text(c / 'level')} {_text(c / 'type')} {_text(c / 'size')}" for c in caches)
        or "unknown",
        "governor": _text(governor),
        "threads": str(threads),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": "; ".join(" ".join(text.split()) for text in blas) or "unknown",
        "flags": ", ".join(f"{k}={v}" for k, v in sorted(os.environ.items()) if k.startswith(_FLAGS)) or "none",
        **(device_facts() or {"device": "no cuda device: nvidia-smi shows none"}),
    }


def steal_s() -> float:
    """Processor time that the host took from this machine since it started, in seconds; 0 where nothing tells."""
    first = _text(Path("/proc/stat"), "").partition("\n")[0].split()
    return int(first[8]) / os.sysconf("SC_CLK_TCK") if len(first) > 8 else 0.0


#: The start of environment variables that change what kernels compute, or how fast. TensorFlow's are named one by one:
#: TF_VAR_… are Terraform's, and may hold secrets, which no report may.
_FLAGS = (
    "OMP_",
    "MKL_",
    "KMP_",
    "OPENBLAS_",
    "XLA_",
    "TF_CPU_",
    "TF_CUDNN_",
    "TF_DETERMINISTIC_",
    "TF_DISABLE_",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_GPU_",
    "TF_NUM_",
    "TF_ONEDNN_",
    "TF_OVERRIDE_",
    "TF_USE_",
    "TF_XLA_",
    "TORCH",
    "JAX_",
    "ORT_",
    "CUDA_",
    "NVIDIA_",
    "DNNL_",
    "ONEDNN_",
)


def _fields(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(path, "").splitlines())
    fields: dict[str, str] = {}
    for key, _, value in pairs:
        fields.setdefault(key.strip(), value.strip())
    return fields


def _text(path: Path, otherwise: str = "unknown") -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return otherwise
