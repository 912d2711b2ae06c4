"""Measured values beside their budgets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A measured value beside its budget; `at_most` tells whether the budget is an upper limit."""

    what: str
    value: float
    budget: float
    unit: str
    at_most: bool = True

    @property
    def ratio(self) -> float:
        """Value over budget; for an upper limit, 1 or less keeps it. Of a budget of nothing, the value itself."""
        return self.value / self.budget if self.budget else self.value

    @property
    def kept(self) -> bool:
        """Whether the budget is kept."""
        return self.value <= self.budget if self.at_most else self.value >= self.budget


def table(figures: Iterable[Figure]) -> list[tuple[str, str, str, str]]:
    """Rows of what, reached, budget and ratio, for people."""
    return [
        (
            each.what,
            f"{each.value:.4g} {each.unit}",
            f"{'≤' if each.at_most else '≥'} {each.budget:g} {each.unit}",
            f"{each.ratio:.2f} {'kept' if each.kept else 'missed'}",
        )
        for each in figures
    ]
