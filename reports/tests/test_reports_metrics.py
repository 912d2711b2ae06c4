from __future__ import annotations

import pytest

from claimwright.reports.errors import UnknownMetricError
from claimwright.reports.metrics import Budget, metric, registry

# Published ids, with what may never change about them. A row is added, never edited.
FROZEN = {
    "L-PREP-K": ("duration", "ms"),
    "L-UNPREP-K": ("duration", "ms"),
    "T-PREP": ("value", "1/s"),
    "L-PUB": ("duration", "s"),
    "L-START": ("duration", "ms"),
    "R-MEM": ("value", "MB"),
    "R-CPU": ("value", "s"),
}


@pytest.mark.capability("000-26")
def test_published_ids_keep_their_kind_and_unit() -> None:
    assert {name: (entry.kind, entry.unit) for name, entry in registry().items()} == FROZEN


def test_every_metric_says_where_it_starts_and_ends_and_by_which_clock() -> None:
    for entry in registry().values():
        assert all((entry.title, entry.start, entry.end, entry.clock, entry.statistics)), entry.id


def test_budgets_speak_of_reported_statistics_and_named_parameters() -> None:
    for entry in registry().values():
        for budget in entry.budgets:
            assert budget.statistic in entry.statistics, entry.id
            assert set(budget.where) <= set(entry.parameters), entry.id


def test_a_budget_covers_only_the_series_that_it_names() -> None:
    budget = Budget({"load": "serial"}, "p50", 2.0, "at most")
    assert budget.covers({"load": "serial", "in_flight": 1})
    assert not budget.covers({"load": "parallel", "in_flight": 8})
    assert not budget.covers({})


def test_an_unknown_id_lists_the_known_ones() -> None:
    with pytest.raises(UnknownMetricError, match="known ids: L-PREP-K"):
        metric("L-NOTHING")
