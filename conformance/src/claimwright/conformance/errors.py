"""The error tree of the room: who must act is said by the class.

`UsageError` is the user's to fix (exit code 2), `SuiteError` the environment's (exit code 3), `Violation` the
driver's (a failed requirement). The rest are ways in which a check can end without a judgement.
"""

from __future__ import annotations


class ConformanceError(Exception):
    """Anything that this room raises on purpose."""


class UsageError(ConformanceError):
    """A declaration, an option or a bundle path that the user has to correct."""


class SuiteError(ConformanceError):
    """The suite or its environment broke; says nothing about the driver."""


class Violation(ConformanceError):
    """The driver did not do what a requirement asks.

    `expected` and `seen` are whole sentences' ends: they are printed after those two words.
    """

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; seen {seen}")
        self.expected = expected
        self.seen = seen


class Inconclusive(ConformanceError):
    """A positive control failed, so that the probe beside it proves nothing."""


class Undecided(ConformanceError):
    """The requirement does not bind this driver; `reason` comes from its declaration or its devices."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Unsupported(Undecided):
    """The requirement belongs to a feature that the driver does not declare."""


class NotApplicable(Undecided):
    """The requirement cannot apply, for a reason found in the declaration or in the published devices."""
