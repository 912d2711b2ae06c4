"""The page: one HTML file with its styles and drawings inside, no script, nothing fetched."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from claimwright.reports.rendering.ecdf_chart import ecdf_chart
from claimwright.reports.rendering.numbers import plain, ratio, with_unit
from claimwright.reports.rendering.phase_chart import PHASES, phase_chart
from claimwright.reports.rendering.ratio_bar import ratio_bar
from claimwright.reports.report import Report, Series
from claimwright.reports.verdicts import Outcome, Verdict

SIGNS = {Outcome.WITHIN: "\u2713", Outcome.OVER: "\u2717", Outcome.UNCLEAR: "?", Outcome.FAILED: "!"}


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing with its heading and its caption."""

    title: str
    caption: str
    drawing: Markup


def page(report: Report) -> str:
    """Render the report; the same report gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("claimwright.reports.rendering", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(plain=plain, ratio=ratio)
    judged = [(entry, verdict) for entry in report.series for verdict in entry.verdicts]
    return environment.get_template("report.html.j2").render(
        report=report,
        environments=report.environments,
        judged=judged,
        signs=SIGNS,
        tiles=list(_tiles(judged)),
        verdict_sentence=_sentence([verdict for _, verdict in judged]),
        plots=list(_plots(report)),
        phases=_phases(report),
        ratio_bar=ratio_bar,
        with_unit=with_unit,
        facts=_facts,
        shell=shlex.join,
    )


def _sentence(verdicts: Iterable[Verdict]) -> str:
    counts = Counter(verdict.outcome for verdict in verdicts)
    total = counts.total()
    if not total:
        return "No budget applies to what was measured."
    rest = {Outcome.OVER: "missed", Outcome.UNCLEAR: "unclear", Outcome.FAILED: "with failures"}
    others = [f"{counts[outcome]} {word}" for outcome, word in rest.items() if counts[outcome]]
    tail = f"; {', '.join(others)}" if others else ""
    return f"{counts[Outcome.WITHIN]} of {total} budgets kept{tail}."


def _tiles(judged: list[tuple[Series, Verdict]]) -> Iterable[tuple[Series, Verdict]]:
    """One tile per metric: its first budget."""
    told: set[str] = set()
    for entry, verdict in judged:
        if entry.metric.id not in told and verdict.value is not None:
            told.add(entry.metric.id)
            yield entry, verdict


def _plots(report: Report) -> Iterable[Plot]:
    for identity in dict.fromkeys(entry.metric.id for entry in report.series):
        series = [entry for entry in report.series if entry.metric.id == identity]
        definition = series[0].metric
        if definition.kind != "duration":
            continue
        if identity == "L-START":
            series = [entry for entry in series if entry.parameters.get("phase") == "total"]
        drawing = ecdf_chart(series)
        if drawing:
            yield Plot(f"{identity} \u00b7 {definition.title}", _caption(report, series), drawing)


def _caption(report: Report, series: list[Series]) -> str:
    count = sum(len(entry.values) for entry in series)
    failed = sum(entry.failed for entry in series)
    return f"n = {count}, {failed} failed \u00b7 {report.hardware} hardware \u00b7 {report.machine}"


def _phases(report: Report) -> Plot | None:
    if not report.pods:
        return None
    series = [entry for entry in report.series if entry.metric.id == "L-START"]
    totals = [entry for entry in series if entry.parameters.get("phase") == "total"]
    kubelets = ", ".join(sorted({str(entry.parameters.get("kubelet", "unknown")) for entry in totals}))
    caption = f"{_caption(report, totals)} \u00b7 {kubelets} kubelet"
    return Plot("L-START \u00b7 Where the start of a pod goes", caption, phase_chart(report.pods))


def _facts(content: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Flatten a block into rows; what was not found is left out."""
    for name, value in content.items():
        title = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _facts(value, f"{title} \u00b7 ")
        elif isinstance(value, list):
            yield title, ", ".join(str(item) for item in value)
        elif isinstance(value, bool):
            yield title, "yes" if value else "no"
        elif value is not None:
            yield title, _fact(name, value)


def _fact(name: str, value: float | str) -> str:
    if name.endswith("_bytes") and isinstance(value, int):
        return with_unit(value / 1e9, "GB")
    return str(value)


__all__ = ["PHASES", "Plot", "page"]
