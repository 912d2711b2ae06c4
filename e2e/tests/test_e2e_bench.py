"""Reading what the benchmarks print."""

from __future__ import annotations

from claimwright.e2e.bench import Figure, driver_figures, nvml_figures, table

PRINTED = """# 2026-11-21, 8 GPUs, emulated
init p50 81.7 us, p99 228.0 us
nvmlDeviceGetUUID 19.3 ns
nvmlDeviceGetPciInfo_v3 21.8 ns
resident memory added 532 KiB
set and visible p50 97.8 us, p99 225.1 us
"""


def test_every_line_of_the_nvml_bench_becomes_a_figure() -> None:
    figures = {figure.what: figure.value for figure in nvml_figures(PRINTED)}

    assert figures == {
        "NVML getter nvmlDeviceGetUUID": 19.3,
        "NVML getter nvmlDeviceGetPciInfo_v3": 21.8,
        "library init, p50": 81.7,
        "library memory added": 532,
        "NVML command, p50": 97.8,
    }


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
