"""The time that a script waits for; tests bring a clock of their own."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time that a script waits for."""

    def now(self) -> float:
        """Return seconds that only grow."""

    async def sleep_until(self, moment: float) -> None:
        """Return at that moment, at once when it has passed."""


class MonotonicClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        """Return its seconds."""
        return time.monotonic()

    async def sleep_until(self, moment: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
