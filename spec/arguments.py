"""Command lines: wrong arguments end like every other wrong input, with one line and exit code 2."""

import argparse
from typing import Any, NoReturn

from typing_extensions import override

from spec.exits import InputError


class Arguments(argparse.ArgumentParser):
    """An ArgumentParser that takes no abbreviations and raises InputError where argparse prints its usage and exits."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("allow_abbrev", False)
        super().__init__(*args, **kwargs)

    @override
    def error(self, message: str) -> NoReturn:
        """Raise InputError with `message`."""
        raise InputError(f"{message}; see `{self.prog} --help`")
