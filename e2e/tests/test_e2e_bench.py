"""Reading what the benchmarks print."""

from __future__ import annotations

from claimwright.e2e.bench import driver_figures, emulator_figures
from claimwright.e2e.figures import Figure, table

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
