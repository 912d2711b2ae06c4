"""report.html: one file without network, made from report.json alone, so that it can be drawn again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from claimwright.conformance.outcomes import Outcome
from claimwright.conformance.registry import load_registry

HEADLINES: Final = {
    "success": "Conformant",
    "partial": "Not fully judged",
    "error": "The run broke",
    "failure": "Not conformant",
}
_LARGEST_EXCERPT: Final = 12_000


def render_html(report: Mapping[str, Any], environment: Mapping[str, Any], bundle: Path) -> str:
    """Return the page; `report` is the content of report.json, evidence is read from the bundle."""
    jinja = Environment(
        loader=PackageLoader("claimwright.conformance.evidence", "templates"),
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    results: Sequence[Mapping[str, Any]] = report["results"]
    return jinja.get_template("report.html.j2").render(
        report=report,
        environment=environment,
        headline=HEADLINES[report["verdict"]],
        counts=_counts(results),
        areas=_areas(results),
        findings=[one for one in results if one["outcome"] in ("fail", "error", "inconclusive")],
        requirements=load_registry(),
        excerpts={one["id"]: _excerpts(one, bundle) for one in results},
        longest=max((one["duration_s"] for one in results), default=0) or 1,
    )


def _counts(results: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    counted = Counter(one["outcome"] for one in results)
    return {outcome.value: counted[outcome.value] for outcome in Outcome}


def _areas(results: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    areas: dict[str, list[Mapping[str, Any]]] = {}
    for one in results:
        areas.setdefault(one["id"].split("-")[1], []).append(one)
    return areas


def _excerpts(result: Mapping[str, Any], bundle: Path) -> dict[str, str]:
    """Return the evidence of a result that did not pass, file by file, cut at a readable size."""
    if result["outcome"] not in ("fail", "error", "inconclusive"):
        return {}
    found = {}
    for name in result["evidence"]:
        text = (
            (bundle / name).read_text(encoding="utf-8", errors="replace") if (bundle / name).is_file() else ""
        )
        found[name] = (
            text if len(text) <= _LARGEST_EXCERPT else text[:_LARGEST_EXCERPT] + "\n… (cut; see the file)"
        )
    return found
