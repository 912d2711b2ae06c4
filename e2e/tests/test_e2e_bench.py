"""Reading what the benchmarks print."""

from __future__ import annotations

import pytest

from claimwright.e2e.bench import driver_figures, emulator_figures, slice_figures
from claimwright.e2e.figures import Figure, table
from claimwright.e2e.slices_bench import measure_slices

STORED = """{"figures": [
 {"what": "getter nvmlDeviceGetUUID", "value": 17.1, "budget": 20, "unit": "ns", "ratio": 0.855},
 {"what": "threads added by the library", "value": 0, "budget": 0, "unit": "", "ratio": 0}
], "load_average": 0.4}"""


def test_every_stored_figure_of_the_emulator_is_read() -> None:
    getter, threads = emulator_figures(STORED)

    assert (getter.what, getter.value, getter.budget) == ("getter nvmlDeviceGetUUID", 17.1, 20)
    assert threads.kept
    assert not Figure("threads", 1, 0, "").kept


def test_a_lower_limit_is_kept_from_above() -> None:
    assert Figure("cycles", 600, 500, "1/s", at_most=False).kept
    assert not Figure("cycles", 400, 500, "1/s", at_most=False).kept
    assert not Figure("prepare", 2.1, 2.0, "ms").kept


def test_judged_values_of_a_report_are_read_with_their_sense() -> None:
    verdict = {"judged_by": "p50", "value": 248.0, "budget": 500.0, "sense": "at least"}
    report = {
        "series": [
            {"metric": "T-PREP", "parameters": {"in_flight": 8}, "unit": "1/s", "verdicts": [verdict]},
            {"metric": "R-CPU", "parameters": {}, "unit": "s", "verdicts": []},
        ]
    }

    assert table(driver_figures(report)) == [
        ("T-PREP in_flight=8 p50", "248 1/s", "≥ 500 1/s", "0.50 missed")
    ]


@pytest.mark.e2e
def test_the_start_until_the_slices_are_visible_is_told_in_its_parts() -> None:
    times = measure_slices(rounds=1)

    assert times.devices == 8 * 26, "eight GPUs, and for each all places of all profiles"
    assert list(times.parts) == [
        "process and imports", "GPUs read once", "recovered, read again, serving", "visible",
    ]  # fmt: skip
    assert all(seconds > 0 for seconds in times.parts.values())
    assert sum(times.parts.values()) == pytest.approx(times.start, abs=0.1)
    assert 30 < times.resident < 200
    assert [figure.budget for figure in slice_figures(times)] == [2.0, 60.0, 1.0, 4.0]
