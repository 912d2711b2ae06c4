"""A clock that moves by hand."""

from __future__ import annotations

import asyncio
import heapq


class HandClock:
    """Time stands still until `advance`; whoever sleeps long enough wakes up."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []

    def now(self) -> float:
        """Return the time that was set."""
        return self._now

    @property
    def sleepers(self) -> int:
        """How many are asleep."""
        return len(self._sleepers)

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody advances the clock far enough."""
        woken = asyncio.Event()
        sleeper = (self._now + seconds, id(woken), woken)
        heapq.heappush(self._sleepers, sleeper)
        try:
            await woken.wait()
        finally:
            if sleeper in self._sleepers:  # cancelled
                self._sleepers.remove(sleeper)
                heapq.heapify(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move on and wake the sleepers whose time has come."""
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now:
            heapq.heappop(self._sleepers)[2].set()
