"""The wall clock."""

from __future__ import annotations

import asyncio
import time


class WallClock:
    """Real time and real waiting."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller for real."""
        await asyncio.sleep(seconds)
