"""A candidate with a fault in it: the worker of a framework, which loads another generated source than it is given.

`planted_worker.py SOURCE FRAMEWORK`, in the framework's own environment.
"""

import sys
from dataclasses import replace
from typing import Any

from impls.protocol import Load
from impls.worker import framework_runner, serve


class Planted:
    """A runner that differs from its framework's own in the source that it loads."""

    def __init__(self, source: str, framework: str) -> None:
        self._runner = framework_runner(framework)
        self._source = source

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def load(self, request: Load) -> None:
        self._runner.load(replace(request, source=self._source))


if __name__ == "__main__":
    serve(sys.argv[2], lambda: Planted(*sys.argv[1:]))
