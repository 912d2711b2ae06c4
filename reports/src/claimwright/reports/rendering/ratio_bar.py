"""A verdict as a small bar: what was reached, its interval, and the limit as a line at 1."""

from __future__ import annotations

from collections.abc import Iterable

from markupsafe import Markup

from claimwright.reports.rendering import svg
from claimwright.reports.rendering.numbers import ratio
from claimwright.reports.verdicts import Verdict

WIDTH, HEIGHT = 200, 30
MOST = 2.0  # what is beyond is cut, with an arrow


def ratio_bar(verdict: Verdict) -> Markup:
    """Draw the ratio to the budget from 0 to 2; nothing where no event succeeded."""
    if verdict.ratio is None:
        return Markup("")
    parts = [
        svg.element("rect", x=0, y=8, width=WIDTH, height=14, rx=3, class_="track"),
        svg.element(
            "rect", x=0, y=8, width=_x(verdict.ratio), height=14, rx=3, class_=f"fill {verdict.outcome.value}"
        ),
        *_whisker(verdict),
        svg.line(WIDTH / MOST, 2, WIDTH / MOST, 28, class_="limit"),
    ]
    if verdict.ratio > MOST:
        parts.append(svg.text(WIDTH - 6, 20, "\u2192", class_="legend", text_anchor="end"))
    label = f"{ratio(verdict.ratio)} of the budget"
    return svg.figure(WIDTH, HEIGHT, parts, label=label)


def _whisker(verdict: Verdict) -> Iterable[Markup]:
    if verdict.interval is None:
        return
    low, high = (_x(end / verdict.budget.limit) for end in (verdict.interval.low, verdict.interval.high))
    yield svg.line(low, 15, high, 15, class_="whisker")
    yield svg.line(low, 11, low, 19, class_="whisker")
    yield svg.line(high, 11, high, 19, class_="whisker")


def _x(value: float) -> float:
    return max(0.0, min(value, MOST)) / MOST * WIDTH
