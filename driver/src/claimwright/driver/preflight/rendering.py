"""Findings as a table and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final

from claimwright.driver.preflight.findings import Finding, Level, verdict
from claimwright.driver.text_table import table

_HEAD: Final = ("", "WHAT", "FOUND")


def as_json(findings: Sequence[Finding]) -> str:
    """Return the verdict and all findings as one JSON object."""
    listed = [
        {"level": each.level.value, "subject": each.subject, "found": each.found, "advice": each.advice}
        for each in findings
    ]
    return json.dumps({"verdict": verdict(findings).value, "findings": listed}, indent=2) + "\n"


def as_text(findings: Sequence[Finding]) -> str:
    """Return the table, what to do, and a count."""
    rows = [(each.level.value, each.subject, each.found) for each in findings]
    todo = [
        f"{each.level.value}: {each.subject}: {each.advice}\n"
        for level in (Level.FAIL, Level.WARN)
        for each in findings
        if each.level is level and each.advice
    ]
    counts = Counter(each.level for each in findings)
    summary = ", ".join(f"{counts[level]} {level.value}" for level in Level)
    return "\n".join(part for part in (table(_HEAD, rows), "".join(todo), f"{summary}\n") if part)
