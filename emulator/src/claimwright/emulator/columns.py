"""A table of words for the terminal: a header, and columns as wide as their widest cell."""

from __future__ import annotations

from collections.abc import Sequence

_GAP = "  "


def lined_up(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the lines of a table; every row has as many cells as the header."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )
