"""`nox -s gate`: what the session installs for what is asked of it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

NOXFILE = Path(__file__).parents[2] / "noxfile.py"


class Session:
    """As much of nox's as a session of ours uses: it notes what it is told."""

    def __init__(self, *posargs: str) -> None:
        self.posargs = list(posargs)
        self.installed: list[str] = []
        self.ran: list[str] = []

    def install(self, *arguments: str) -> None:
        self.installed += arguments

    def run(self, *arguments: str, **_: object) -> None:
        self.ran += arguments


@pytest.fixture(scope="module")
def noxfile() -> ModuleType:
    spec = importlib.util.spec_from_file_location("noxfile", NOXFILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("posargs", "group"),
    [
        (("jax==0.9.2", "jax==0.10.2"), "gate"),
        (("jax==0.9.2", "jax==0.10.2", "--ray"), "ray"),
        (("--ray", "ray://host:10001", "jax==0.9.2", "jax==0.10.2"), "ray"),
        (("--ray=auto", "jax==0.9.2", "jax==0.10.2"), "ray"),
        (("requirements/ray.txt", "--rays"), "gate"),
    ],
)
def test_ray_is_installed_only_where_it_is_asked_for(noxfile: ModuleType, posargs: tuple[str, ...], group: str) -> None:
    session = Session(*posargs)
    noxfile.gate(session)
    assert session.installed == ["-r", f"requirements/{group}.txt"]
    assert session.ran == ["python", "-m", "gate", *posargs]
