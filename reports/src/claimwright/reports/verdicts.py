"""What a series says about its budget, with the sureness that its interval allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from claimwright.reports.metrics import Budget
from claimwright.reports.statistics import Interval


class Outcome(StrEnum):
    """The word of a verdict."""

    WITHIN = "within"
    OVER = "missed"
    UNCLEAR = "unclear"
    FAILED = "failures"


class Estimated(Protocol):
    """A value with its interval."""

    @property
    def statistic(self) -> str: ...  # noqa: D102
    @property
    def value(self) -> float: ...  # noqa: D102
    @property
    def interval(self) -> Interval | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Verdict:
    """A budget, what was reached, and the ratio of the two (1.0 is the limit)."""

    budget: Budget
    judged_by: str
    value: float | None
    interval: Interval | None
    ratio: float | None
    outcome: Outcome
    reason: str

    def content(self) -> dict[str, Any]:
        """Give the JSON content."""
        return {
            "statistic": self.budget.statistic,
            "judged_by": self.judged_by,
            "sense": self.budget.sense,
            "budget": self.budget.limit,
            "value": self.value,
            "interval": None
            if self.interval is None
            else {"low": self.interval.low, "high": self.interval.high},
            "ratio": self.ratio,
            "outcome": self.outcome.value,
            "reason": self.reason,
        }


def judge(budget: Budget, estimates: Mapping[str, Estimated], *, failed: int) -> Verdict:
    """Judge a budget: by the whole interval, and never `within` where events failed.

    Where too few samples carry the asked quantile, the largest sample stands in: it can show that a budget of
    the `at most` kind held for all samples, and it can never show that it was missed.
    """
    asked = estimates.get(budget.statistic)
    found = asked or estimates.get("max")
    if found is None:
        return Verdict(budget, budget.statistic, None, None, None, Outcome.FAILED, "no event succeeded")
    outcome, reason = _compare(budget, found, stands_in=asked is None)
    if failed and outcome is Outcome.WITHIN:
        outcome, reason = Outcome.FAILED, f"{failed} events failed; they are in no quantile"
    return Verdict(
        budget, found.statistic, found.value, found.interval, found.value / budget.limit, outcome, reason
    )


def _compare(budget: Budget, found: Estimated, *, stands_in: bool) -> tuple[Outcome, str]:
    if stands_in:
        few = f"too few samples for {budget.statistic}"
        if budget.sense == "at most" and found.value <= budget.limit:
            return Outcome.WITHIN, f"{few}; every sample is within"
        return Outcome.UNCLEAR, f"{few}; measure more"
    if budget.statistic == "max":
        return _compare_extreme(budget, found.value)
    if found.interval is None:
        return Outcome.UNCLEAR, "too few samples for an interval; measure more"
    return _compare_interval(budget, found.interval)


def _compare_interval(budget: Budget, interval: Interval) -> tuple[Outcome, str]:
    if budget.sense == "at most":
        holds, fails = interval.high <= budget.limit, interval.low > budget.limit
    else:
        holds, fails = interval.low >= budget.limit, interval.high < budget.limit
    if holds:
        return Outcome.WITHIN, "the whole interval is within the budget"
    if fails:
        return Outcome.OVER, "the whole interval is beyond the budget"
    return Outcome.UNCLEAR, "the interval holds the budget; measure more"


def _compare_extreme(budget: Budget, largest: float) -> tuple[Outcome, str]:
    """Judge a maximum: a fact about these samples, so it needs no interval."""
    assert budget.sense == "at most", "the registry judges no maximum from below"
    if largest <= budget.limit:
        return Outcome.WITHIN, "every sample is within the budget"
    return Outcome.OVER, "at least one sample is beyond the budget"
