from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claimwright.reports.rendering.axes import linear, logarithmic
from claimwright.reports.rendering.numbers import plain, ratio, tick_label
from claimwright.reports.rendering.phase_chart import phase_chart
from claimwright.reports.rendering.svg import element, text

positive = st.floats(1e-6, 1e9)


@given(positive, positive)
def test_a_logarithmic_axis_holds_its_values_and_has_labels(first: float, second: float) -> None:
    low, high = sorted((first, second))
    axis = logarithmic(low, high, 0, 100)
    assert 0 <= axis.scale(low) <= axis.scale(high) <= 100
    assert axis.ticks
    assert all(-1e-6 <= axis.scale(tick) <= 100 + 1e-6 for tick in axis.ticks)


@given(positive)
def test_a_linear_axis_starts_at_zero_and_holds_its_value(high: float) -> None:
    axis = linear(high, 10, 90)
    assert axis.scale(0) == 10
    assert axis.scale(high) <= 90
    assert axis.ticks[0] == 0
    assert 3 <= len(axis.ticks) <= 12


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, "0"),
        (1.3579, "1.36"),
        (0.0123456, "0.0123"),
        (12345.6, "12\u202f346"),
        (99.96, "100.0"),
        (5, "5.00"),
    ],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, expected: str) -> None:
    assert plain(value) == expected


@given(positive)
def test_a_written_number_is_within_half_a_percent(value: float) -> None:
    assert float(plain(value).replace("\u202f", "")) == pytest.approx(value, rel=0.0051)


def test_ticks_and_ratios_are_short() -> None:
    assert [tick_label(value) for value in (0.5, 1, 20, 5000)] == ["0.5", "1", "20", "5\u202f000"]
    assert [ratio(value) for value in (0.678, 12.3)] == ["0.68\u00d7", "12\u00d7"]


def test_drawings_escape_what_they_are_given() -> None:
    assert "<b>" not in text(0, 0, "<b>")
    assert 'class="&#34;&gt;"' in element("g", class_='">')


def test_the_phases_of_a_bar_follow_each_other_without_gaps() -> None:
    pod = {"total": 100.0, "create_to_claim": 10.0, "claim_to_allocated": 20.0, "allocated_to_scheduled": 0.0}
    pod |= {"scheduled_to_sandbox": 30.0, "sandbox_to_running": 40.0}
    drawing = phase_chart([pod])
    bars = re.findall(r'<rect x="([\d.]+)" y="8" class="bar \w+" width="([\d.]+)"', drawing)
    ends = [(float(x), float(x) + float(width)) for x, width in bars]
    assert len(ends) == 5
    for (_, end), (start, _) in pairwise(ends):
        assert start == pytest.approx(end, abs=0.5)


def test_no_pods_draw_nothing_and_many_are_thinned() -> None:
    assert phase_chart([]) == ""
    many = phase_chart([{"total": 10.0 + index, "create_to_claim": 10.0 + index} for index in range(500)])
    assert "60 pods" in many
