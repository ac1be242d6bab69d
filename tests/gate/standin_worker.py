"""NumPy's runner as the worker of an environment that tells another version: `standin_worker.py VERSION [FAULT]`."""

import sys

from conformance.power.wrong_runner import NumpyRunner
from impls.worker import serve


class StandIn(NumpyRunner):
    """The same under the version that is said to be installed."""

    version = sys.argv[1]


if __name__ == "__main__":
    serve("numpy", lambda: StandIn(*(sys.argv[2:] or [""])))
