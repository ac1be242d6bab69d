"""Programs beside this one: what they say is heard, and none outlives whoever asked for it."""

import os
import sys
from pathlib import Path

import psutil
import pytest

from gate.child import Ended, follow


def python(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def test_each_line_on_stderr_is_told_and_the_last_is_kept_without_its_mark(tmp_path: Path) -> None:
    told: list[str] = []
    text = "import sys; print('out'); print('one\\n\\n  two\\nerror: three\\n', file=sys.stderr); sys.exit(2)"
    assert follow(python(text), os.environ, tmp_path, told.append) == Ended(2, "three")
    assert told == ["one", "two", "error: three"]


def test_one_that_says_nothing_and_one_that_is_killed() -> None:
    assert follow(python(""), os.environ) == Ended(0, "")
    assert follow(python("import os; os.kill(os.getpid(), 9)"), os.environ) == Ended(-9, "")


def test_it_has_the_folder_and_the_variables_that_it_is_given(tmp_path: Path) -> None:
    text = "import os, sys; print(os.getcwd(), os.environ['A'], file=sys.stderr)"
    assert follow(python(text), os.environ | {"A": "b"}, tmp_path).said == f"{tmp_path} b"


def test_what_stops_us_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(line: str) -> None:
        raise KeyboardInterrupt

    asleep = "import sys, time; print('here', file=sys.stderr, flush=True); time.sleep(60)"
    slow = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), sys.exit()));" + asleep
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + asleep
    monkeypatch.setattr("gate.child.SECONDS_TO_END", 2.0)
    others = psutil.Process().children()
    for text in asleep, slow, deaf:
        with pytest.raises(KeyboardInterrupt):
            follow(python(text), os.environ, tell=stop)
        assert set(psutil.Process().children()) <= set(others)
