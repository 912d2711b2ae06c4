"""What a soak found."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from claimwright.e2e.soak.memory import Slope


@dataclass
class Findings:
    """Counts, times, and what is wrong; all is well when nothing is.

    `lost` is what of a prepared claim was not there after a kill, `unexpected` a refusal although there was room.
    `restarts` are the seconds from each start after a kill until the driver was registered.
    """

    cycles: int = 0
    kills: int = 0
    seconds: float = 0.0
    prepared: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    looks: int = 0
    admin_acts: Counter[str] = field(default_factory=Counter)
    restarts: list[float] = field(default_factory=list)
    driver_cpu_seconds: float = 0.0
    memory: Slope | None = None
    leaks: list[str] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    unexpected: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        """Whether nothing is wrong."""
        grows = self.memory is not None and self.memory.grows
        return not (self.leaks or self.overlaps or self.lost or self.unexpected or grows)

    def as_object(self) -> dict[str, Any]:
        """Return it for JSON, with sums instead of every start."""
        spelled = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "restarts"}
        return {
            **{name: dict(value) if isinstance(value, Counter) else value for name, value in spelled.items()},
            "restart_seconds": quantiles(self.restarts),
            "cycles_per_second": round(self.cycles / self.seconds, 2) if self.seconds else 0.0,
            "driver_cpu_milliseconds_per_cycle": round(
                1e3 * self.driver_cpu_seconds / max(self.cycles, 1), 1
            ),
            "memory": None if self.memory is None else self.memory.as_object(),
            "clean": self.clean,
        }


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Return median and maximum; nothing of nothing."""
    if not values:
        return {}
    return {"p50": round(statistics.median(values), 3), "max": round(max(values), 3)}
