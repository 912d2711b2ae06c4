"""Prepare and release, measured by kind of device and by how many claims come at once, with what each step takes."""

from claimwright.e2e.prepare_bench.kinds import AT_ONCE, KINDS, Kind
from claimwright.e2e.prepare_bench.measuring import LoadFailed, Plan, measure
from claimwright.e2e.prepare_bench.results import COLUMNS, Cell, Environment, budget_figures, document, rows

__all__ = [
    "AT_ONCE",
    "COLUMNS",
    "KINDS",
    "Cell",
    "Environment",
    "Kind",
    "LoadFailed",
    "Plan",
    "budget_figures",
    "document",
    "measure",
    "rows",
]
