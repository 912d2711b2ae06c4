"""The empirical distribution of a metric's series, on a logarithmic axis, with its budgets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from claimwright.reports.rendering import svg
from claimwright.reports.rendering.axes import Axis, logarithmic
from claimwright.reports.rendering.numbers import tick_label, with_unit
from claimwright.reports.report import Series
from claimwright.reports.statistics import ecdf, quantile

WIDTH, HEIGHT = 600, 366
LEFT, RIGHT, TOP, BOTTOM = 46, 586, 52, 286
LEGEND = 332
STYLES = 4  # how many strokes and markers the page's CSS knows; a fifth series starts over
FEW = 60  # below this each sample gets its own dot


def ecdf_chart(series: Sequence[Series]) -> Markup:
    """Draw all series of one metric; those without a successful sample appear in the legend only."""
    drawn = [entry for entry in series if entry.values and entry.values[0] > 0]
    if not drawn:
        return Markup("")
    unit = series[0].metric.unit
    budgets = [verdict.budget.limit for entry in drawn for verdict in entry.verdicts]
    values = [value for entry in drawn for value in (entry.values[0], entry.values[-1])]
    # A budget far beyond the data would squeeze the curve; such a budget is named beyond the axis.
    near = [limit for limit in budgets if limit <= 8 * max(values)]
    axis = logarithmic(min([*values, *near]), max([*values, *near]), LEFT, RIGHT)
    parts = [
        *_grid(axis, unit),
        *_budgets(drawn, axis),
        *(part for index, entry in enumerate(drawn) for part in _curve(entry, index, axis)),
        *_legend(drawn),
    ]
    names = ", ".join(entry.name for entry in drawn)
    height = HEIGHT + 19 * max(0, len(drawn) - 2)
    return svg.figure(WIDTH, height, parts, label=f"Empirical distribution of {names}, in {unit}")


def _y(share: float) -> float:
    return BOTTOM - share * (BOTTOM - TOP)


def _grid(axis: Axis, unit: str) -> Iterable[Markup]:
    for share in (0, 0.25, 0.5, 0.75, 1):
        yield svg.line(LEFT, _y(share), RIGHT, _y(share), class_="grid")
        yield svg.text(LEFT - 7, _y(share) + 4, f"{share:.0%}", class_="tick", text_anchor="end")
    for tick in axis.ticks:
        yield svg.line(axis.scale(tick), TOP, axis.scale(tick), BOTTOM + 5, class_="grid")
        yield svg.text(axis.scale(tick), BOTTOM + 19, tick_label(tick), class_="tick", text_anchor="middle")
    yield svg.text(RIGHT, BOTTOM + 35, f"{unit}, logarithmic", class_="tick", text_anchor="end")


def _budgets(drawn: Sequence[Series], axis: Axis) -> Iterable[Markup]:
    budgets = [verdict.budget for entry in drawn for verdict in entry.verdicts]
    unit = drawn[0].metric.unit
    for row, budget in enumerate(sorted(budgets, key=lambda budget: budget.limit)):
        y = TOP - 8 - 14 * (row % 3)  # above the plot, in rows, so that neighbours do not collide
        label = f"budget {budget.statistic} {with_unit(budget.limit, unit)}"
        if not axis.low <= budget.limit <= axis.high:
            yield svg.text(RIGHT, y, f"{label} \u2192", class_="limit-label", text_anchor="end")
            continue
        x = axis.scale(budget.limit)
        yield svg.line(x, y + 3, x, BOTTOM, class_="limit")
        anchor = "end" if x > (LEFT + RIGHT) / 2 else "start"
        yield svg.text(x + (-5 if anchor == "end" else 5), y, label, class_="limit-label", text_anchor=anchor)


def _curve(entry: Series, index: int, axis: Axis) -> Iterable[Markup]:
    style = index % STYLES
    steps = ecdf(entry.values)
    path = [f"M{axis.scale(steps[0][0]):.1f} {_y(0):.1f}"]
    last = ""
    for value, share in steps:
        step = f"H{axis.scale(value):.1f}V{_y(share):.1f}"
        if step != last:  # what falls on the same tenth of a pixel is drawn once
            path.append(step)
        last = step
    yield svg.element("path", d="".join(path), class_=f"curve s{style}")
    if len(entry.values) <= FEW:
        for value, share in steps:
            yield _marker(axis.scale(value), _y(share), style, size=2.6)
        return
    for estimate in entry.estimates:
        if estimate.statistic in {"p50", "p99"}:
            share = float(estimate.statistic[1:]) / 100
            yield _marker(axis.scale(quantile(entry.values, share)), _y(share), style, size=4.5)


def _legend(drawn: Sequence[Series]) -> Iterable[Markup]:
    for index, entry in enumerate(drawn):
        y = LEGEND + 19 * index + 8
        style = index % STYLES
        yield svg.line(LEFT, y - 4, LEFT + 34, y - 4, class_=f"curve s{style}")
        yield _marker(LEFT + 17, y - 4, style, size=4)
        yield svg.text(LEFT + 44, y, _described(entry), class_="legend")


def _described(entry: Series) -> str:
    inner = (
        ", ".join(f"{name} {value}" for name, value in sorted(entry.parameters.items())) or entry.metric.id
    )
    failed = f", {entry.failed} failed" if entry.failed else ""
    middle = quantile(entry.values, 0.5)
    return f"{inner}: n = {len(entry.values)}{failed}, median {with_unit(middle, entry.metric.unit)}"


def _marker(x: float, y: float, style: int, *, size: float) -> Markup:
    corners = {
        1: f"M{x - size:.1f} {y - size:.1f}h{2 * size}v{2 * size}h{-2 * size}z",
        2: f"M{x:.1f} {y - size * 1.3:.1f}l{size * 1.2} {size * 2.2}h{-size * 2.4}z",
        3: f"M{x:.1f} {y - size * 1.4:.1f}l{size * 1.4} {size * 1.4}l{-size * 1.4} {size * 1.4}"
        f"l{-size * 1.4} {-size * 1.4}z",
    }
    if style == 0:
        return svg.element("circle", cx=float(x), cy=float(y), r=size, class_="mark s0")
    return svg.element("path", d=corners[style], class_=f"mark s{style}")
