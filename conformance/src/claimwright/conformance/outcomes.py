"""Outcomes of checks and the algebra that makes a verdict of them.

A failure is a proven fact and dominates; then an error of the suite; then anything left open. A skip can
therefore never make a verdict better than the same results without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Level(StrEnum):
    """The key words of RFC 2119, as far as the registry uses them."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    MAY = "MAY"


class Outcome(StrEnum):
    """How one check of one requirement ended."""

    PASS = "pass"  # noqa: S105 - no secret
    FAIL = "fail"
    ERROR = "error"
    UNSUPPORTED = "unsupported"
    NOT_APPLICABLE = "not-applicable"
    SKIPPED = "skipped"
    INCONCLUSIVE = "inconclusive"


class Verdict(StrEnum):
    """What a whole run proves about the driver."""

    SUCCESS = "success"
    PARTIAL = "partial"
    ERROR = "error"
    FAILURE = "failure"


EXIT_CODES: Final = {Verdict.SUCCESS: 0, Verdict.FAILURE: 1, Verdict.ERROR: 3, Verdict.PARTIAL: 4}
USAGE_EXIT_CODE: Final = 2
_BADNESS: Final = (Verdict.SUCCESS, Verdict.PARTIAL, Verdict.ERROR, Verdict.FAILURE)


@dataclass(frozen=True, slots=True)
class Judgement:
    """One requirement's level beside the outcome of its check."""

    level: Level
    outcome: Outcome


def badness(verdict: Verdict) -> int:
    """Return the rank of a verdict, 0 for success: a higher one is worse."""
    return _BADNESS.index(verdict)


def judge(judgements: Iterable[Judgement], *, strict: bool = False) -> Verdict:
    """Fold single outcomes into the verdict; with `strict`, a SHOULD binds like a MUST.

    Without a single passed MUST there is nothing that could carry a success, so the verdict is partial.
    """
    all_of_them = list(judgements)
    worst = max((_weigh(one, strict=strict) for one in all_of_them), key=badness, default=Verdict.PARTIAL)
    proven = any(one.level is Level.MUST and one.outcome is Outcome.PASS for one in all_of_them)
    return worst if proven or worst is not Verdict.SUCCESS else Verdict.PARTIAL


def _weigh(judgement: Judgement, *, strict: bool) -> Verdict:
    binding = judgement.level is Level.MUST or (strict and judgement.level is Level.SHOULD)
    match judgement.outcome:
        case Outcome.ERROR:
            return Verdict.ERROR
        case Outcome.SKIPPED:
            return Verdict.PARTIAL
        case Outcome.FAIL:
            return Verdict.FAILURE if binding else Verdict.SUCCESS
        case Outcome.INCONCLUSIVE:
            return Verdict.PARTIAL if binding else Verdict.SUCCESS
        case Outcome.PASS | Outcome.UNSUPPORTED | Outcome.NOT_APPLICABLE:
            return Verdict.SUCCESS
