"""Files that are written together: those of two runs never mix. All or none: tests/conformance/test_report.py."""

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spec.files import write_all


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The lock that another run holds while it puts its files in place."""
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield
    os.close(descriptor)


def test_a_second_run_waits_until_the_first_has_put_all_its_files_in_place(tmp_path: Path) -> None:
    write_all(tmp_path, {"a": "old", "b": "old"})
    second = threading.Thread(target=write_all, args=(tmp_path, {"a": "new", "b": "new"}))
    with held(tmp_path):
        second.start()
        second.join(0.3)
        assert second.is_alive()
        assert [(tmp_path / name).read_text() for name in "ab"] == ["old", "old"]
    second.join(10)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["new", "new"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_system_without_locks_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert write_all(tmp_path, {"a": "text"}) == [tmp_path / "a"]
