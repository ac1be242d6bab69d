"""Writes generated sources, or compares: `python -m impls.generate [NETWORK …] [--check]`."""

import difflib
import os
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path

from impls import emit_jax, emit_jax_fast, emit_onnx, emit_tensorflow, emit_torch
from impls.frameworks import FRAMEWORKS, LOWERINGS, FrameworkName, Lowering
from spec.arguments import Arguments
from spec.exits import Exit, InputError, NotRunError, end
from spec.load import NETWORKS, find, load
from spec.network import Network

#: Sources that are committed, to be read; all others are made when they are needed.
COMMITTED = Path(__file__).parent / "generated"
COMMITTED_NETWORKS = ("alexnet",)
BUILD = Path(os.environ.get("LOCKSTEP_GENERATED") or Path(__file__).parents[1] / "build" / "generated")


def _emit_jax(network: Network, lowering: Lowering, origin: str) -> str:
    """The two lowerings have different layouts, and an emitter each."""
    return emit_jax.emit(network, origin) if lowering == "native" else emit_jax_fast.emit(network, origin)


EMITTERS: dict[FrameworkName, Callable[[Network, Lowering, str], str]] = {
    "torch": emit_torch.emit,
    "jax": _emit_jax,
    "tensorflow": emit_tensorflow.emit,
    "onnx": emit_onnx.emit,
}


def source_text(network: Network, framework: FrameworkName, lowering: Lowering = "native") -> str:
    """The generated source of `network` for `framework`."""
    shipped = NETWORKS / f"{network.name}.yaml"
    is_shipped = shipped.exists() and load(shipped).sha256 == network.sha256
    origin = f"spec/networks/{shipped.name}" if is_shipped else f"the spec of {network.name}"
    return EMITTERS[framework](network, lowering, origin)


def source_name(network: Network, framework: FrameworkName, lowering: Lowering) -> str:
    """The file name of a generated source: `alexnet_torch.py`, `alexnet_torch_fast.py`."""
    return f"{network.name}_{framework}{'' if lowering == 'native' else f'_{lowering}'}.py"


def write_source(
    network: Network, framework: FrameworkName, folder: Path = BUILD, lowering: Lowering = "native"
) -> Path:
    """Write one source under `folder`, in a folder of its spec's hash, and return its path; raises NotRunError."""
    path = folder / network.sha256[:16] / source_name(network, framework, lowering)
    _write(path, source_text(network, framework, lowering), "; LOCKSTEP_GENERATED can name another folder")
    return path


def _write(path: Path, text: str, advice: str = "") -> None:
    """Write `text` whole, unless it stands there already; raises NotRunError, which ends with `advice`."""
    try:
        if path.exists() and path.read_bytes() == text.encode():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise NotRunError(f"{path}: expected to write a generated source, found: {error.strerror}{advice}") from None


def main(arguments: list[str]) -> Exit:
    """Run the command line; raises InputError and NotRunError."""
    parser = Arguments(prog="python -m impls.generate", description=__doc__)
    parser.add_argument(
        "networks", nargs="*", metavar="NETWORK", help="names or paths of specs; default: those committed"
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; show the difference and fail where there is one"
    )
    options = parser.parse_args(arguments)
    if options.check and options.networks:
        raise InputError("--check compares the committed sources: expected no NETWORK beside it; leave it out")
    networks = [load(name) for name in options.networks or COMMITTED_NETWORKS]
    if options.check:
        return _check(networks)
    for name, network in zip(options.networks or COMMITTED_NETWORKS, networks, strict=True):
        is_committed = find(name) == NETWORKS / f"{network.name}.yaml" and network.name in COMMITTED_NETWORKS
        for framework, lowering in product(FRAMEWORKS, LOWERINGS):
            if is_committed:
                path = COMMITTED / source_name(network, framework, lowering)
                _write(path, source_text(network, framework, lowering))
            else:
                path = write_source(network, framework, BUILD, lowering)
            print(os.path.relpath(path))
    return Exit.PASSED


def _check(networks: list[Network]) -> Exit:
    expected = {
        source_name(network, framework, lowering): source_text(network, framework, lowering)
        for network, framework, lowering in product(networks, FRAMEWORKS, LOWERINGS)
    }
    found = {path.name: path for path in sorted(COMMITTED.glob("*")) if path.is_file() and path.name != "__init__.py"}
    wrong = 0
    for name, text in expected.items():
        old = found[name].read_text(encoding="utf-8") if name in found else ""
        if old != text:
            wrong += 1
            sys.stdout.writelines(
                difflib.unified_diff(
                    old.splitlines(keepends=True),
                    text.splitlines(keepends=True),
                    f"committed/{name}",
                    f"generated/{name}",
                )
            )
    for name in sorted(found.keys() - expected.keys()):
        wrong += 1
        print(f"orphan: impls/generated/{name} comes from no committed network; remove it")
    if wrong:
        print(f"error: {wrong} of the generated sources drifted; run: python -m impls.generate", file=sys.stderr)
        return Exit.DIVERGED
    print(f"{len(expected)} generated sources are what their specs give")
    return Exit.PASSED


if __name__ == "__main__":
    end(main)
