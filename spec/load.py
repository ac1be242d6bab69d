"""From a YAML file to a network, or to one line that says where the file is wrong."""

from pathlib import Path

from pydantic import ValidationError

from spec import document, expectations
from spec.exits import InputError
from spec.graph import resolved
from spec.network import Network
from spec.problems import first_problem

NETWORKS = Path(__file__).parent / "networks"
MAX_BYTES = 512 * 1024


def load(name_or_path: str | Path) -> Network:
    """Load and check a spec: the name of a shipped network or a path. Raises InputError, one line with file:line."""
    path = find(str(name_or_path))
    return parse(_read(path), shown(path))


def parse(text: str, place: str) -> Network:
    """Check the text of a spec; `place` names it in errors. Raises InputError."""
    source = document.parsed(text, place)
    try:
        network = Network.model_validate(source.content)
    except ValidationError as error:
        raise first_problem(source, error) from None
    network = resolved(network, source)
    expectations.check(network, source)
    return network


def shipped() -> dict[str, Path]:
    """The networks that come with Lockstep, by name."""
    return {path.stem: path for path in sorted(NETWORKS.glob("*.yaml"))}


def find(name_or_path: str) -> Path:
    """The file that a user means: the name of a shipped network, or a path; raises InputError."""
    known = shipped()
    if name_or_path in known:
        return known[name_or_path]
    path = Path(name_or_path)
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{name_or_path!r:.200}: expected a spec file or one of {', '.join(known)}; found neither"
        ) from None
    except (OSError, ValueError) as error:
        found = getattr(error, "strerror", None) or error  # the error's own text repeats the path, however long
        raise InputError(f"{name_or_path!r:.200}: expected a readable spec file, found: {found}") from None
    return path


def shown(path: Path) -> str:
    """The path as a user would type it: from the working folder where that holds it."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (OSError, ValueError):
        return str(path)


def _read(path: Path) -> str:
    place = shown(path)
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no regular file"
            raise InputError(f"{place}: expected a spec file, found {found}")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{place}: expected a readable file, found: {error.strerror or error}") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{place}: expected a spec of at most {MAX_BYTES} bytes, found {path.stat().st_size}")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{place}:{line}: expected UTF-8, found byte 0x{content[error.start]:02x}") from None
