"""Tables for terminals: aligned columns of plain text, for people and for `grep`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

_GAP: Final = "  "


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return lines with the columns under each other; what cannot be printed is escaped."""
    whole = [[_printable(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in whole) for column in range(len(head))]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in whole)
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _printable(cell: str) -> str:
    """One line, whatever an API server or a file said: nothing here may move the cursor."""
    return "".join(
        each if each.isprintable() else " " if each.isspace() else ascii(each)[1:-1] for each in cell
    )
