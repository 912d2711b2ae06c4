"""The registry of frozen metric ids: what each one starts with, ends with, and is judged by."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from claimwright.reports.errors import UnknownMetricError

Parameters = Mapping[str, str | int]


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit for one statistic of the series whose parameters hold `where`; in the metric's unit."""

    where: Parameters
    statistic: str
    limit: float
    sense: Literal["at most", "at least"]

    def covers(self, parameters: Parameters) -> bool:
        """Say whether a series with these parameters is judged by this budget."""
        return all(parameters.get(name) == value for name, value in self.where.items())


@dataclass(frozen=True, slots=True)
class Metric:
    """One frozen definition. A `duration` is kept in nanoseconds, a `value` in `unit`."""

    id: str
    title: str
    start: str
    end: str
    kind: Literal["duration", "value"]
    unit: str
    clock: str
    statistics: tuple[str, ...]
    parameters: Mapping[str, str]
    budgets: tuple[Budget, ...]

    @property
    def nanoseconds_per_unit(self) -> float:
        """How many nanoseconds one unit of a duration metric has."""
        return {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}[self.unit]


@cache
def registry() -> Mapping[str, Metric]:
    """Read the shipped registry; the order is the order of the report."""
    text = files("claimwright.reports").joinpath("registry/metrics.toml").read_text("utf-8")
    return {entry["id"]: _metric(entry) for entry in tomllib.loads(text)["metric"]}


def metric(identity: str) -> Metric:
    """Look a metric up; an unknown id names the known ones."""
    try:
        return registry()[identity]
    except KeyError:
        known = ", ".join(registry())
        raise UnknownMetricError(
            f"metric {identity!r} is not in the registry; known ids: {known}. "
            "Was the file written by a newer version? Then render it with that version."
        ) from None


def _metric(entry: Mapping[str, Any]) -> Metric:
    return Metric(
        id=entry["id"],
        title=entry["title"],
        start=entry["start"],
        end=entry["end"],
        kind=entry["kind"],
        unit=entry["unit"],
        clock=entry["clock"],
        statistics=tuple(entry["statistics"]),
        parameters=entry.get("parameters", {}),
        budgets=tuple(_budget(budget) for budget in entry.get("budget", ())),
    )


def _budget(entry: Mapping[str, Any]) -> Budget:
    sense: Literal["at most", "at least"] = "at most" if "at_most" in entry else "at least"
    limit = float(entry[sense.replace(" ", "_")])
    return Budget(where=entry["where"], statistic=entry["statistic"], limit=limit, sense=sense)
