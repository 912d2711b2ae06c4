from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.reports.statistics import (
    CONFIDENCE,
    bootstrap,
    ecdf,
    enough_samples,
    quantile,
    statistic,
)

numbers = st.lists(st.floats(0, 1e9, allow_nan=False), min_size=1, max_size=200)
probabilities = st.floats(0, 1)


def by_definition(values: list[float], probability: float) -> float:
    """Hyndman and Fan's type 7 from its definition: piecewise linear through (k-1)/(n-1), x(k)."""
    ordered = sorted(values)
    if len(ordered) == 1:
        return ordered[0]
    for k in range(len(ordered) - 1):
        left, right = k / (len(ordered) - 1), (k + 1) / (len(ordered) - 1)
        if left <= probability <= right:
            share = (probability - left) / (right - left)
            return ordered[k] * (1 - share) + ordered[k + 1] * share
    raise AssertionError(probability)


@given(numbers, probabilities)
def test_a_quantile_is_that_of_the_definition(values: list[float], probability: float) -> None:
    found = quantile(sorted(values), probability)
    assert math.isclose(found, by_definition(values, probability), rel_tol=1e-6, abs_tol=1e-3)


@given(numbers, probabilities)
def test_a_quantile_lies_within_the_samples_and_grows(values: list[float], probability: float) -> None:
    ordered = sorted(values)
    assert ordered[0] <= quantile(ordered, probability) <= ordered[-1]
    assert quantile(ordered, probability / 2) <= quantile(ordered, probability)


@pytest.mark.parametrize(
    ("probability", "expected"), [(0, 1), (0.25, 1.75), (0.5, 2.5), (0.9, 3.7), (1, 4)], ids=str
)
def test_type_seven_of_one_to_four_is_that_of_the_paper(probability: float, expected: float) -> None:
    assert quantile([1, 2, 3, 4], probability) == pytest.approx(expected)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_outside_zero_and_one_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        quantile([1.0], probability)


def test_a_quantile_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


@given(numbers)
def test_the_distribution_rises_from_above_zero_to_one(values: list[float]) -> None:
    steps = ecdf(values)
    shares = [share for _, share in steps]
    assert [value for value, _ in steps] == sorted(set(values))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for value, share in steps:
        assert share == sum(other <= value for other in values) / len(values)


@pytest.mark.parametrize(
    ("name", "count", "enough"),
    [("p99", 999, False), ("p99", 1000, True), ("p99.9", 9999, False), ("p50", 1, True)],
)
def test_a_tail_needs_samples_beyond_it(name: str, count: int, enough: bool) -> None:
    assert enough_samples(name, count) is enough


def test_names_of_statistics_become_functions() -> None:
    ordered = [float(value) for value in range(1, 1002)]
    assert [statistic(name)(ordered) for name in ("min", "p50", "p99.9", "max")] == pytest.approx(
        [1, 501, 1000, 1001]
    )


def test_the_same_seed_gives_the_same_interval() -> None:
    clusters = [[1.0, 2.0, 4.0, 8.0], [2.0, 3.0, 5.0]]
    assert bootstrap(clusters, ["p50"], seed=3) == bootstrap(clusters, ["p50"], seed=3)
    assert bootstrap(clusters, ["p50"], seed=3) != bootstrap([[1.0, 9.0, 4.0, 8.0, 7.0]], ["p50"], seed=3)


@pytest.mark.parametrize("clusters", [[], [[]], [[1.0, 2.0]], [[1.0], [2.0], [3.0], [4.0]]], ids=str)
def test_too_few_samples_get_no_interval(clusters: list[list[float]]) -> None:
    assert bootstrap(clusters, ["p50"], seed=1) == {}


def test_extremes_get_no_interval() -> None:
    assert set(bootstrap([[1.0, 2.0, 3.0, 4.0, 5.0]], ["min", "p50", "max"], seed=1)) == {"p50"}


def test_equal_samples_have_an_interval_without_width() -> None:
    interval = bootstrap([[2.0] * 20], ["p50"], seed=1)["p50"]
    assert (interval.low, interval.high) == (2.0, 2.0)


@pytest.mark.slow
def test_intervals_hold_the_truth_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claimwright.reports.statistics.RESAMPLES", 300)
    rng = random.Random(11)
    trials, held = 150, 0
    for trial in range(trials):
        sample = [rng.gauss(10, 2) for _ in range(60)]
        interval = bootstrap([sample], ["p50"], seed=trial)["p50"]
        held += interval.low <= 10 <= interval.high
    # Four standard errors of a binomial share around the promised confidence.
    slack = 4 * math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / trials)
    assert abs(held / trials - CONFIDENCE) < slack


def test_differences_between_runs_widen_the_interval() -> None:
    rng = random.Random(5)
    runs = [[rng.gauss(level, 0.1) for _ in range(100)] for level in (10, 11, 12, 13)]
    hierarchical = bootstrap(runs, ["p50"], seed=1)["p50"]
    pooled = bootstrap([[value for run in runs for value in run]], ["p50"], seed=1)["p50"]
    assert hierarchical.high - hierarchical.low > 1.5 * (pooled.high - pooled.low)
