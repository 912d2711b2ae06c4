"""Draw a report: one self-contained page, or text for a terminal and for benchstat."""

from claimwright.reports.rendering.page import page
from claimwright.reports.rendering.text import benchmark_lines, table

__all__ = ["benchmark_lines", "page", "table"]
