"""Time as a port."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Suspend the caller."""
        ...
