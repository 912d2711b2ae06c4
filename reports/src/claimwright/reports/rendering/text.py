"""The report as text: a table after benchstat's manner, and lines that benchstat itself reads."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable
from dataclasses import asdict

from claimwright.reports.metrics import Metric
from claimwright.reports.rendering.numbers import plain
from claimwright.reports.report import Report, Series, median
from claimwright.reports.statistics import Interval
from claimwright.reports.verdicts import Verdict

Row = tuple[str, ...]

_NS_PER_UNIT = {"ms": 1e6, "s": 1e9}


def table(report: Report) -> str:
    """Write the verdicts and the series for a terminal."""
    lines = [f"hardware: {report.hardware}", f"machine: {report.machine}", ""]
    judged = [(entry, verdict) for entry in report.series for verdict in entry.verdicts]
    rows: list[Row] = [("budget", "reached", "interval", "limit", "ratio", "n", "verdict")]
    rows += [_verdict_row(entry, verdict) for entry, verdict in judged]
    lines += [*_aligned(rows), ""]
    series_rows: list[Row] = [("series", "median", "interval", "p99", "max", "n", "failed")]
    series_rows += [_series_row(entry) for entry in report.series]
    lines += _aligned(series_rows)
    if report.not_measured:
        lines += ["", f"not measured: {', '.join(report.not_measured)}"]
    lines += ["", *report.notes] if report.notes else []
    return "\n".join(line.rstrip() for line in lines) + "\n"


def benchmark_lines(report: Report) -> str:
    """Write Go's benchmark format, a line a repetition (its median): benchstat compares releases."""
    lines = [f"hardware: {report.hardware}", f"machine: {report.machine}"]
    lines += [line for entry in report.series for line in _benchmark(entry)]
    return "\n".join(lines) + "\n"


def _benchmark(entry: Series) -> Iterable[str]:
    words = "".join(part.capitalize() for part in re.split(r"\W+", entry.metric.id))
    inner = "".join(f"/{name}={value}" for name, value in sorted(entry.parameters.items()))
    for cluster in entry.clusters:
        middle = median(cluster)
        scaled, unit = (
            (middle * _NS_PER_UNIT[entry.metric.unit], "ns/op")
            if entry.metric.kind == "duration"
            else (middle, entry.metric.unit)
        )
        yield f"Benchmark{words}{inner} {len(cluster)} {scaled:.6g} {unit}"


def _verdict_row(entry: Series, verdict: Verdict) -> tuple[str, ...]:
    unit = entry.metric.unit
    name = f"{entry.name} {verdict.judged_by}"
    sign = "\u2264" if verdict.budget.sense == "at most" else "\u2265"
    limit = f"{sign} {plain(verdict.budget.limit)} {unit}"
    count = str(len(entry.values))
    told = f"{verdict.outcome.value}: {verdict.reason}"
    if verdict.value is None or verdict.ratio is None:
        return (name, "-", "-", limit, "-", count, told)
    reached = f"{plain(verdict.value)} {unit}"
    return (name, reached, _interval(verdict.interval), limit, f"{verdict.ratio:.2f}", count, told)


def _series_row(entry: Series) -> tuple[str, ...]:
    unit = entry.metric.unit
    cells = [entry.name]
    middle = entry.estimate("p50")
    cells.append(f"{plain(middle.value)} {unit}" if middle else "-")
    cells.append(_interval(middle.interval if middle else None))
    for name in ("p99", "max"):
        found = entry.estimate(name)
        cells.append(f"{plain(found.value)} {unit}" if found else "-")
    return (*cells, str(len(entry.values)), str(entry.failed))


def _interval(interval: Interval | None) -> str:
    return f"{plain(interval.low)} \u2013 {plain(interval.high)}" if interval else "-"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def definitions(metrics: Iterable[Metric], *, as_json: bool) -> str:
    """Write the registry, for people or as JSON."""
    if as_json:
        return json.dumps([asdict(entry) for entry in metrics], indent=2, sort_keys=True) + "\n"
    return "\n".join(line for entry in metrics for line in _definition(entry)).lstrip("\n") + "\n"


def _definition(entry: Metric) -> Iterable[str]:
    yield f"\n{entry.id}  {entry.title}"
    rows = {"from": entry.start, "to": entry.end, "unit": entry.unit, "clock": entry.clock}
    rows |= {"report": ", ".join(entry.statistics), **entry.parameters}
    for name, text in rows.items():
        yield textwrap.fill(text, width=100, initial_indent=f"  {name:<11}", subsequent_indent=" " * 13)
    for budget in entry.budgets:
        where = ", ".join(f"{name}={value}" for name, value in budget.where.items()) or "always"
        limit = f"{budget.sense} {plain(budget.limit)} {entry.unit}"
        yield f"  {'budget':<11}{budget.statistic} {limit} ({where})"
