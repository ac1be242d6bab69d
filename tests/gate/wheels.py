"""Packages of a line or two as wheel files: environments of both sides without a network."""

from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

#: What the tests offer: versions by package, each with what it requires.
OFFERED: tuple[tuple[str, str, str, Sequence[str]], ...] = (
    # module, package, version, requires
    ("jax", "jax", "1.0", ["jaxlib==1.0", "ml_dtypes>=0.5"]),
    ("jax", "jax", "2.0", ["jaxlib==2.0", "ml_dtypes>=0.6"]),
    ("jaxlib", "jaxlib", "1.0", []),
    ("jaxlib", "jaxlib", "2.0", []),
    ("ml_dtypes", "ml_dtypes", "0.5", []),
    ("ml_dtypes", "ml_dtypes", "0.6", []),
    ("ml_dtypes", "ml_dtypes", "0.7", []),
    ("numpy", "numpy", "2.3", []),
    ("numpy", "numpy", "2.4", []),
    ("safetensors", "safetensors", "0.8", []),
)


def offer(folder: Path) -> None:
    """Write every wheel into `folder`."""
    for module, name, version, requires in OFFERED:
        _wheel(folder, module, name, version, requires)


def _wheel(folder: Path, module: str, name: str, version: str, requires: Sequence[str]) -> None:
    info = f"{name}-{version}.dist-info"
    metadata = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        f"Version: {version}",
        *(f"Requires-Dist: {r}" for r in requires),
    ]
    files = {
        f"{module}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": "\n".join([*metadata, ""]),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in (files | {f"{info}/RECORD": record}).items():
            archive.writestr(file, text)
