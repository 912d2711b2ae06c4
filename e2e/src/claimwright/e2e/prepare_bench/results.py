"""What was measured, as values, as rows for people and as JSON."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from claimwright.e2e.figures import Figure

_TOLD_FROM: Final = 0.03
_REST: Final = "rest"


@dataclass(frozen=True)
class Environment:
    """Where it was measured; `load` is the load average of the last minute before."""

    machine: str
    cpus: int
    kernel: str
    python: str
    load: float

    @classmethod
    def here(cls) -> Self:
        """Describe this machine now."""
        return cls(
            machine=platform.machine(),
            cpus=os.cpu_count() or 1,
            kernel=platform.release(),
            python=platform.python_version(),
            load=os.getloadavg()[0],
        )

    def __str__(self) -> str:
        return (
            f"{self.machine}, {self.cpus} CPUs shared by driver, node, client and an API server in memory; "
            f"Linux {self.kernel}, Python {self.python}, load {self.load:.2f} before"
        )


@dataclass(frozen=True)
class Times:
    """Milliseconds of `count` calls as the client saw them, and by step the share of a call's time."""

    count: int
    p50: float
    p99: float
    shares: Mapping[str, float]

    @classmethod
    def of(cls, verb: str, plain: Mapping[str, Any], broken_down: Mapping[str, Any]) -> Self:
        """Take one verb of what two loads said: the second one read the step metrics."""
        samples = sorted(plain[verb])
        whole = sum(broken_down[verb])
        shares = {name: seconds / whole for name, (seconds, _) in broken_down["steps"][verb].items()}
        return cls(
            count=len(samples),
            p50=_quantile(samples, 0.5) * 1e3,
            p99=_quantile(samples, 0.99) * 1e3,
            shares={**shares, _REST: max(1 - sum(shares.values()), 0.0)},
        )

    def spelled(self) -> str:
        """Spell the shares for people, the largest first."""
        largest = sorted(self.shares.items(), key=lambda item: -item[1])
        return ", ".join(f"{name} {share:.0%}" for name, share in largest if share >= _TOLD_FROM)


@dataclass(frozen=True)
class Cell:
    """One kind with so many claims at once."""

    kind: str
    at_once: int
    prepare: Times
    release: Times
    cycles_per_second: float

    @classmethod
    def of(cls, kind: str, at_once: int, plain: Mapping[str, Any], broken_down: Mapping[str, Any]) -> Self:
        """Read what two loads said."""
        prepare, release = (Times.of(verb, plain, broken_down) for verb in ("prepare", "release"))
        return cls(kind, at_once, prepare, release, prepare.count / plain["seconds"])


COLUMNS: Final = (
    "kind", "at once", "calls", "prepare p50", "p99 ms", "release p50", "p99 ms", "cycles/s", "prepare's steps",
)  # fmt: skip


def rows(cells: Iterable[Cell]) -> list[tuple[str, ...]]:
    """Return the cells under `COLUMNS`."""
    return [
        (
            cell.kind,
            str(cell.at_once),
            str(cell.prepare.count),
            *(f"{value:.2f}" for times in (cell.prepare, cell.release) for value in (times.p50, times.p99)),
            f"{cell.cycles_per_second:.0f}",
            cell.prepare.spelled(),
        )
        for cell in cells
    ]


def document(environment: Environment, cells: Sequence[Cell]) -> dict[str, Any]:
    """Return all of it as JSON values."""
    return {"environment": asdict(environment), "cells": [asdict(cell) for cell in cells]}


def budget_figures(cells: Iterable[Cell]) -> list[Figure]:
    """Return the cells for which there are budgets (design §7) beside them."""
    found = {(cell.kind, cell.at_once): cell for cell in cells}
    one, eight = found.get(("full", 1)), found.get(("full", 8))
    figures = []
    if one is not None:
        figures += [
            Figure("prepare, full GPU, p50", one.prepare.p50, 2, "ms"),
            Figure("prepare, full GPU, p99", one.prepare.p99, 6, "ms"),
        ]
    if eight is not None:
        figures += [
            Figure("prepare, full GPU, eight at once, p99", eight.prepare.p99, 20, "ms"),
            Figure("cycles, eight at once", eight.cycles_per_second, 500, "1/s", at_most=False),
        ]
    return figures


def _quantile(samples: Sequence[float], share: float) -> float:
    return samples[min(int(len(samples) * share), len(samples) - 1)]
