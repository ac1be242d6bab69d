"""A worker must run what is installed for its side; how a build calls itself is no other version."""

import pytest

from gate.exercised import require_installed
from gate.results import Side
from impls.frameworks import FrameworkName
from spec.exits import NotRunError


def side(**packages: str) -> Side:
    return Side("candidate", "asked", "/new/python", {name.replace("_", "-"): own for name, own in packages.items()})


@pytest.mark.parametrize(
    ("framework", "packages", "told"),
    [
        ("torch", {"torch": "2.15.0"}, "2.15.0+cu128"),
        ("tensorflow", {"tensorflow_cpu": "2.21.0"}, "2.21.0"),
        ("onnx", {"onnx": "1.19.0", "onnxruntime_gpu": "1.31.1"}, "1.31.1"),
        ("jax", {"jax": "0.10.2"}, ""),
        ("jax", {}, "0.9.2"),
    ],
)
def test_what_is_installed_runs(framework: FrameworkName, packages: dict[str, str], told: str) -> None:
    require_installed(side(**packages), framework, told)


def test_another_version_is_refused() -> None:
    with pytest.raises(NotRunError, match=r"candidate: expected the worker to run jax 0\.10\.2, .* it runs 0\.9\.2; "):
        require_installed(side(jax="0.10.2", jaxlib="0.10.2"), "jax", "0.9.2")
