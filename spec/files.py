"""Files that are written together: all of them, or none."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from spec.exits import NotRunError


def require_folder(folder: Path) -> None:
    """Raise NotRunError where no report could be written, before minutes are spent on it."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        what = "a folder that cannot be written to" if there.is_dir() else "no folder"
        raise NotRunError(f"--report {folder}: expected a folder for the report, found {what} at {there}")
    if shutil.disk_usage(there).free < 2**20:
        raise NotRunError(f"--report {folder}: expected room for the report, found less than 1 MiB free at {there}")


def write_all(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write `texts` by name under `folder`; raises NotRunError, and then leaves it as it was."""
    with together(folder, "the report") as partial:
        for name, text in texts.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    return [folder / name for name in texts]


@contextlib.contextmanager
def together(folder: Path, what: str) -> Iterator[Path]:
    """A folder to write `what` to. Afterwards all that is in it moves to `folder`; on an error, nothing does.

    Raises NotRunError, and then `folder` is as it was.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
            yield Path(partial)
            found = [path.relative_to(partial) for path in Path(partial).rglob("*") if path.is_file()]
            missing = [
                folder / inner for inner in {path.parent for path in found} if not (folder / inner).exists()
            ] + missing
            names = sorted(map(str, found))
            with _alone(folder):
                _replace_all(names, Path(partial), folder)
    except BaseException as error:
        for path in missing:
            with contextlib.suppress(OSError):
                path.rmdir()
        if isinstance(error, OSError):
            raise NotRunError(f"{folder}: expected to write {what}, found: {error.strerror or error}") from None
        raise


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other runs from replacing files of `folder` at the same time: theirs and ours must not mix."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system that knows no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace_all(names: Iterable[str], partial: Path, folder: Path) -> None:
    """Move files from `partial` to `folder`, in place of those of before: all of them, or none."""
    moved = []
    try:
        for name in names:
            before = partial / f"{name}.before"
            if (folder / name).is_file():
                (folder / name).replace(before)
            moved.append(name)
            (folder / name).parent.mkdir(exist_ok=True)
            (partial / name).replace(folder / name)
    except BaseException:
        for name in moved:
            before = partial / f"{name}.before"
            with contextlib.suppress(OSError):
                if before.exists():
                    before.replace(folder / name)
                else:
                    (folder / name).unlink()
        raise
