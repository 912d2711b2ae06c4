from __future__ import annotations

import pytest

from claimwright.reports.metrics import Budget
from claimwright.reports.report import Estimate
from claimwright.reports.statistics import Interval
from claimwright.reports.verdicts import Outcome, judge

AT_MOST = Budget({}, "p50", 10.0, "at most")
AT_LEAST = Budget({}, "p50", 10.0, "at least")
MAX = Budget({}, "max", 10.0, "at most")
P99 = Budget({}, "p99", 10.0, "at most")


def found(
    statistic: str, value: float, low: float | None = None, high: float | None = None
) -> dict[str, Estimate]:
    interval = None if low is None or high is None else Interval(low, high)
    return {statistic: Estimate(statistic, value, interval)}


@pytest.mark.parametrize(
    ("budget", "estimates", "outcome"),
    [
        pytest.param(AT_MOST, found("p50", 8, 7, 10), Outcome.WITHIN, id="whole interval below"),
        pytest.param(AT_MOST, found("p50", 8, 7, 10.1), Outcome.UNCLEAR, id="interval across, value below"),
        pytest.param(AT_MOST, found("p50", 12, 9, 14), Outcome.UNCLEAR, id="interval across, value above"),
        pytest.param(AT_MOST, found("p50", 12, 10.1, 14), Outcome.OVER, id="whole interval above"),
        pytest.param(AT_MOST, found("p50", 3), Outcome.UNCLEAR, id="no interval"),
        pytest.param(AT_LEAST, found("p50", 12, 10, 14), Outcome.WITHIN, id="at least, above"),
        pytest.param(AT_LEAST, found("p50", 8, 7, 9.9), Outcome.OVER, id="at least, below"),
        pytest.param(AT_LEAST, found("p50", 10, 9, 11), Outcome.UNCLEAR, id="at least, across"),
        pytest.param(MAX, found("max", 10), Outcome.WITHIN, id="maximum at the limit"),
        pytest.param(MAX, found("max", 10.1), Outcome.OVER, id="maximum beyond"),
        pytest.param(P99, found("max", 9), Outcome.WITHIN, id="too few for p99, all within"),
        pytest.param(P99, found("max", 11), Outcome.UNCLEAR, id="too few for p99, one beyond"),
        pytest.param(AT_LEAST, found("max", 99), Outcome.UNCLEAR, id="a maximum proves no floor"),
        pytest.param(AT_MOST, {}, Outcome.FAILED, id="nothing succeeded"),
    ],
)
def test_the_interval_decides(budget: Budget, estimates: dict[str, Estimate], outcome: Outcome) -> None:
    assert judge(budget, estimates, failed=0).outcome is outcome


def test_failures_forbid_a_good_verdict_and_leave_a_bad_one() -> None:
    good = judge(AT_MOST, found("p50", 8, 7, 9), failed=3)
    assert (good.outcome, good.reason) == (Outcome.FAILED, "3 events failed; they are in no quantile")
    assert judge(AT_MOST, found("p50", 12, 11, 13), failed=3).outcome is Outcome.OVER


def test_the_ratio_is_value_by_budget_and_grows_with_the_value() -> None:
    assert judge(AT_MOST, found("p50", 15, 14, 16), failed=0).ratio == pytest.approx(1.5)
    assert judge(AT_MOST, found("p50", 5, 4, 6), failed=0).ratio == pytest.approx(0.5)
