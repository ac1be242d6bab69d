"""The golden sources in tests/impls/golden/, and how to renew them: `python -m tests.impls.goldens`.

Renew them only after a change of an emitter, and read the difference: it is what every user's generated code becomes.
"""

from itertools import product
from pathlib import Path

from impls.frameworks import FRAMEWORKS, LOWERINGS, FrameworkName, Lowering
from impls.generate import source_name, source_text
from spec.load import load

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
#: Names or paths of specs: the paper's operators in a row, and every operator in a graph with branches.
SPECS = ("alexnet_narrow", str(HERE / "all_operators.yaml"))
SOURCES: list[tuple[str, FrameworkName, Lowering]] = list(product(SPECS, FRAMEWORKS, LOWERINGS))


def golden(spec: str, framework: FrameworkName, lowering: Lowering) -> Path:
    return GOLDEN / source_name(load(spec), framework, lowering)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for spec, framework, lowering in SOURCES:
        text = source_text(load(spec), framework, lowering)
        golden(spec, framework, lowering).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
