"""From what a check raised to its outcome."""

from __future__ import annotations

import pytest

from claimwright.conformance.errors import Inconclusive, NotApplicable, Undecided, Unsupported, Violation
from claimwright.conformance.outcomes import Outcome
from claimwright.conformance.registry import Requirement, load_registry
from claimwright.conformance.results import Result

_WORSE = (Outcome.PASS, Outcome.UNSUPPORTED, Outcome.NOT_APPLICABLE, Outcome.SKIPPED)
_WORST = (Outcome.INCONCLUSIVE, Outcome.FAIL, Outcome.ERROR)


def requirement_of(item: pytest.Item) -> Requirement:
    """Return the requirement that a check is marked with; a check without one is a defect of the suite."""
    marker = item.get_closest_marker("requirement")
    if marker is None or marker.args[0] not in load_registry():
        raise pytest.UsageError(f"{item.nodeid}: a check needs the mark of a known requirement")
    return load_registry()[marker.args[0]]


def judge_phase(
    result: Result, call: pytest.CallInfo[None], report: pytest.TestReport, item: pytest.Item
) -> None:
    """Take one phase (setup, call, teardown) into the result; the worst phase stays."""
    if call.when == "call":
        result.duration_s = round(call.duration, 6)
    if call.excinfo is None:
        if call.when == "call" and call.duration > result.budget_s:
            spent = f"{call.duration:.1f} s"
            _fail(
                result,
                report,
                Violation(f"the check to end within its budget of {result.budget_s:g} s", spent),
            )
        return
    raised = call.excinfo.value
    match raised:
        case Undecided():
            _skip(result, report, raised, item)
        case Violation():
            _fail(result, report, raised)
        case Inconclusive():
            _settle(result, Outcome.INCONCLUSIVE, str(raised))
        case pytest.skip.Exception():
            _settle(result, Outcome.SKIPPED, str(raised))
        case _:
            _settle(result, Outcome.ERROR, f"{type(raised).__name__}: {raised}")


def _skip(result: Result, report: pytest.TestReport, raised: Undecided, item: pytest.Item) -> None:
    unsupported = isinstance(raised, Unsupported)
    assert unsupported or isinstance(raised, NotApplicable), f"{type(raised)} has no outcome"
    _settle(result, Outcome.UNSUPPORTED if unsupported else Outcome.NOT_APPLICABLE, raised.reason)
    report.outcome = "skipped"
    report.longrepr = (str(item.path), item.location[1] or 0, raised.reason)


def _fail(result: Result, report: pytest.TestReport, violation: Violation) -> None:
    report.outcome = "failed"
    report.longrepr = str(violation)
    if _settle(result, Outcome.FAIL, str(violation)):
        result.expected, result.seen = violation.expected, violation.seen


def _settle(result: Result, outcome: Outcome, reason: str) -> bool:
    """Keep the worse of two outcomes; tells whether the new one was taken."""
    order = (*_WORSE, *_WORST)
    if order.index(outcome) < order.index(result.outcome):
        return False
    result.outcome, result.reason = outcome, reason
    return True
