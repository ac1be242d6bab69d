"""Options that several commands share."""

import os
import sys
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from pathlib import Path

from impls.environments import interpreters
from impls.frameworks import FRAMEWORKS, FrameworkName
from spec.exits import InputError


def words(known: Sequence[str]) -> Callable[[str], list[str]]:
    """The type of an option that takes some of the `known` words, separated by commas."""

    def parsed(text: str) -> list[str]:
        found = text.split(",")
        for word in found:
            if word not in known:
                raise ArgumentTypeError(f"expected names of {', '.join(known)}, found {word!r:.80}")
        return list(dict.fromkeys(found))

    return parsed


def named(text: str) -> tuple[str, str]:
    """The type of an option NAME=VALUE."""
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise ArgumentTypeError(f"expected NAME=VALUE, found {text!r:.80}")
    return name, value


def count(text: str) -> int:
    """The type of an option that counts something, from 1 to a million."""
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:8]) <= 10**6:
        raise ArgumentTypeError(f"expected a whole number from 1 to 1000000, found {text!r:.80}")
    return int(text)


def by_framework(option: str, pairs: Sequence[tuple[str, str]]) -> dict[FrameworkName, str]:
    """The values that an option gives to frameworks; raises InputError for unknown and repeated ones."""
    values: dict[FrameworkName, str] = {}
    for framework, value in pairs:
        known = next((name for name in FRAMEWORKS if name == framework), None)
        if known is None:
            raise InputError(f"{option}: expected one of {', '.join(FRAMEWORKS)}, found {framework!r:.80}")
        if known in values:
            raise InputError(f"{option}: expected {framework} once, found it twice")
        values[known] = value
    return values


def pythons_of(
    frameworks: Sequence[str], pairs: Sequence[tuple[str, str]], locked: bool, tell: Callable[[str], None]
) -> dict[str, str]:
    """The interpreter of each framework: that of `--python`, else with `--locked` a pinned one, else the running one.

    Raises InputError where `--python` names no interpreter, NotRunError where an environment cannot be made.
    """
    named_ones = by_framework("--python", pairs)
    for framework, python in named_ones.items():
        if not (os.access(python, os.X_OK) and Path(python).is_file()):
            raise InputError(f"--python {framework}: expected an interpreter, found none at {python!r:.200}")
    rest = [framework for framework in frameworks if framework not in named_ones]
    return (interpreters(rest, tell) if locked else dict.fromkeys(rest, sys.executable)) | dict(named_ones)
