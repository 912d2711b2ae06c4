"""What a check found."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class Level(enum.Enum):
    """How bad it is: the driver cannot work, something of it cannot or could not be seen, or all is well."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One line of the table: what was looked at, what is there, and what to do about it."""

    level: Level
    subject: str
    found: str
    advice: str = ""


def ok(subject: str, found: str) -> Finding:
    """Say that something is as needed."""
    return Finding(Level.OK, subject, found)


def warn(subject: str, found: str, advice: str) -> Finding:
    """Say that something may not be as needed."""
    return Finding(Level.WARN, subject, found, advice)


def fail(subject: str, found: str, advice: str) -> Finding:
    """Say that the driver cannot work so."""
    return Finding(Level.FAIL, subject, found, advice)


def verdict(findings: Iterable[Finding]) -> Level:
    """Return the worst of all."""
    levels = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in levels), Level.OK)
