"""Expected failures: findings about frameworks, kept as data in xfails.toml, and strict."""

import tomllib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from conformance.caps import Words, within
from conformance.results import Outcome, Result
from spec.base import AsTuple, Part

FILE = Path(__file__).with_name("xfails.toml")


class Xfail(Part):
    """One framework's own bug, as it shows in checks."""

    framework: str
    versions: str
    networks: Annotated[tuple[str, ...], AsTuple] = ()
    """The networks whose checks fail; none named means all."""
    operator: str
    check: Literal[
        "local",
        "end_to_end",
        "untapped",
        "precision",
        "repeated",
        "permuted_batch",
        "single_images",
        "modes",
        "scaled_input",
        "gradient_input",
        "gradient_parameter",
        "loss",
        "loss_gradient",
        "dropout",
        "initialiser",
        "trajectory",
        "evaluation",
        "colour",
    ]
    dtypes: Words
    devices: Words
    modes: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means all."""
    lowerings: Annotated[tuple[str, ...], AsTuple] = ()
    """None named means both."""
    reason: str
    link: str

    def covers(self, result: Result) -> bool:
        """Whether `result` is a check that is expected to fail."""
        variant = result.variant
        return (
            (self.framework, self.operator, self.check) == (variant.framework, result.operator, str(result.check))
            and within(result.version, self.versions)
            and (not self.networks or result.network in self.networks)
            and variant.dtype in self.dtypes
            and variant.device in self.devices
            and (not self.modes or variant.mode in self.modes)
            and (not self.lowerings or variant.lowering in self.lowerings)
        )


def applied(results: Sequence[Result], xfails: Sequence[Xfail]) -> list[Result]:
    """Failures that are expected become xfailed; an entry that covers checks of this run, all passed, fails them."""
    changed = list(results)
    for xfail in xfails:
        covered = [index for index, result in enumerate(changed) if xfail.covers(result)]
        failed = [index for index in covered if changed[index].outcome is Outcome.FAILED]
        for index in failed:
            changed[index] = xfailed(changed[index], xfail.reason, xfail.link)
        if covered and not failed:
            for index in covered:
                if changed[index].outcome is Outcome.PASSED:
                    message = f"passed, though {FILE.name} expects it to fail ({xfail.reason}); remove the entry"
                    changed[index] = replace(changed[index], outcome=Outcome.FAILED, message=message)
    return changed


def xfailed(result: Result, reason: str, link: str) -> Result:
    """A failure as one that is expected."""
    message = f"expected to fail: {reason} ({link}); {result.message}"
    return replace(result, outcome=Outcome.XFAILED, message=message)


@cache
def xfails() -> tuple[Xfail, ...]:
    """The expected failures that come with Lockstep."""
    entries = tomllib.loads(FILE.read_text(encoding="utf-8")).get("xfail", [])
    return tuple(Xfail.model_validate(entry) for entry in entries)
