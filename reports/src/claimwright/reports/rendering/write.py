"""Put a report on disk: page, JSON and texts beside each other, each whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from claimwright.dra.files import write_atomically
from claimwright.reports.rendering.page import page
from claimwright.reports.rendering.text import benchmark_lines, table
from claimwright.reports.report import Report, to_json


@dataclass(frozen=True, slots=True)
class Written:
    """The texts that were written, for a terminal."""

    table: str
    json: str


def write_report(report: Report, out: Path) -> Written:
    """Write `out` and, beside it, the same name with .json, .txt and .bench."""
    out.parent.mkdir(parents=True, exist_ok=True)
    texts = {
        out: page(report),
        out.with_suffix(".json"): to_json(report),
        out.with_suffix(".txt"): table(report),
        out.with_suffix(".bench"): benchmark_lines(report),
    }
    for path, text in texts.items():
        write_atomically(path, text.encode(), mode=0o644)
    return Written(table=texts[out.with_suffix(".txt")], json=texts[out.with_suffix(".json")])
