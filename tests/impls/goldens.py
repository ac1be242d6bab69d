"""The golden sources in tests/impls/golden/, and how to renew them: `python -m tests.impls.goldens`.

Renew them only after a change of an emitter, and read the difference: it is what every user's generated code becomes.
"""

from pathlib import Path

from impls.frameworks import FRAMEWORKS, FrameworkName
from impls.generate import source_text
from spec.load import load

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
#: Names or paths of specs: the paper's operators in a row, and every operator in a graph with branches.
SPECS = ("alexnet_narrow", str(HERE / "all_operators.yaml"))
SOURCES: list[tuple[str, FrameworkName]] = [(spec, framework) for spec in SPECS for framework in FRAMEWORKS]


def golden(spec: str, framework: str) -> Path:
    return GOLDEN / f"{Path(spec).stem}_{framework}.py"


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for spec, framework in SOURCES:
        golden(spec, framework).write_text(source_text(load(spec), framework), encoding="utf-8")


if __name__ == "__main__":
    main()
